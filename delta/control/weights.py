"""How strong each block of a control net is: named rules, soft weights that fall off, and a factor for the negative."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..blocks.rules import parse_block_weights
from ..report_text import text_table


@dataclass(frozen=True)
class ControlBlock:
    """One block of a control net: its name in rules, the module that computes it, and where in the model its output is added."""

    name: str
    module: str
    target: str


@dataclass(frozen=True)
class ControlLayout:
    """Which block of a control net made which of its outputs.

    net: what the net is, for people. blocks: in the order in which data passes them, so that the last is the deepest.
    slots: for each list of outputs (`input`, `middle`, `output`), the block of every entry that is not None, in the list's
    order.
    """

    net: str
    blocks: tuple[ControlBlock, ...]
    slots: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ControlWeights:
    """rules: factors by block, as in `input.4=0.5, middle=1, double.0-3=0`; the last rule that matches decides.

    falloff: soft weights; the deepest block has the factor 1 and each one before it `falloff` times that of its successor,
    as in the first ControlNet's guess mode (0.825, arXiv 2302.05543). uncond: the factor for the negative conditioning.
    """

    rules: str = ""
    falloff: float = 1.0
    uncond: float = 1.0

    def resolve(self, layout: ControlLayout) -> dict[str, float]:
        """The factor of every block of a net. Raises ValueError for rules that cannot be read or name no block of it."""
        rules = parse_block_weights(self.rules)
        paths = [tuple(block.name.split(".")) for block in layout.blocks]
        if unused := rules.unused(paths):
            raise ValueError(
                f"The block weights {', '.join(unused)} match no block of this {layout.net}. "
                f"It has: {', '.join(names_in_short([block.name for block in layout.blocks]))}."
            )
        deepest = len(paths) - 1
        return {
            block.name: rules.factor(path) * self.falloff ** (deepest - depth)
            for depth, (block, path) in enumerate(zip(layout.blocks, paths))
        }


def weights_report(layout: ControlLayout, weights: ControlWeights) -> str:
    """A table of the net's blocks, the modules behind them, where they act, and the factor each has."""
    factors = weights.resolve(layout)
    rows = [("block", "module", "added to", "weight")]
    rows += [(block.name, block.module, block.target, f"{factors[block.name]:.4g}") for block in layout.blocks]
    head = f"{layout.net}: {len(layout.blocks)} blocks"
    if weights.falloff != 1:
        head += f", soft weights with a falloff of {weights.falloff:g}"
    return "\n".join([f"{head}, negative conditioning times {weights.uncond:g}", "", *text_table(rows)])


def by_weight(weights: Mapping[str, float]) -> dict[str, float]:
    """The same weights with blocks of one weight under one name, such as `input.0-3, middle`, the heaviest first."""
    groups: dict[float, list[str]] = {}
    for name, weight in weights.items():
        groups.setdefault(round(weight, 6), []).append(name)
    return {", ".join(names_in_short(groups[weight])): weight for weight in sorted(groups, reverse=True)}


def names_in_short(names: Sequence[str]) -> list[str]:
    """Runs of numbered names in one: input.0, input.1, input.2, middle -> input.0-2, middle."""
    runs: list[tuple[str, int, int] | tuple[str]] = []
    for name in names:
        kind, _, number = name.rpartition(".")
        if not number.isdigit():
            runs.append((name,))
        elif runs and len(runs[-1]) == 3 and runs[-1][0] == kind and runs[-1][2] + 1 == int(number):
            runs[-1] = (kind, runs[-1][1], int(number))
        else:
            runs.append((kind, int(number), int(number)))
    return [_run(run) for run in runs]


def _run(run: tuple) -> str:
    if len(run) == 1:
        return run[0]
    kind, first, last = run
    return f"{kind}.{first}" if first == last else f"{kind}.{first}-{last}"


def each_repeated(names: Iterable[str], times: int, most: int) -> tuple[str, ...]:
    """a, a, a, b, b, b: every name for `times` neighbours in the model, `most` in all."""
    return tuple(name for name in names for _ in range(times))[:most]


def all_repeated(names: Iterable[str], times: int, most: int) -> tuple[str, ...]:
    """a, b, a, b: the names in turn over the model, `most` in all."""
    return tuple([*names] * times)[:most]
