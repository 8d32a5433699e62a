"""Merging and resizing whole LoRAs, layer by layer, with the cost of it told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..linear_algebra.factors import LowRank, RankPolicy, concat, small_problems
from ..linear_algebra.rank import RankChoice, Spectrum
from ..linear_algebra.svd import compress
from ..merging.registry import merge
from ..progress import Step
from .adapters import Layer
from .costs import BYTES_PER_NUMBER, LayerCost
from .sources import Source, SourceLayer, alike


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
