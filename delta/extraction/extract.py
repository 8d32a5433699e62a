"""A LoRA from the difference of two models: fine-tuned minus base, weight by weight, with the error of each known.

Each weight is read from both models, subtracted in float32 and compressed by the certified SVD of
`delta.linear_algebra.svd`; only its factors are kept. Directions that cannot be told from the rounding of the stored
weights are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..blocks.paths import weight_path
from ..linear_algebra.factors import LowRank, RankPolicy
from ..linear_algebra.noise import edge, floor, noise_floor, signal_to_noise
from ..linear_algebra.rank import RankChoice, Spectrum, fixed, parameters_per_rank
from ..linear_algebra.svd import compress
from ..lora.adapters import Layer
from ..lora.costs import BYTES_PER_NUMBER
from ..progress import Step
from .pair import TEXT_PREFIX, Pair

# Singular values that are computed at first where the policy does not say how many it wants.
START = 32
NO_RANK = "given no rank"
# By how much more than its size the rounding of a row may differ from the mean: exponents are whole numbers.
UNEVEN = 1.5
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Settings:
    """choice: ranks of linear layers and, without `conv`, of convolutions; conv: ranks of convolutions with a kernel;
    biases_and_norms: whether their differences are kept too; ignore_noise: whether differences that cannot be told from
    rounding are kept too; device: where the decompositions are computed."""

    choice: RankChoice
    conv: RankChoice | None = None
    biases_and_norms: bool = True
    ignore_noise: bool = False
    device: torch.device = torch.device("cpu")

    def choice_for(self, shape: Sequence[int]) -> RankChoice:
        return self.conv if self.conv is not None and math.prod(shape[2:]) > 1 else self.choice


class Difference(NamedTuple):
    """The difference of one weight.

    low_rank: its factors, None for one that is kept whole; full: a bias or norm; values: the singular values found,
    descending; norm: Frobenius norm of the whole; residual: of what the factors lack; deviation: standard deviation of
    the rounding in it; noise: the largest singular value that this rounding has.
    """

    low_rank: LowRank | None
    full: Tensor | None
    values: Tensor
    norm: float
    residual: float
    deviation: float
    noise: float

    @property
    def full_rank(self) -> int:
        """The highest rank that the whole difference can have."""
        return min(self.low_rank.shape[0], math.prod(self.low_rank.shape[1:]))

    def cut(self, rank: int) -> Difference:
        """With the leading `rank` directions only."""
        if rank >= self.low_rank.rank:
            return self
        part = LowRank(self.low_rank.up[:, :rank].clone(), self.low_rank.down[:rank].clone(), self.low_rank.shape)
        residual = math.hypot(self.residual, float(torch.linalg.vector_norm(self.values[rank:])))
        return self._replace(low_rank=part, residual=residual)


class Store(Protocol):
    """Where finished differences wait until all are done; its length is how many there are."""

    def __len__(self) -> int: ...

    def get(self, name: str) -> Difference | None: ...

    def put(self, name: str, difference: Difference) -> Difference:
        """Keep a difference, and answer it as it is kept."""
        ...

    def remove(self) -> None:
        """Forget all."""
        ...


class MemoryStore(dict):
    """Finished differences in memory."""

    def put(self, name: str, difference: Difference) -> Difference:
        self[name] = difference
        return difference

    def remove(self) -> None:
        self.clear()


@dataclass
class Extracted:
    """layers by ComfyUI's name of the weight, without its ending; differences by the whole name; skipped: weights whose
    change is left out, with the reason; lost: the differences of those that are given no rank, of rank 0; unchanged: how many
    weights are the same in both models."""

    layers: dict[str, Layer] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    lost: dict[str, Difference] = field(default_factory=dict)
    unchanged: int = 0


def extract(
    pair: Pair,
    settings: Settings,
    store: Store | None = None,
    on_step: Step = lambda done, total: None,
) -> Extracted:
    """The difference of the weights that two models have in common, as layers of a LoRA.

    on_step is called after each weight and may raise to cancel. Raises ValueError when nothing differs, when all that
    differs is below the rounding of the stored weights, and as the sources do.
    """
    store = MemoryStore() if store is None else store
    tuned, base = pair.tuned, pair.base
    found = _all_differences(pair, settings, store, on_step)
    result = Extracted(unchanged=sum(difference is None for difference in found.values()))
    changed = {name: difference for name, difference in found.items() if difference is not None}
    if not changed:
        raise ValueError(f"{tuned.name} and {base.name} have the same weights: there is nothing to extract.")
    if settings.choice.mode == "size":
        total = sum(_sizes(pair).values())
        changed = _spend_budget(pair, changed, settings, store, lambda: on_step(total, total))
    for name, difference in changed.items():
        reason = _reason_to_skip(name, difference, settings)
        if reason is None:
            result.differences[name] = difference
            _put(result.layers, name, difference)
        else:
            result.skipped[name] = reason
            if reason == NO_RANK:
                result.lost[name] = difference
    if not result.layers:
        raise ValueError(_nothing_left(pair, changed, settings))
    return result


def path_of(name: str) -> tuple[str, ...]:
    """The path of a weight for reports and block rules."""
    return weight_path(name.removeprefix(TEXT_PREFIX))


def noise_rank(difference: Difference) -> int | None:
    """How many directions stand above the rounding; None where more were not computed."""
    above = int((difference.values > difference.noise).sum())
    return None if above == len(difference.values) and difference.residual > 0 else above


def _all_differences(pair: Pair, settings: Settings, store: Store, on_step: Step) -> dict[str, Difference | None]:
    sizes = _sizes(pair)
    total, done = sum(sizes.values()), 0
    first_rank = _first_rank(pair, settings)
    found: dict[str, Difference | None] = {}
    for name in pair.names:
        found[name] = store.get(name)
        if found[name] is None:
            found[name] = _difference(pair, name, settings, first_rank)
            if found[name] is not None and found[name].low_rank is not None:
                found[name] = store.put(name, found[name])
        done += sizes[name]
        on_step(done, total)
    return found


def _sizes(pair: Pair) -> dict[str, int]:
    """How many numbers each weight has."""
    return {name: math.prod(pair.tuned.shapes[name]) for name in pair.names}


def _difference(pair: Pair, name: str, settings: Settings, first_rank: int | None) -> Difference | None:
    """The difference of one weight; None where there is none. `first_rank` is how many directions a size looks at."""
    change, deviation, noise = _subtracted(pair, name)
    if not change.any():
        return None
    if not is_matrix(name, change.shape):
        return Difference(None, change, torch.zeros(0), float(torch.linalg.vector_norm(change)), 0.0, deviation, noise)
    choice = settings.choice_for(change.shape)
    policy = fixed(first_rank) if choice.mode == "size" else choice.per_layer()
    if deviation and not settings.ignore_noise:
        policy = _lower(policy, noise_floor(noise))
    start = {"size": first_rank, "fixed": int(choice.value), "knee": min(change.shape)}.get(choice.mode, START)
    cut = compress(change.to(settings.device), policy, start)
    low_rank = LowRank(cut.low_rank.up.cpu(), cut.low_rank.down.cpu(), cut.low_rank.shape)
    values = cut.singular_values.cpu()
    # The kept part and what is cut off are orthogonal.
    norm = math.hypot(low_rank.norm(), cut.residual)
    return Difference(low_rank, None, values, norm, cut.residual, deviation, noise)


def _subtracted(pair: Pair, name: str) -> tuple[Tensor, float, float]:
    """(tuned - base of one weight, the standard deviation of the rounding in it, its largest singular value). Only one copy
    stays in memory."""
    one, two = pair.tuned.read(name), pair.base.read(name)
    variance = one.variance + two.variance
    base = two.value.reshape(one.value.shape)
    sizes = _sides(base) if variance and is_matrix(name, base.shape) else None
    change = one.value.sub_(base)
    return change, math.sqrt(variance), 0.0 if sizes is None else _largest_noise(change, variance, sizes)


def _sides(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean squares of the rows and of the columns of a weight as a matrix."""
    weight = weight.flatten(1)
    rows, columns = (torch.linalg.vector_norm(weight, dim=dim).square() for dim in (1, 0))
    return rows / weight.shape[1], columns / weight.shape[0]


