"""What the pack knows of one family of models: the form of a record, and how names are looked up in it.

A path is written as ComfyUI writes it, without `diffusion_model.` in front and without `.weight` behind. `#` stands for the
number of a block and `{a,b}` for either of several layers, so that a row is true for every depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

# ComfyUI calls the weight of these norms `weight` or `scale`, which differs from version to version.
SCALE_NORMS = (".query_norm", ".key_norm")
NUMBER = re.compile(r"\d+")
CHOICE = re.compile(r"\{([^{}]*)\}")
# The kinds of norm parameters; see `norm_sites`.
NORMS, MODULATION, QK_NORMS = TIERS = ("norms", "modulation", "qk_norms")


class Weight(NamedTuple):
    """One weight, or one row of weights where paths have `#`.

    comfy: its path in ComfyUI; parts: the diffusers modules that hold its rows, in order; shares: how many rows each
    part has, in units that they have in common; swapped: whether diffusers stores the two halves of the rows the other
    way round.
    """

    comfy: str
    parts: tuple[str, ...] = ()
    shares: tuple[int, ...] = (1,)
    swapped: bool = False

    def of_block(self, numbers: Sequence[str]) -> Weight:
        """The weight of the blocks of these numbers."""
        return self._replace(comfy=_filled(self.comfy, numbers), parts=tuple(_filled(p, numbers) for p in self.parts))


class Place(NamedTuple):
    """What a name stands for: a weight as a whole under ComfyUI's name (part None), or one diffusers part of it."""

    weight: Weight
    part: int | None = None


class Style(NamedTuple):
    """How a program writes the names of layers.

    beginning: of every name, None for the one behind which ComfyUI reads diffusers' names of the family; modules: whose
    names stand behind it, `ComfyUI`, `diffusers` or `original` for those of the model's authors, which are aliases; flat:
    whether with underscores for dots.
    """

    beginning: str | None
    modules: str = "diffusers"
    flat: bool = False


KOHYA = Style("lora_unet_", "ComfyUI", flat=True)
# As OneTrainer wrote by default before it had several formats, and musubi-tuner writes where its models are split.
LORA_TRANSFORMER, LORA_UNET_SPLIT = Style("lora_transformer_", flat=True), Style("lora_unet_", flat=True)
ORIGINAL = Style("lora_unet_", "original", flat=True)


class HostModel(NamedTuple):
    """A small model of a family, by which its names are proven where no model is connected.

    kind: the class in the host's `comfy.supported_models`; config: the host's `unet_config`, with two blocks of each kind.
    """

    kind: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A family of models, known by one name.

    marks: weights that all of its models have; lacks: weights that none of them has; foreign: weights that its files for
    diffusers have, where no rows say what all of those are; weights: every layer that a LoRA may change; bare: paths of
    those that are no `.weight` of a layer but a table or a token of their own; by_depth: modules of diffusers whose meaning
    depends on the number of blocks, which a LoRA does not tell; aliases: names of weights that other programs use, behind
    any beginning; diffusers_prefix: how diffusers names begin that ComfyUI reads, None where it reads none;
    whole_diffusers: whether ComfyUI and diffusers share the rows behind `lora_unet_` too; behind_own: whether names of
    diffusers stand behind `diffusion_model.` too; proportions: rows by columns of whole weights, where that tells families
    of the same names apart; norms: by tier, what the names of norm parameters match from beginning to end, where the rules
    for all models are not right; styles: how programs write the names of this family, by convention, where not as those of
    most; host: see HostModel; variants: of the host's model, which have other weights too, with what differs in their
    settings.
    """

    name: str
    marks: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()
    bare: tuple[str, ...] = ()
    by_depth: tuple[str, ...] = ()
    aliases: tuple[Weight, ...] = ()
    diffusers_prefix: str | None = None
    whole_diffusers: bool = False
    behind_own: bool = False
    proportions: Mapping[str, Fraction | int] = field(default_factory=dict)
    norms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    styles: Mapping[str, Style] = field(default_factory=dict)
    host: HostModel | None = None
    variants: tuple[HostModel, ...] = ()

    def place(self, body: str, own_only: bool = False) -> Place | None:
        """What a layer's name without its beginning stands for, with dots or underscores; None where it is no weight.

        own_only: whether ComfyUI's paths and the aliases count only. Older hosts call the weight of some norms `scale`.
        """
        found = self._match(body, own_only)
        if found is None:
            return None
        row, part, slots = found
        numbers = NUMBER.findall(flat(body))
        return Place(row.weight.of_block([number for slot, number in zip(slots, numbers) if slot is None]), part)

    def in_blocks(self, body: str, numbers: Sequence[str]) -> list[str]:
        """A layer's name in every block of these numbers; the name itself alone where it is no weight of the family."""
        found = self._match(body, False)
        if found is None:
            return [body]
        wild = [slot is None for slot in found[2]]
        return [_renumbered(body, wild, chosen) for chosen in product(numbers, repeat=sum(wild))]

    def original(self, path: str) -> Weight:
        """A weight of the family, by ComfyUI's path, with the modules of its aliases as parts; with itself where it has none."""
        found = [
            weight.of_block(match.groups())
            for weight in self.aliases
            if all(weight.parts) and (match := _pattern(weight.comfy).fullmatch(path))
        ]
        return max(found, key=lambda weight: len(weight.parts), default=Weight(path, (path,)))

    def _match(self, body: str, own_only: bool) -> tuple[_Row, int | None, tuple[str | None, ...]] | None:
        name = body.replace(".processor.to_", ".to_")
        gain = name.removesuffix("scale")[:-1] if name.endswith((".scale", "_scale")) else None
        return self._match_name(name, own_only) or (self._match_name(gain, own_only) if gain else None)

    def _match_name(self, name: str, own_only: bool) -> tuple[_Row, int | None, tuple[str | None, ...]] | None:
        numbers = NUMBER.findall(flat(name))
        for row, part, slots in self._rows.get(_template(name), ()):
            if own_only and part is not None and not row.own_alias:
                continue
            if all(slot is None or slot == number for slot, number in zip(slots, numbers)):
                return row, part, slots
        return None

    def is_bare(self, path: str) -> bool:
        """Whether the parameter of this path is called so, without `.weight`."""
        return any(bare.fullmatch(path) for bare in self._bare)

    def is_by_depth(self, body: str) -> bool:
        """Whether what a module of diffusers means depends on how many blocks the model has."""
        return any(path.fullmatch(flat(body)) for path in self._by_depth)

    @cached_property
    def _by_depth(self) -> list[re.Pattern]:
        return [_pattern(flat(path)) for path in self.by_depth]

    @cached_property
    def _bare(self) -> list[re.Pattern]:
        return [_pattern(path) for given in self.bare for path in alternatives(given)]

    def ratio(self, place: Place) -> Fraction | int | None:
        """Rows by columns of the weight that a name stands for as a whole, where the record tells them."""
        if place.part is not None:
            return None
        return next((ratio for path, ratio in self._proportions if path.fullmatch(place.weight.comfy)), None)

    @cached_property
    def _proportions(self) -> list[tuple[re.Pattern, Fraction | int]]:
        return [(_pattern(path), ratio) for path, ratio in self.proportions.items()]

    @cached_property
    def _rows(self) -> dict[str, list[tuple[_Row, int | None, tuple[str | None, ...]]]]:
        """Every name of every row by its template."""
        rows: dict[str, list] = {}

        def add(path: str, row: _Row, part: int | None) -> None:
            # `#` may stand beside digits that are part of a name.
            slots = tuple(None if slot == "#" else slot for slot in re.findall(r"#|\d+", flat(path)))
            rows.setdefault(_template(path), []).append((row, part, slots))

        for weight in self.weights:
            add(weight.comfy, _Row(weight, True), None)
            for index, part in enumerate(weight.parts):
                add(part, _Row(weight, False), index)
        for weight in self.aliases:
            for index, part in enumerate(filter(None, weight.parts)):
                whole = len(weight.parts) == 1 and not weight.swapped
                add(part, _Row(weight, True), None if whole else index)
        # What ComfyUI calls so comes first: diffusers has some of these names for other layers.
        return {template: sorted(found, key=lambda row: row[1] is not None) for template, found in rows.items()}


