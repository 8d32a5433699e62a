"""Paths of weights: the block first, then the modules; and the blocks in the order in which data passes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

BLOCK_NAMES = {
    "input_blocks": "input",
    "middle_block": "middle",
    "output_blocks": "output",
    "double_blocks": "double",
    "single_blocks": "single",
    "joint_blocks": "joint",
    "transformer_blocks": "transformer",
    "blocks": "block",
    "layers": "layer",
    "block": "layer",
}
TEXT_ENCODER_WRAPPERS = ("transformer", "text_model", "encoder", "model")


def weight_path(key: str) -> tuple[str, ...]:
    """The path of a model weight for rules: its block first, then its modules.

    `diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight` is input.4.1.transformer.0.attn2.to_k;
    text encoders begin with `text` and their name, as in text.clip_l.layer.3.self_attn.q_proj.
    """
    parts = key.split(".")
    if parts[-1] in ("weight", "bias"):
        parts.pop()
    if parts[0] == "diffusion_model":
        parts = parts[1:]
    else:
        parts = ["text", *(part for part in parts if part not in TEXT_ENCODER_WRAPPERS)]
        if "block" in parts:
            # T5 calls its layers blocks, and the parts of one layer.
            parts = ["part" if part == "layer" else part for part in parts]
    return tuple(BLOCK_NAMES.get(part, part) for part in parts)


def block_of(path: tuple[str, ...]) -> str:
    """The block a path lies in, for reports: `input.4`, `middle`, `text.clip_l`, `double.5`."""
    if path[0] in ("text", *BLOCK_NAMES.values()) and path[0] != "middle" and len(path) > 1:
        return f"{path[0]}.{path[1]}"
    return path[0]


def block_order(block: str) -> tuple[int, int, str]:
    """A key that sorts blocks as data passes them: text encoders, input, middle, output; 2 before 10; others last."""
    name, _, rest = block.partition(".")
    flow = ("text", *BLOCK_NAMES.values())
    return flow.index(name) if name in flow else len(flow), int(rest) if rest.isdigit() else 0, block


def count_by_block(paths: Iterable[tuple[str, ...]]) -> str:
    """How many of the paths lie in each block, such as `input.4 12, middle 6`."""
    counts = Counter(map(block_of, paths))
    return ", ".join(f"{block} {counts[block]}" for block in sorted(counts, key=block_order))


def norms_by_block(rows: Iterable[tuple[tuple[str, ...], float]]) -> dict[str, float]:
    """The norm of all that lies in each block, from the norms at paths."""
    norms: dict[str, float] = {}
    for path, norm in rows:
        norms[block_of(path)] = math.hypot(norms.get(block_of(path), 0.0), norm)
    return norms


def percentages(norms: Mapping[str, float]) -> dict[str, float]:
    """The share of each block in the energy, the sum of the squares of all norms, in percent."""
    total = math.hypot(*norms.values()) or 1.0
    return {block: 100 * (norm / total) ** 2 for block, norm in norms.items()}