def _largest_noise(change: Tensor, variance: float, sizes: tuple[Tensor, Tensor]) -> float:
    """The largest singular value of rounding of this mean variance in a difference.

    sizes: of the base, as `_sides` gives them. How the rounding of a row or column differs from the mean depends on the
    format: about as its size does, or not at all; and no row of the difference has more of it than it has in all.
    """
    noise = (
        torch.minimum(found, UNEVEN * variance * (size / size.mean().clamp(min=TINY)).clamp(min=1))
        for found, size in zip(_sides(change), sizes)
    )
    return max(edge(*noise), floor(math.sqrt(variance), change.shape))


def is_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether a weight is one that a LoRA changes by factors."""
    return name.endswith(".weight") and len(shape) > 1


def _lower(one: RankPolicy, two: RankPolicy) -> RankPolicy:
    return lambda values, shape, rest=0.0: min(one(values, shape, rest), two(values, shape, rest))


def _first_rank(pair: Pair, settings: Settings) -> int | None:
    """For a size, twice the rank that all weights would have if they had the same, so that few need a second look."""
    if settings.choice.mode != "size":
        return None
    shapes = [shape for name in pair.names if is_matrix(name, shape := pair.tuned.shapes[name])]
    numbers = sum(map(parameters_per_rank, shapes))
    megabytes = settings.choice.value + settings.choice.text_encoder_mb
    return 8 + int(2 * megabytes * 1e6 / BYTES_PER_NUMBER / max(numbers, 1))


def _spend_budget(
    pair: Pair,
    changed: Mapping[str, Difference],
    settings: Settings,
    store: Store,
    on_grown: Callable[[], None],
) -> dict[str, Difference]:
    """Ranks that fit a size. Where a weight gets all directions that were looked at, more of it are computed.

    on_grown is called after each such weight and may raise to cancel.
    """
    changed = dict(changed)
    while True:
        spectra = {
            name: Spectrum(difference.values[: difference.low_rank.rank], difference.low_rank.shape)
            for name, difference in changed.items()
            if difference.low_rank is not None and settings.choice_for(difference.low_rank.shape).mode == "size"
        }
        text = {name for name in spectra if name.startswith(TEXT_PREFIX)}
        ranks = settings.choice.ranks(spectra, text, BYTES_PER_NUMBER)
        short = [name for name, rank in ranks.items() if rank and _can_grow(changed[name], rank)]
        if not short:
            return changed | {name: changed[name].cut(rank) for name, rank in ranks.items()}
        for name in short:
            grown = _difference(pair, name, settings, 2 * changed[name].low_rank.rank)
            changed[name] = store.put(name, grown)
            on_grown()


def _can_grow(difference: Difference, rank: int) -> bool:
    """Whether all directions of this weight are taken although it has more above the noise."""
    return rank == difference.low_rank.rank == len(difference.values) < difference.full_rank


def _reason_to_skip(name: str, difference: Difference, settings: Settings) -> str | None:
    if difference.low_rank is not None:
        if difference.low_rank.rank:
            return None
        return "below the rounding of the stored weights" if _is_noise(difference, settings) else NO_RANK
    if not settings.biases_and_norms:
        return "biases and norms are switched off"
    if not name.endswith((".weight", ".bias", ".scale")):
        return "LoRA loaders do not apply changes to such parameters"
    return None


def _is_noise(difference: Difference, settings: Settings) -> bool:
    return not settings.ignore_noise and difference.deviation > 0 and noise_rank(difference) == 0


def _put(layers: dict[str, Layer], name: str, difference: Difference) -> None:
    layer, _, ending = name.rpartition(".")
    # Loaders mean `layer.weight` by a layer, and every other parameter by its whole name.
    entry = layers.setdefault(layer if ending in ("weight", "bias") else name, Layer())
    if difference.low_rank is not None:
        entry.low_rank = difference.low_rank
    elif ending == "bias":
        entry.bias = difference.full
    else:
        entry.full = difference.full


def _nothing_left(pair: Pair, changed: Mapping[str, Difference], settings: Settings) -> str:
    tuned, base = pair.tuned, pair.base
    matrices = [difference for difference in changed.values() if difference.low_rank is not None]
    if not matrices:
        return f"{tuned.name} and {base.name} differ in biases and norms only, which are switched off."
    if not all(_is_noise(difference, settings) for difference in matrices):
        return f"The ranks leave nothing of {tuned.name} minus {base.name}. Choose a higher rank, energy or size."
    norm = math.hypot(*(difference.norm for difference in matrices))
    noise = math.hypot(*(d.deviation * math.sqrt(math.prod(d.low_rank.shape)) for d in matrices))
    return (
        f"{tuned.name} and {base.name} differ by {norm:.3g}, and the rounding of their stored weights alone "
        f"accounts for {noise:.3g}: no direction of the difference can be distinguished from noise. Use files of "
        "higher precision, or switch on ignore_noise to extract it anyway."
    )


def layer_signal(difference: Difference) -> float:
    """Signal to noise of a difference with factors; see `noise.signal_to_noise`."""
    return signal_to_noise(difference.norm**2, difference.deviation, difference.low_rank.shape)
