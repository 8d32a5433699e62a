"""The LORA_STACK currency: a list of strict 3-tuples (name, strength_model, strength_clip).

Other packs unpack exactly three values, so what else a row carries rides on a tuple subclass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..blocks.paths import count_by_block

NO_LORA = "No LoRA is connected or switched on: the model and the text encoder are not changed."


class StackEntry(tuple):
    """(name, strength_model, strength_clip), with block weights as text in `block_weights`.

    strength_low: the strength for the model of low noise where a pair of files is for two models; None for `strength_model`.
    """

    block_weights: str
    strength_low: float | None

    def __new__(
        cls,
        name: str,
        strength_model: float,
        strength_clip: float,
        block_weights: str = "",
        strength_low: float | None = None,
    ) -> StackEntry:
        entry = super().__new__(cls, (name, strength_model, strength_clip))
        entry.block_weights, entry.strength_low = block_weights, strength_low
        return entry


def read_stack(stack: Sequence | None) -> list[StackEntry]:
    """The entries of a stack that any pack may have made, none for None; rows named None are empty slots and are left out.

    Raises ValueError for one row alone in the place of a list, and for a row that does not begin with a name and two numbers.
    """
    entries = []
    for row in check_is_stack(stack):
        try:
            name, strength_model, strength_clip = tuple(row)[:3]
            numbers = float(strength_model), float(strength_clip)
            if not all(map(math.isfinite, numbers)):
                raise ValueError("a strength is not a finite number")
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The LoRA stack contains {row!r}; expected (name, strength_model, strength_clip). Check the node "
                "that makes this stack."
            ) from error
        if name and name != "None":
            more = getattr(row, "block_weights", ""), getattr(row, "strength_low", None)
            entries.append(StackEntry(str(name), *numbers, *more))
    return entries


def check_is_stack(stack: Sequence | None) -> Sequence:
    """The rows of a stack, none for None. Raises ValueError for what is no list, and for one row in the place of a list."""
    if not isinstance(stack, list | tuple | None) or (stack and isinstance(stack[0], str)):
        what = "a single row" if isinstance(stack, list | tuple) else f"a {type(stack).__name__}"
        raise ValueError(
            f"The LoRA stack must be a list of rows (name, strength_model, strength_clip), but it is {what}: "
            f"{stack!r}. Check the node that makes this stack: it must return a list, even for one row."
        )
    return stack or ()


class Rounding(NamedTuple):
    """What baking leaves of a change of quantised weights.

    kind: their format; count: how many of them there are; sample: of how many the loss was measured; cosine: between what
    they would change by and what they are meant to, 0..1.
    """

    kind: str
    count: int
    sample: int
    cosine: float


class EntryReport(NamedTuple):
    """What became of one LoRA: paths of patched and switched-off weights per part, and names that matched nothing; what is
    stored in few bits: kept beside the weights, and baked into them."""

    entry: StackEntry
    model: list[tuple[str, ...]]
    clip: list[tuple[str, ...]]
    switched_off: list[tuple[str, ...]]
    unmatched: list[str]
    unused_rules: list[str]
    needs_clip: list[str]
    kept: list[Rounding] = []
    baked: list[Rounding] = []


def format_report(reports: Sequence[EntryReport]) -> str:
    """The report as plain text: matched weights per block, and every name that matched nothing."""
    if not reports:
        return NO_LORA
    return "\n\n".join("\n".join(_lines(number, report)) for number, report in enumerate(reports, start=1))


def _lines(number: int, report: EntryReport) -> list[str]:
    name, strength_model, strength_clip = report.entry
    lines = [f"{number}. {name}  model {strength_model:g}, clip {strength_clip:g}"]
    if report.entry.block_weights:
        lines.append(f"   block weights: `{report.entry.block_weights}`")
    lines.append(f"   model: {_by_block(report.model)}")
    lines.append(f"   clip: {_by_block(report.clip)}")
    lines += [f"   {line}" for line in quantised_lines(report.kept, report.baked)]
    if report.switched_off:
        lines.append(f"   switched off: {_by_block(report.switched_off)}")
    if report.needs_clip:
        lines.append(f"   not applied, no CLIP connected: {len(report.needs_clip)} text encoder tensors")
    if report.unused_rules:
        lines.append(f"   rules that match nothing here: {', '.join(report.unused_rules)}")
    lines += [f"   matched nothing: {tensor}" for tensor in report.unmatched]
    return lines


def quantised_lines(kept: Sequence[Rounding], baked: Sequence[Rounding]) -> list[str]:
    """What became of changes of quantised weights: of those kept beside them, and of those baked in."""
    lines = [
        f"quantised: {row.count} {row.kind} weights stay as they are, the change is applied beside them in full; baked in, "
        f"{_left(row)}"
        for row in kept
    ]
    return lines + [f"quantised: baked into {row.count} {row.kind} weights and rounded, {_left(row)}" for row in baked]


def _left(row: Rounding) -> str:
    noise = math.sqrt(max(1 - row.cosine**2, 0.0)) / row.cosine if row.cosine > 0 else math.inf
    return f"the rounding noise is {noise:.2g} times the change (cosine {row.cosine:.2f}, measured on {row.sample})"


def _by_block(paths: list[tuple[str, ...]]) -> str:
    return f"{len(paths)} weights ({count_by_block(paths)})" if paths else "nothing"
