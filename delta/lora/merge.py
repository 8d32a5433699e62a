"""Merging and resizing whole LoRAs, layer by layer, with the cost of it told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from ..linear_algebra.factors import LowRank, RankPolicy, concat, small_problems
from ..linear_algebra.rank import RankChoice, Spectrum
from ..linear_algebra.svd import compress
from ..merging.registry import merge
from ..progress import Step
from .adapters import Layer
from .costs import BYTES_PER_NUMBER, LayerCost
from .sources import Source, SourceLayer, alike, different_models


class Pending(NamedTuple):
    """A merged layer whose rank is not chosen yet: the exact sum, the merged update, what its compression lost."""

    path: tuple[str, ...]
    exact: LowRank
    result: LowRank
    lost: float
    spectrum: Spectrum


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

    Weights that are replaced or padded come out as stacking in the order of the sources does it. on_step(done, total) is
    called after each layer and may raise to cancel. Raises ValueError when the sources disagree about a weight, or one
    replaces what another changes and the method is not linear.
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
            if any(row.layer.new_weight is not None and row.strength for row in found):
                merged.layers[name] = _replaced(found, method)
                on_step(done, total)
                continue
            rows = _padded(rows)
            merged.layers[name] = _sum_of_the_rest([row for row in rows if row is not None])
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


def _sum_of_the_rest(found: Sequence[SourceLayer]) -> Layer:
    """Biases, norms and dense updates of one layer, added up with their strengths."""
    given = [row.layer for row in found]
    return Layer(
        full=_weighted_sum(found, [layer.full for layer in given]),
        bias=_weighted_sum(found, [layer.bias for layer in given]),
        new_shape=next((layer.new_shape for layer in given if layer.new_shape is not None), None),
    )


def _weighted_sum(rows: Sequence[SourceLayer], values: Sequence[Tensor | None]) -> Tensor | None:
    """The sum of the values with the strengths of the rows. Raises ValueError for values of different shapes."""
    total = None
    for row, value in zip(rows, values):
        if value is None:
            continue
        if total is not None and total.shape != value.shape:
            raise different_models(row.name, total.shape, value.shape)
        total = value * row.strength if total is None else total + value * row.strength
    return total


def _replaced(found: Sequence[SourceLayer], method: str) -> Layer:
    """A layer that some source replaces: as stacking in this order does it.

    The host sets the weight whatever the strength is, other than 0, so that only what later sources add to it remains.
    Raises ValueError where several sources have the layer and the method is not that of stacking.
    """
    if len(found) > 1 and method != "linear":
        raise ValueError(
            f"{found[0].name} is replaced by one LoRA, and only the method linear can merge that with another "
            "LoRA's change. Choose linear."
        )
    last = max(index for index, row in enumerate(found) if row.layer.new_weight is not None and row.strength)
    later = found[last + 1 :]
    base = SourceLayer(found[last].name, found[last].path, found[last].layer, 1.0)
    updates = [row.layer.dense() for row in later]
    weight = _weighted_sum([base, *later], [base.layer.new_weight, *updates])
    return Layer(new_weight=weight, bias=_weighted_sum(found, [row.layer.bias for row in found]))


def _padded(rows: Sequence[SourceLayer | None]) -> list[SourceLayer | None]:
    """The rows of one layer, those for the weight as it was padded with zeros where another source pads it."""
    shape = next((row.layer.new_shape for row in rows if row is not None and row.layer.new_shape is not None), None)
    if shape is None:
        return list(rows)
    return [row if row is None else row._replace(layer=_pad_layer(row.layer, shape)) for row in rows]


def _pad_layer(layer: Layer, shape: tuple[int, ...]) -> Layer:
    """The layer on the padded weight. What is larger than that, or of other dimensions, is left for the merge to refuse."""
    low_rank, full = layer.low_rank, layer.full
    if low_rank is not None and _can_grow(low_rank.shape, shape):
        up = functional.pad(low_rank.up, (0, 0, 0, shape[0] - len(low_rank.up)))
        down = _grown(low_rank.down.reshape(-1, *low_rank.shape[1:]), (low_rank.rank, *shape[1:])).flatten(1)
        low_rank = LowRank(up, down, shape)
    if full is not None and _can_grow(tuple(full.shape), shape):
        full = _grown(full, shape)
    return replace(layer, low_rank=low_rank, full=full)


def _can_grow(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    return len(old) == len(new) and all(one <= other for one, other in zip(old, new))


def _grown(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    pads = [(0, new - old) for old, new in zip(tensor.shape, shape)]
    return functional.pad(tensor, [pad for pair in reversed(pads) for pad in pair])
