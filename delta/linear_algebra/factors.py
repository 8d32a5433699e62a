"""Low-rank updates of a weight, and the algebra that never makes them dense.

An update dW of an m x n weight is up @ down with up [m, R] and down [R, n]. Sums are concatenations; norms, inner
products and exact truncations need only matrices of R x R numbers. Those are formed in float64, so that no result is
less exact than the float32 factors are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

# Singular values below this share of the largest are rounding of float32 factors taken to float64.
NULL_VALUE = 1e-12
# Ways through squares, Cholesky's to a basis and that by eigenvectors, lose the square of the condition number.
WELL_CONDITIONED = 1e-3

# (singular values, shape, energy of values that are not given) -> rank; see `delta.linear_algebra.rank`.
RankPolicy = Callable[..., int]


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
        """The thin SVD of dW."""
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
    """dW = left @ u @ diag(values) @ vt @ right, all in float64.

    left: [m, P] and right: [Q, n] span the columns and rows of dW; u: [P, K] and vt: [K, Q] turn them into its singular
    vectors, so that left @ u and vt @ right are orthonormal; values: [K], descending.
    """

    left: Tensor
    u: Tensor
    values: Tensor
    vt: Tensor
    right: Tensor
    shape: tuple[int, ...]

    def low_rank(self, values: Tensor) -> LowRank:
        """The update with these singular values on the first len(values) vectors; sqrt(values) on both sides."""
        count = len(values)
        root = values.sqrt()
        # Both products are of a short matrix from the left, which is faster than a narrow one from the right.
        up = (root[:, None] * self.u.T[:count]) @ self.left.T
        down = (root[:, None] * self.vt[:count]) @ self.right
        return LowRank(up.T.float().contiguous(), down.float(), self.shape)


def factor_svd(part: LowRank) -> FactorSVD:
    """The thin SVD of up @ down, from that of the R x R core between orthonormal frames of both factors."""
    left, right = _frame(part.up), _frame(part.down.T)
    u, values, vt = _core_svd(left.map @ right.map.T)
    return FactorSVD(left.columns, left.turn @ u, values, vt @ right.turn.T, right.columns.T, part.shape)


def _core_svd(core: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The SVD of a core [P, Q] without the values that are rounding.

    By the eigenvectors of core @ core.T, twice as fast, where all values are well above the rounding that their squares
    suffer from; by the SVD otherwise.
    """
    if 0 < core.shape[0] <= core.shape[1]:
        squares, u = torch.linalg.eigh(core @ core.T)
        if squares[0] > WELL_CONDITIONED**2 * squares[-1]:
            u, values = u.flip(1), squares.flip(0).sqrt()
            return u, values, (u.T @ core) / values[:, None]
    u, values, vt = torch.linalg.svd(core, full_matrices=False)
    present = values > NULL_VALUE * values[:1]
    return u[:, present], values[present], vt[present]


class _Frame(NamedTuple):
    """columns @ turn [m, P] is orthonormal, and times map [P, R] it is what the frame was made of; float64."""

    columns: Tensor
    turn: Tensor
    map: Tensor


def _frame(columns: Tensor) -> _Frame:
    """An orthonormal frame of columns [m, R].

    From the Cholesky factor of the R x R Gram matrix, which leaves the frame unformed and is as exact as Householder QR
    as long as the columns are well conditioned; by QR otherwise.
    """
    columns = columns.double()
    factor, failed = torch.linalg.cholesky_ex(columns.T @ columns)
    diagonal = factor.diagonal()
    if not len(diagonal) or failed or diagonal.min() < WELL_CONDITIONED * diagonal.max():
        basis, factor = torch.linalg.qr(columns)
        return _Frame(basis, torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device), factor)
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return _Frame(columns, torch.linalg.solve_triangular(factor.T, identity, upper=True), factor.T)


def orthonormal(columns: Tensor) -> tuple[Tensor, Tensor]:
    """(basis, map) with basis @ map = columns [m, R]; basis: [m, min(m, R)] with orthonormal columns, float64."""
    frame = _frame(columns)
    return frame.columns @ frame.turn, frame.map


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
        u, values, vt = _core_svd(core)
        return FactorSVD(self.left, u, values, vt, self.right, self.shape).low_rank(values)


def core_space(parts: Sequence[LowRank]) -> CoreSpace:
    """A common orthonormal frame of several updates; nothing is lost. Raises ValueError as `concat` does."""
    whole = concat(parts)
    ranks = [part.rank for part in parts]
    left, left_map = orthonormal(whole.up)
    right, right_map = orthonormal(whole.down.T)
    cores = [a @ b.T for a, b in zip(left_map.split(ranks, 1), right_map.split(ranks, 1))]
    return CoreSpace(left, right.T, cores, whole.shape)


@contextmanager
def small_problems() -> Iterator[None]:
    """Run R x R problems on one thread, where they are cheaper and a busy second core cannot stall them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