class _Row(NamedTuple):
    """A row, and whether its names may stand behind ComfyUI's and kohya's beginnings."""

    weight: Weight
    own_alias: bool


def flat(path: str) -> str:
    """A path with underscores for dots. Diffusers keeps an attention's output layer in a list, whose number is left out."""
    name = path.replace(".", "_")
    return name.removesuffix("_0") if name.endswith("_to_out_0") else name


def own(*paths: str) -> tuple[Weight, ...]:
    """Rows of weights that have ComfyUI's paths only."""
    return tuple(Weight(path) for given in paths for path in alternatives(given))


def same(*paths: str) -> tuple[Weight, ...]:
    """Rows of weights that diffusers calls as ComfyUI does."""
    return tuple(Weight(path, (path,)) for given in paths for path in alternatives(given))


def pairs(comfy: str, diffusers: str, layers: Mapping[str, str]) -> tuple[Weight, ...]:
    """Rows of the layers of a block, by ComfyUI's and by diffusers' path behind that of the block."""
    return tuple(Weight(_join(comfy, ours), (_join(diffusers, theirs),)) for ours, theirs in layers.items())


def fused(comfy: str, diffusers: str, parts: Sequence[str], shares: tuple[int, ...] | None = None) -> Weight:
    """The row of a weight whose rows diffusers keeps in several modules, all behind one path."""
    return Weight(comfy, tuple(_join(diffusers, part) for part in parts), shares or (1,) * len(parts))


def alternatives(path: str) -> Iterable[str]:
    """The paths that a path with `{a,b}` stands for."""
    match = CHOICE.search(path)
    if match is None:
        return [path]
    given = (path[: match.start()] + choice + path[match.end() :] for choice in match[1].split(","))
    return [each for one in given for each in alternatives(one)]


def _join(block: str, layer: str) -> str:
    return f"{block}.{layer}" if block else layer


def _pattern(path: str) -> re.Pattern:
    """What a path matches from beginning to end, with the numbers of its blocks as groups."""
    return re.compile(re.escape(path).replace(r"\#", r"(\d+)"))


def _renumbered(name: str, wild: Sequence[bool], numbers: Sequence[str]) -> str:
    """The name with these numbers in place of those that are wild."""
    flags, rest = iter(wild), iter(numbers)
    return NUMBER.sub(lambda digits: next(rest) if next(flags, False) else digits[0], name)


def _template(path: str) -> str:
    return NUMBER.sub("#", flat(path))


def _filled(path: str, numbers: Sequence[str]) -> str:
    rest = iter(numbers)
    return re.sub("#", lambda _: next(rest), path)
