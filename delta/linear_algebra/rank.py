"""How many singular values to keep: per layer, or over all layers for a size in megabytes.

A policy is a function (singular values, weight shape, rest) -> rank; values are descending, rank 0 and the full rank are
reachable. `rest` is the energy of singular values that are not given; a rank above the number of those given says that
more of them are needed.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .factors import RankPolicy

# Shares that are met to within rounding count as met.
ROUNDING = 1e-12


def full() -> RankPolicy:
    """Keep everything."""
    return lambda values, shape, rest=0.0: len(values) + bool(rest)


def fixed(rank: int) -> RankPolicy:
    """Keep `rank` values. Raises ValueError for a negative rank."""
    if rank < 0:
        raise ValueError(f"Rank {rank} is negative; the smallest rank is 0.")
    return lambda values, shape, rest=0.0: rank if rest else min(rank, len(values))


def energy(share: float) -> RankPolicy:
    """The smallest rank that keeps this share of the energy (the sum of squares), 0..1."""
    _check_share("energy", share)
    return lambda values, shape, rest=0.0: _smallest(values, rest, 1 - share)


def error(limit: float) -> RankPolicy:
    """The smallest rank whose relative error in the Frobenius norm is at most `limit`, 0..1."""
    _check_share("error", limit)
    return lambda values, shape, rest=0.0: _smallest(values, rest, limit**2)


def knee() -> RankPolicy:
    """The rank at which the spectrum bends most: farthest below the line from its first to its last value."""

    def rank(values: Tensor, shape: tuple[int, ...], rest: float = 0.0) -> int:
        if rest:
            return len(values) + 1
        if len(values) < 3 or values[0] == 0:
            return int(torch.count_nonzero(values))
        line = torch.linspace(1, 0, len(values), dtype=torch.float64)
        span = values[0] - values[-1]
        heights = (values - values[-1]) / span if span > 0 else line
        return int((line - heights).argmax()) + 1

    return rank


def parameters_per_rank(shape: Sequence[int]) -> int:
    """Numbers that one more rank stores for a weight of this shape: a column of `up` and a row of `down`."""
    return shape[0] + math.prod(shape[1:])


class Spectrum(NamedTuple):
    """The singular values of one layer and the shape of its weight."""

    values: Tensor
    shape: tuple[int, ...]

    @property
    def parameters_per_rank(self) -> int:
        """See the function of this name."""
        return parameters_per_rank(self.shape)


class Allocation(NamedTuple):
    """ranks by layer; error: Frobenius norm of all that is cut off; bytes: what the kept factors take."""

    ranks: dict[str, int]
    error: float
    bytes: int


def allocate(spectra: Mapping[str, Spectrum], budget_bytes: float, bytes_per_number: int) -> Allocation:
    """Ranks that fit into a number of bytes and cut off the least: greedy by sigma^2 per stored number.

    Within a layer the values descend, so that the greedy choice is a prefix of each spectrum; it is optimal to within
    one singular vector. Raises ValueError for a budget that is not positive.
    """
    if budget_bytes <= 0:
        raise ValueError(f"A budget of {budget_bytes / 1e6:g} MB keeps nothing. Give a size above 0.")
    names = list(spectra)
    if not names:
        return Allocation({}, 0.0, 0)
    squares = torch.cat([spectra[name].values.double().square() for name in names])
    costs = torch.cat(
        [torch.full((len(spectra[n].values),), spectra[n].parameters_per_rank, dtype=torch.float64) for n in names]
    )
    layer = torch.cat([torch.full((len(spectra[n].values),), i) for i, n in enumerate(names)])
    order = torch.argsort(squares / costs, descending=True, stable=True)
    # A value of nothing is not worth a byte.
    order = order[squares[order] > 0]
    spent = costs[order].cumsum(0) * bytes_per_number
    chosen = order[spent <= budget_bytes]
    ranks = torch.bincount(layer[chosen], minlength=len(names))
    cut = squares.sum() - squares[chosen].sum()
    size = int(costs[chosen].sum()) * bytes_per_number
    return Allocation(dict(zip(names, ranks.tolist())), math.sqrt(max(float(cut), 0.0)), size)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"The {name} policy needs a share from 0 to 1, not {value:g}.")


def _smallest(values: Tensor, rest: float, share: float) -> int:
    """The smallest rank that cuts off at most this share of the energy."""
    squares = values.double().square().flip(0)
    cut = torch.cat([squares.new_zeros(1), squares.cumsum(0)]).flip(0) + rest
    enough = cut <= (share + ROUNDING) * cut[0]
    return int(enough.int().argmax()) if enough.any() else len(values) + 1


MODES = ("full", "fixed", "energy", "error", "knee", "size")


@dataclass(frozen=True)
class RankChoice:
    """How the ranks of a whole LoRA are chosen.

    mode: `full` keeps all; `fixed`, `energy`, `error` and `knee` choose per layer by `value`; `size` spreads `value` MB
    over all layers, or over those of the diffusion model when the text encoder has `text_encoder_mb` of its own.
    """

    mode: str = "full"
    value: float = 0.0
    text_encoder_mb: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"There is no rank mode {self.mode}. Choose one of: {', '.join(MODES)}.")
        if self.mode == "fixed" and self.value < 1:
            raise ValueError(f"A fixed rank of {self.value:g} keeps nothing. Give a rank of at least 1.")

    def per_layer(self) -> RankPolicy | None:
        """The policy for one layer, or None for a size, which needs all layers."""
        if self.mode == "size":
            return None
        makers = {"fixed": lambda value: fixed(int(value)), "energy": energy, "error": error}
        if self.mode in makers:
            return makers[self.mode](self.value)
        return knee() if self.mode == "knee" else full()

    def ranks(self, spectra: Mapping[str, Spectrum], text: Container[str], bytes_per_number: int) -> dict[str, int]:
        """The rank of every layer for a size. `text` holds the layers of the text encoder."""
        if not self.text_encoder_mb:
            return allocate(spectra, self.value * 1e6, bytes_per_number).ranks
        ranks = {}
        for budget, of_text in ((self.value, False), (self.text_encoder_mb, True)):
            group = {name: spectrum for name, spectrum in spectra.items() if (name in text) == of_text}
            if group:
                ranks |= allocate(group, budget * 1e6, bytes_per_number).ranks
        return ranks

    def describe(self) -> str:
        """One phrase for reports and recipes."""
        if self.mode == "size":
            own = f", text encoder {self.text_encoder_mb:g} MB" if self.text_encoder_mb else ""
            return f"size {self.value:g} MB{own}"
        return self.mode if self.mode in ("full", "knee") else f"{self.mode} {self.value:g}"
