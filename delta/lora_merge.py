"""Merging and resizing whole LoRAs, layer by layer, with the cost of it told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from .adapters import Layer, same_weight
from .blocks.paths import block_of
from .linear_algebra.factors import LowRank, RankPolicy, concat, small_problems, zeros
from .linear_algebra.rank import RankChoice, Spectrum
from .linear_algebra.svd import compress
from .merging.registry import merge

Step = Callable[[int, int], None]


class SourceLayer(NamedTuple):
    """One layer of a source: its name in the file, the path of the weight for reports, what it does, how strongly."""

    name: str
    path: tuple[str, ...]
    layer: Layer
    strength: float


# A LoRA to merge: its layers by an identity that all sources share.
Source = Mapping[str, SourceLayer]
# What a size in megabytes counts: LoRAs are saved in half precision.
BYTES_PER_NUMBER = 2


class Pending(NamedTuple):
    """A merged layer whose rank is not chosen yet: the exact sum, the merged update, what its compression lost."""

    path: tuple[str, ...]
    exact: LowRank
    result: LowRank
    lost: float
    spectrum: Spectrum


class LayerCost(NamedTuple):
    """What merging and truncating one layer cost.

    rank: of the result; norm: Frobenius norm of the exact weighted sum; error: distance of
    the result from it; lost: distance between what an elementwise method gave and its compression to a low rank;
    full_rank: before truncation.
    """

    path: tuple[str, ...]
    rank: int
    norm: float
    error: float
    lost: float
    full_rank: int

    @property
    def relative(self) -> float:
        return self.error / self.norm if self.norm else 0.0


@dataclass
class Merged:
    """layers by the name they are saved under, and the cost of each low-rank one."""

    layers: dict[str, Layer] = field(default_factory=dict)
    costs: dict[str, LayerCost] = field(default_factory=dict)


def merge_loras(
    sources: Sequence[Source],
    method: str,
    parameters: Mapping[str, float],
    choice: RankChoice,
    seed: int = 0,
    on_step: Step = lambda done, total: None,
) -> Merged:
    """Merge LoRAs by a method of `delta.merging`; biases, norms and dense updates are added up with their strengths.

    on_step(done, total) is called after each layer and may raise to cancel. Raises ValueError when the sources disagree
    about a weight, or hold replacing weights that cannot be merged.
    """
    identities = list(dict.fromkeys(identity for source in sources for identity in source))
    merged = Merged()
    pending: dict[str, Pending] = {}
    total = len(identities) * (2 if choice.mode == "size" else 1)
    with small_problems():
        for done, identity in enumerate(identities, start=1):
            rows = [source.get(identity) for source in sources]
            found = [row for row in rows if row is not None]
            name = found[0].name
            merged.layers[name] = _sum_of_the_rest(found)
            exact, result, lost = _merge_low_rank(rows, method, parameters, choice, seed)
            if exact is not None:
                policy = choice.per_layer()
                if policy is None:
                    spectrum = Spectrum(result.svd().values, result.shape)
                    pending[name] = Pending(found[0].path, exact, result, lost, spectrum)
                else:
                    merged.costs[name] = _truncate(merged.layers[name], found[0].path, exact, result, lost, policy)
            on_step(done, total)
        _spend_budget(merged, pending, choice, lambda done: on_step(len(identities) + done, total))
    return merged


def _spend_budget(
    merged: Merged,
    pending: Mapping[str, Pending],
    choice: RankChoice,
    on_layer: Callable[[int], None],
) -> None:
    """Ranks by a size need the spectra of all layers before the first is cut."""
    if not pending:
        return
    spectra = {name: layer.spectrum for name, layer in pending.items()}
    text = {name for name, layer in pending.items() if layer.path[0] == "text"}
    ranks = choice.ranks(spectra, text, BYTES_PER_NUMBER)
    for done, (name, (path, exact, result, lost, _)) in enumerate(pending.items(), start=1):
        merged.costs[name] = _truncate(merged.layers[name], path, exact, result, lost, ranks[name])
        on_layer(done)


def _merge_low_rank(
    rows: Sequence[SourceLayer | None],
    method: str,
    parameters: Mapping[str, float],
    choice: RankChoice,
    seed: int,
) -> tuple[LowRank | None, LowRank | None, float]:
    """(the exact weighted sum, the merged update, what its compression lost) of the low-rank parts of one layer.

    (None, None, 0) for a layer without such parts.

    A source that lacks the layer takes part with nothing, because in some methods each source has a role.
    """
    given = [None if row is None else row.layer.low_rank for row in rows]
    if all(update is None for update in given):
        return None, None, 0.0
    name = next(row.name for row, update in zip(rows, given) if update is not None)
    updates = alike(given, name)
    weights = [1.0 if row is None else row.strength for row in rows]
    exact = concat([update.scale(weight) for update, weight in zip(updates, weights)])
    if method == "linear":
        return exact, exact, 0.0
    result = merge(method, updates, weights, parameters, seed, name)
    if isinstance(result, Tensor):
        # Elementwise methods give a matrix of full rank; as many values are kept as the sources had together.
        rank = int(choice.value) if choice.mode == "fixed" else exact.rank
        compressed = compress(result.reshape(exact.shape), rank)
        return exact, compressed.low_rank, compressed.residual
    return exact, result, 0.0


def _truncate(
    layer: Layer, path: tuple[str, ...], exact: LowRank, result: LowRank, lost: float, rank: int | RankPolicy
) -> LayerCost:
    """Cut the merged update of a layer and put it there; returns the cost against the exact sum."""
    cut = result.truncate(rank)
    layer.low_rank = cut.low_rank
    norm = exact.norm()
    if result is exact:
        error = cut.residual
    else:
        error = concat([cut.low_rank, exact.scale(-1.0)]).norm()
    return LayerCost(path, cut.low_rank.rank, norm, error, lost, len(cut.singular_values))


def alike(updates: Sequence[LowRank | None], name: str) -> list[LowRank]:
    """The updates in one shape: some files store a kernel of one pixel, or a whole kernel, as a matrix. None is nothing.

    Raises ValueError for updates that cannot be of one weight. `name` is the layer's, for the message.
    """
    shape = max((update.shape for update in updates if update is not None), key=len)
    for update in updates:
        if update is not None and not same_weight(update.shape, shape):
            raise ValueError(
                f"{name} is {update.shape} in one LoRA and {shape} in another: they are for different models. "
                "Choose LoRAs of one kind of model."
            )
    return [zeros(shape) if update is None else LowRank(update.up, update.down, shape) for update in updates]


def _sum_of_the_rest(found: Sequence[SourceLayer]) -> Layer:
    """Biases, norms and dense updates of one layer, added up with their strengths."""
    layer = Layer()
    for row in found:
        for attribute in ("full", "bias"):
            value = getattr(row.layer, attribute)
            if value is not None:
                total = getattr(layer, attribute)
                setattr(layer, attribute, value * row.strength if total is None else total + value * row.strength)
        if row.layer.new_weight is not None:
            if len(found) > 1 or row.strength != 1:
                raise ValueError(
                    f"{row.name} replaces a weight instead of changing it; that cannot be merged or scaled. "
                    "Remove it from the file, or merge the models instead."
                )
            layer.new_weight = row.layer.new_weight
        layer.new_shape = layer.new_shape or row.layer.new_shape
    return layer


def cost_report(costs: Sequence[LayerCost], worst: int = 5) -> str:
    """Error against the exact update: in all, per block, and the worst layers; as plain text."""
    if not costs:
        return "no low-rank layers"
    lines = [f"relative error in all: {_relative(costs):.3g}"]
    lost, norm = (math.hypot(*(getattr(cost, part) for cost in costs)) for part in ("lost", "norm"))
    if lost:
        lines.append(f"of this lost by compression to a low rank: {lost / norm:.3g}")
    lines.append("by block:")
    blocks: dict[str, list[LayerCost]] = {}
    for cost in costs:
        blocks.setdefault(block_of(cost.path), []).append(cost)
    for block, rows in blocks.items():
        ranks = sorted({row.rank for row in rows})
        spread = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        lines.append(f"  {block}: error {_relative(rows):.3g}, rank {spread}, {len(rows)} layers")
    lines.append("worst layers:")
    for cost in sorted(costs, key=lambda cost: -cost.relative)[:worst]:
        lines.append(f"  {'.'.join(cost.path)}: error {cost.relative:.3g}, rank {cost.rank} of {cost.full_rank}")
    return "\n".join(lines)


def _relative(costs: Sequence[LayerCost]) -> float:
    norm = math.hypot(*(cost.norm for cost in costs))
    return math.hypot(*(cost.error for cost in costs)) / norm if norm else 0.0
