"""Named block weights: which part of a model a LoRA is to act on, and how much.

A rule is `selector=weight`; rules are separated by commas, semicolons or new lines and the last rule that matches a weight decides.
A selector is a dotted pattern whose parts are looked for, in order, in a weight's path: `input.4`, `middle`, `double.*`,
`attn2`, `input.4-8`, `output.1.attn1`; `input.4|middle` is either of the two. Names, unlike positions, mean the same block
for every LoRA of a model. `audio` alone is every weight for the sound of a model that has some.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .paths import block_of, block_order

FULL_WIDTH = str.maketrans("\uff0c\uff1b\uff1d\uff0a\uff0e\uff5c", ",;=*.|")

# Names of attention in all families, without those of layers that modulate before it. CogVideoX has no module around q, k, v.
ATTENTION = (
    "attn*|self_attn|cross_attn|img_*attn|txt_attn|audio_*attn*|video_*attn|*attention|injector|fuser_blocks|q|k|v"
)
# `attn2` is the second self-attention in the joint blocks of Stable Diffusion 3.5.
CROSS_ATTENTION = (
    "transformer.attn2|time_stack.attn2|block.attn2|cross_attn|cross_attention|audio_attn2|audio_cross_attn*"
    "|*_to_*_attn|injector"
)
# All but what goes from sound to pictures, `audio_to_video_attn`.
AUDIO = "audio_[!t]*|*_audio*|*v2a*"

NAMED = {"audio": AUDIO}

# The text encoder has its own strength, so presets for parts of the diffusion model leave it alone.
PRESETS = {
    "all blocks": "",
    "attention only": f"*=0, text=1, {ATTENTION}=1",
    "cross-attention only": f"*=0, text=1, {CROSS_ATTENTION}=1",
    "encoder half": "*=0, text=1, input=1",
    "middle only": "*=0, text=1, middle=1",
    "decoder half": "*=0, text=1, output=1",
    "SDXL style block (B-LoRA)": "*=0, text=1, output.1=1",
    "SDXL content block (B-LoRA)": "*=0, text=1, output.0=1",
    "double blocks only": "*=0, text=1, double=1",
    "single blocks only": "*=0, text=1, single=1",
    "no text encoder": "text=0",
    "audio only": "*=0, text=1, audio=1",
    "video only": "audio=0",
    "audio at half": "audio=0.5",
    "video at half": "*=0.5, text=1, audio=1",
}


@dataclass(frozen=True)
class Rule:
    """`selectors`: each one pattern per part of the path, any of which may match; `weight`: the factor it gives."""

    selectors: tuple[tuple[str, ...], ...]
    weight: float

    def matches(self, path: tuple[str, ...]) -> bool:
        return any(_matches_from(selector, path[start:]) for selector in self.selectors for start in range(len(path)))

    def __str__(self) -> str:
        text = "|".join(map(".".join, self.selectors))
        for name, patterns in NAMED.items():
            text = text.replace(patterns, name)
        return text


@dataclass(frozen=True)
class BlockWeights:
    """Parsed rules. An empty list gives every weight the factor 1."""

    rules: tuple[Rule, ...] = ()

    def factor(self, path: tuple[str, ...], otherwise: float = 1.0) -> float:
        """The factor of the last rule that matches; otherwise: where none does."""
        return next((rule.weight for rule in reversed(self.rules) if rule.matches(path)), otherwise)

    def unused(self, paths: list[tuple[str, ...]]) -> list[str]:
        """Selectors that match none of the paths: usually a block that this model does not have.

        `text` is not among them: presets name the text encoder for LoRAs that have no part for it too. Raises ValueError,
        naming the blocks that there are, where nothing of the diffusion model is left because none of the blocks asked for
        is there, as with a preset for U-Nets on a transformer.
        """
        rules = [rule for rule in self.rules if rule.selectors != (("text",),)]
        unused = [rule for rule in rules if not any(rule.matches(path) for path in paths)]
        asked = [rule for rule in unused if rule.weight]
        model = [path for path in paths if path[0] != "text"]
        if asked and model and not any(map(self.factor, model)):
            blocks = dict.fromkeys(block.partition(".")[0] for block in sorted(map(block_of, model), key=block_order))
            raise ValueError(
                f"The block weights switch off everything except {', '.join(map(str, asked))}, and no such block "
                f"exists here. The blocks are: {', '.join(blocks)}. Name one of them, or choose another preset."
            )
        return list(map(str, unused))


def parse_block_weights(text: str) -> BlockWeights:
    """Read `input.4=0.5, middle=1, attn2=0`. Raises ValueError that quotes the rule it cannot read."""
    rules = []
    for item in filter(None, (part.strip() for part in re.split(r"[,;\n]", text.translate(FULL_WIDTH)))):
        selector, _, value = item.partition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        ones = "|".join(NAMED.get(one.strip(), one) for one in selector.split("|")).split("|")
        selectors = tuple(tuple(part.strip() for part in one.split(".")) for one in ones)
        if not math.isfinite(weight) or not all(map(all, selectors)):
            raise ValueError(
                f"Block weight `{item}` cannot be read. Write name=number, such as `input.4=0.5, middle=1, attn2=0`."
            )
        rules.append(Rule(selectors, weight))
    return BlockWeights(tuple(rules))


def preset_rules(name: str) -> str:
    """The rules of a preset. Raises ValueError for a name that is not a preset."""
    if name not in PRESETS:
        raise ValueError(f"There is no block preset `{name}`. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


def combined_rules(preset: str, text: str) -> str:
    """The rules of a preset, then one's own. Raises ValueError for an unknown preset and for rules that cannot be read."""
    rules = ", ".join(filter(None, (preset_rules(preset), text.strip())))
    parse_block_weights(rules)
    return rules


def _matches_from(selector: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Whether the parts of the selector are met in order. A number stands right after its name; a name may come later."""
    if not selector:
        return True
    reach = 1 if selector[0][0].isdigit() else len(path)
    return any(
        _part_matches(part, selector[0]) and _matches_from(selector[1:], path[position + 1 :])
        for position, part in enumerate(path[:reach])
    )


def _part_matches(part: str, pattern: str) -> bool:
    numbers = re.fullmatch(r"(\d+)-(\d+)", pattern)
    if numbers and part.isdigit():
        return int(numbers[1]) <= int(part) <= int(numbers[2])
    return fnmatchcase(part, pattern)
