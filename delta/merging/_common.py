"""What several merge methods share: small SVDs in core space, polar factors, and the TIES vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..linear_algebra.factors import CoreSpace, LowRank, core_space

# Inputs are float32 at best: what is this much weaker than the rest of the same quantity is its rounding.
ROUNDING = 1e-6


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError for a value outside 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value:g}; it must be between 0 and 1.")


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError for a negative value."""
    if not value >= 0.0:
        raise ValueError(f"{name} is {value:g}; it cannot be negative.")


class Triplets(NamedTuple):
    """left @ diag(values) @ right. left: [P, K]; values: [K], descending, positive; right: [K, Q]."""

    left: Tensor
    values: Tensor
    right: Tensor

    def top(self, count: int) -> Triplets:
        """The `count` strongest triplets, or all if there are fewer."""
        return Triplets(self.left[:, :count], self.values[:count], self.right[:count])

    def product(self) -> Tensor:
        """left @ diag(values) @ right, [P, Q]."""
        return (self.left * self.values) @ self.right


def svd(core: Tensor) -> Triplets:
    """The SVD of a small matrix without the singular values that are rounding."""
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    present = values > ROUNDING * values[:1]
    return Triplets(left[:, present], values[present], right[present])


def polar(columns: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns (Procrustes), [P, K] -> [P, K].

    Linearly dependent columns have no unique one. Then this is the partial isometry onto their span, the part that all
    solutions share, instead of an arbitrary completion.
    """
    triplets = svd(columns)
    return triplets.left @ triplets.right


def span(columns: Tensor) -> Tensor:
    """An orthonormal basis of the columns."""
    return svd(columns).left


def weighted_core_space(parts: Sequence[LowRank], weights: Sequence[float]) -> CoreSpace:
    """The common frame of the parts, with cores of weight * part."""
    space = core_space(parts)
    return space._replace(cores=[core * weight for core, weight in zip(space.cores, weights)])


def keep_largest(values: Tensor, share: float) -> Tensor:
    """`values` with only the given share of entries, the largest in magnitude, and 0 elsewhere.

    Entries of equal magnitude are kept or removed together.
    """
    count = round(share * values.numel())
    if count == 0:
        return torch.zeros_like(values)
    magnitudes = values.abs()
    threshold = magnitudes.flatten().kthvalue(values.numel() - count + 1).values
    return torch.where(magnitudes >= threshold, values, 0.0)


def disjoint_mean(tensors: Sequence[Tensor]) -> Tensor:
    """For each entry the sign with the greater mass is elected, and the values of that sign are averaged (TIES).

    Entries that are 0 have no vote and do not count. Where both signs have the same mass the result is 0.
    """
    total = sum(tensors)
    mass = sum(tensor.abs() for tensor in tensors)
    # Masses that cancel up to rounding must not elect the sign of the rounding error.
    elected = torch.where(total.abs() > ROUNDING * mass, total.sign(), 0.0)
    chosen = [torch.where(tensor * elected > 0, tensor, 0.0) for tensor in tensors]
    voters = sum((tensor != 0).to(total.dtype) for tensor in chosen)
    return sum(chosen) / voters.clamp(min=1.0)


def ties_vote(tensors: Sequence[Tensor], keep: float) -> Tensor:
    """The trim, elect and disjoint mean steps of TIES-Merging (arXiv 2306.01708) on tensors of one shape."""
    return disjoint_mean([keep_largest(tensor, keep) for tensor in tensors])
