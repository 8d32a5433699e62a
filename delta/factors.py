"""Low-rank updates of a weight, and the algebra that never makes them dense.

An update dW of an m x n weight is up @ down with up [m, R] and down [R, n]. Sums are concatenations; norms, inner
products and exact truncations need only the R x R Gram matrices of the factors. Those are formed in float64, where
squaring loses nothing that a float32 factor has: singular values are exact to about 1e-8 of the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

# Directions of a factor weaker than this, relative to its strongest, are numerically absent.
NULL_DIRECTION = 1e-14

RankPolicy = Callable[[Tensor, "tuple[int, ...]"], int]


@dataclass(frozen=True)
class LowRank:
    """dW = up @ down. up: [m, R]; down: [R, n]; shape: that of the weight, (m, ...) with n numbers in each row."""

    up: Tensor
    down: Tensor
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        rows, columns = self.shape[0], math.prod(self.shape[1:])
        if self.up.shape != (rows, self.rank) or self.down.shape != (self.rank, columns):
            raise ValueError(
                f"Factors {tuple(self.up.shape)} and {tuple(self.down.shape)} do not make an update of shape {self.shape}."
            )

    @property
    def rank(self) -> int:
        """R, the number of columns of `up`."""
        return self.up.shape[1]

    def scale(self, factor: float) -> LowRank:
        """factor * dW."""
        return replace(self, up=self.up * factor)

    def to_dense(self) -> Tensor:
        """dW in the weight's shape, float32."""
        return (self.up.float() @ self.down.float()).reshape(self.shape)

    def norm(self) -> float:
        """The Frobenius norm of dW."""
        return math.sqrt(max(self.inner(self), 0.0))

    def inner(self, other: LowRank) -> float:
        """The Frobenius inner product <dW, other>. Raises ValueError for updates of different shapes."""
        if self.shape != other.shape:
            raise ValueError(f"Updates of shape {self.shape} and {other.shape} have no inner product.")
        left = self.up.double().T @ other.up.double()
        right = self.down.double() @ other.down.double().T
        return float((left * right).sum())

    def svd(self) -> FactorSVD:
        """The thin SVD of dW, as maps from its factors."""
        return factor_svd(self)

    def truncate(self, rank: int | RankPolicy) -> Truncation:
        """The best update of a lower rank (Eckart-Young), in balanced factors. See `Truncation`.

        `rank` is a number from 0, or a policy that is given the singular values and the shape and answers a number.
        Raises ValueError for a negative rank.
        """
        svd = self.svd()
        wanted = rank if isinstance(rank, int) else rank(svd.values, self.shape)
        if wanted < 0:
            raise ValueError(f"Rank {wanted} is negative; the smallest rank is 0.")
        kept = min(wanted, len(svd.values))
        residual = float(torch.linalg.vector_norm(svd.values[kept:]))
        return Truncation(svd.low_rank(svd.values[:kept]), svd.values, residual)


class Truncation(NamedTuple):
    """low_rank: the truncated update; singular_values: all of dW, descending, float64; residual: Frobenius norm of what
    was cut off."""

    low_rank: LowRank
    singular_values: Tensor
    residual: float


@dataclass(frozen=True)
class FactorSVD:
    """dW = U diag(values) V^T with U = source.up @ to_left and V^T = to_right @ source.down.

    values: [K], descending, float64; to_left: [R, K]; to_right: [K, R].
    """

    source: LowRank
    values: Tensor
    to_left: Tensor
    to_right: Tensor

    def low_rank(self, values: Tensor) -> LowRank:
        """The update with these singular values on the first len(values) vectors; sqrt(values) on both sides."""
        count = len(values)
        root = values.clamp(min=0).sqrt()
        up = self.source.up.double() @ (self.to_left[:, :count] * root)
        down = (root[:, None] * self.to_right[:count]) @ self.source.down.double()
        return LowRank(up.float(), down.float(), self.source.shape)


