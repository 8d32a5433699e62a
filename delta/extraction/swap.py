"""Which weights of one model take the place of another's, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..blocks.paths import count_by_block, weight_path
from ..blocks.rules import parse_block_weights
from ..families.parts import weights_of
from ..files.checkpoint import common
from .pair import Source


class SwapPlan(NamedTuple):
    """factors: how much of the other model each weight takes, by its name; report: plain text."""

    factors: Mapping[str, float]
    report: str


def plan_swap(own: Source, other: Source, modules: Mapping[str, str], part: str, rules: str, amount: float) -> SwapPlan:
    """What is swapped of a part of a model, times the factors of its blocks.

    modules: the classes of the model's modules by path; rules: block weights as text. Raises ValueError for models of
    different kinds, a part that they do not have in common, and rules that leave nothing.
    """
    blocks = parse_block_weights(rules)
    # The same numbers in another shape, as SD 1.5 and SD 2 have, are another kind of layer.
    shared = {name for name in common(other, own).shared if own.shapes[name] == other.shapes[name]}
    wanted = weights_of(part, own.shapes, modules)
    paths = {name: weight_path(name) for name in wanted if name in shared}
    if not paths:
        raise ValueError(f"The models have no {part} in common that could be swapped. Choose another part.")
    factors = {name: factor for name, path in paths.items() if (factor := blocks.factor(path))}
    if not factors:
        raise ValueError(
            f"The block weights switch off all {len(paths)} weights. The blocks are {count_by_block(paths.values())}; name "
            "one of them."
        )
    times = f"{amount:g}" if set(factors.values()) == {1.0} else f"{amount:g} times the block weights"
    lines = [f"swapped {len(factors)} weights times {times}: {count_by_block(paths[name] for name in factors)}"]
    lines += [f"the rule {rule} matches nothing" for rule in blocks.unused(list(paths.values()))]
    left = [name for name in wanted if name not in shared]
    if left:
        lines.append(
            f"left unchanged, not in both models or of different shapes: {len(left)} weights such as {left[0]}"
        )
    return SwapPlan({name: amount * factor for name, factor in factors.items()}, "\n".join(lines))