def factor_svd(part: LowRank) -> FactorSVD:
    """The SVD of up @ down from two symmetric R x R eigenproblems.

    With up^T up = E L E^T, up = Q B where B = sqrt(L) E^T and Q has orthonormal columns, so dW dW^T = Q (B down down^T
    B^T) Q^T; the eigenvectors of the R x R matrix in the middle are the left singular vectors in the basis Q.
    """
    up, down = part.up.double(), part.down.double()
    lengths, vectors = torch.linalg.eigh(up.T @ up)
    present = lengths > NULL_DIRECTION * lengths[-1:].clamp(min=0)
    lengths, vectors = lengths[present], vectors[:, present]
    basis = lengths.sqrt()[:, None] * vectors.T
    squares, rotation = torch.linalg.eigh(basis @ (down @ down.T) @ basis.T)
    values = squares.flip(0).clamp(min=0).sqrt()
    rotation = rotation.flip(1)
    present = values > NULL_DIRECTION**0.5 * values[:1]
    values, rotation = values[present], rotation[:, present]
    to_left = vectors @ (rotation / lengths.sqrt()[:, None])
    to_right = (rotation.T @ basis) / values[:, None]
    return FactorSVD(part, values, to_left, to_right)


def zeros(shape: tuple[int, ...]) -> LowRank:
    """The update of rank 0: nothing."""
    return LowRank(torch.zeros(shape[0], 0), torch.zeros(0, math.prod(shape[1:])), shape)


def concat(parts: Sequence[LowRank]) -> LowRank:
    """The exact sum of updates of one weight, of rank the sum of their ranks.

    Raises ValueError for no parts or parts of different shapes.
    """
    if not parts:
        raise ValueError("There are no updates to add.")
    shape = parts[0].shape
    if any(part.shape != shape for part in parts):
        raise ValueError(f"Updates of shapes {sorted({part.shape for part in parts})} cannot be added.")
    return LowRank(torch.cat([part.up for part in parts], 1), torch.cat([part.down for part in parts], 0), shape)


class CoreSpace(NamedTuple):
    """Several updates in one orthonormal frame (Core Space, arXiv 2509.17786): dW_i = left @ cores[i] @ right.

    left: [m, P] with orthonormal columns; right: [Q, n] with orthonormal rows; cores: one [P, Q] each, float64.
    """

    left: Tensor
    right: Tensor
    cores: list[Tensor]
    shape: tuple[int, ...]

    def low_rank(self, core: Tensor) -> LowRank:
        """The update left @ core @ right in balanced factors. core: [P, Q]."""
        u, values, vt = torch.linalg.svd(core, full_matrices=False)
        present = values > NULL_DIRECTION**0.5 * values[:1]
        root = values[present].sqrt()
        up = self.left @ (u[:, present] * root)
        down = (root[:, None] * vt[present]) @ self.right
        return LowRank(up.float(), down.float(), self.shape)


def core_space(parts: Sequence[LowRank]) -> CoreSpace:
    """A common orthonormal frame of several updates; nothing is lost. Raises ValueError as `concat` does."""
    whole = concat(parts)
    left, left_maps = _orthonormal(whole.up.double(), [part.rank for part in parts])
    right, right_maps = _orthonormal(whole.down.double().T, [part.rank for part in parts])
    cores = [a @ b.T for a, b in zip(left_maps, right_maps)]
    return CoreSpace(left, right.T, cores, whole.shape)


def _orthonormal(columns: Tensor, widths: list[int]) -> tuple[Tensor, list[Tensor]]:
    """An orthonormal basis Q of the columns, and for each group of columns the map with Q @ map = group."""
    lengths, vectors = torch.linalg.eigh(columns.T @ columns)
    present = lengths > NULL_DIRECTION * lengths[-1:].clamp(min=0)
    root, vectors = lengths[present].sqrt(), vectors[:, present]
    # One more pass makes weak directions orthonormal to full precision.
    basis, correction = torch.linalg.qr(columns @ (vectors / root))
    maps = correction @ (root[:, None] * vectors.T)
    return basis, list(maps.split(widths, dim=1))


@contextmanager
def small_problems() -> Iterator[None]:
    """Run R x R problems on one thread, where they are cheaper and a busy second core cannot stall them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
