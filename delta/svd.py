"""The truncated SVD of a dense matrix, as good as the best to a stated tolerance, with its residual measured.

Randomised block iteration (Halko, Martinsson and Tropp 2011, arXiv 0909.4061) that keeps every block it has seen, each
orthonormal to all others (block Lanczos bidiagonalisation; Musco and Musco 2015, arXiv 1504.05477): the spectra of
fine-tuned weights are flat, and there it needs about half the products with the matrix that subspace iteration needs.

When to stop. The best residual of rank k is r^2 = ||M||^2 - sum(sigma_i^2), i <= k, and a found value theta_i never
exceeds sigma_i. After each pass the bases give Ritz values theta_i, Ritz vectors u_i and the Ritz residuals
c_i = ||M M^T u_i - theta_i^2 u_i||, and the squared norm still missing is at most

    lost = sum over i <= k of min(c_i^2 / (theta_i^2 - theta_{k+p}^2), c_i),

the Kato-Temple bound where the last oversampled value theta_{k+p} leaves a gap, and Weyl's where the values cluster. It
presumes that no direction stronger than theta_{k+p} is nearly orthogonal to the whole space: that much is left to the
random start, which has p more columns than are wanted. Iteration ends when lost is below 2 * tolerance * r^2 (r is then
within `tolerance` of the best) and, while passes remain, below 2 * tolerance * the squared norm found: where the
spectrum is flat every residual looks alike, and what is kept is what counts. A last half step, for which no bound is
computed, makes the result better still.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .factors import LowRank, Truncation, small_problems

OVERSAMPLING = 8
PASSES = 8
# A block wider than this share of the smaller side has no room for the passes it needs; the Gram matrix is cheaper.
WIDEST_BLOCK = 1 / 6
# float32 products tell nothing about directions weaker than this, relative to the norm of the matrix.
ROUNDING = 1e-6
CHUNK_ELEMENTS = 2**18


class TruncatedSVD(NamedTuple):
    """U: [m, K] with orthonormal columns; S: [K], descending; Vh: [K, n] with orthonormal rows; all float32.

    residual: the Frobenius norm of matrix - U diag(S) Vh, measured in float64.
    """

    U: Tensor
    S: Tensor
    Vh: Tensor
    residual: float


def truncated_svd(
    matrix: Tensor, rank: int, tolerance: float = 0.01, generator: torch.Generator | None = None
) -> TruncatedSVD:
    """The leading K = min(rank, m, n) singular triplets of a matrix [m, n], on its device, computed from float32.

    The residual exceeds the smallest one possible by at most the fraction `tolerance`, or by about 1e-6 of the norm of
    the matrix, which is the rounding of float32. The same generator state (default: seed 0) gives the same bits.
    Raises ValueError for a negative rank, a tensor that is not a matrix, or NaN and infinite numbers.
    """
    if matrix.dim() != 2:
        raise ValueError(f"A matrix is needed, not a tensor of shape {tuple(matrix.shape)}.")
    if rank < 0:
        raise ValueError(f"Rank {rank} is negative; the smallest rank is 0.")
    matrix = matrix.detach().float()
    energy = sum(float(torch.linalg.vector_norm(part.double())) ** 2 for part in _chunks(matrix))
    if not math.isfinite(energy):
        raise ValueError("The matrix holds NaN or infinite numbers.")
    generator = generator or torch.Generator().manual_seed(0)
    if matrix.shape[0] > matrix.shape[1]:
        right, values, left = _truncate_wide(matrix.T, rank, tolerance, energy, generator)
        left, right = left.T.contiguous(), right.T.contiguous()
    else:
        left, values, right = _truncate_wide(matrix, rank, tolerance, energy, generator)
    return TruncatedSVD(left, values, right, _residual(matrix, left * values, right))


def compress(update: Tensor, rank: int) -> Truncation:
    """A dense update of a weight [m, ...] in balanced factors of at most this rank. Convolutions count as [m, rest].

    The singular values of the result are those that were kept. Raises ValueError as `truncated_svd` does.
    """
    shape = tuple(update.shape)
    left, values, right, residual = truncated_svd(update.reshape(shape[0], math.prod(shape[1:])), rank)
    root = values.sqrt()
    return Truncation(LowRank(left * root, root[:, None] * right, shape), values.double(), residual)


def _truncate_wide(
    matrix: Tensor, rank: int, tolerance: float, energy: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, Vh) of a matrix [m, n] with m <= n and this squared norm."""
    kept = min(rank, matrix.shape[0])
    left = None if kept else matrix.new_zeros(matrix.shape[0], 0)
    if kept and kept + OVERSAMPLING <= WIDEST_BLOCK * matrix.shape[0]:
        left = _iterate(matrix, kept, tolerance, energy, generator)
    if left is None:
        left = _leading_eigenvectors(matrix, kept)
    return _rayleigh_ritz(matrix, left)


def _iterate(matrix: Tensor, kept: int, tolerance: float, energy: float, generator: torch.Generator) -> Tensor | None:
    """Orthonormal columns [m, kept] that capture the matrix to the tolerance; None where the passes do not suffice."""
    block = kept + OVERSAMPLING
    floor = ROUNDING * math.sqrt(energy)
    left, right = matrix.new_zeros(matrix.shape[0], 0), matrix.new_zeros(matrix.shape[1], 0)
    fresh = _extend(right, matrix.new_zeros(matrix.shape[1], block), floor, generator)[0]
    core = torch.zeros(0, 0, dtype=torch.float64)
    for _ in range(min(PASSES, matrix.shape[0] // (2 * block))):
        # matrix @ right = left @ core at all times; core is upper block bidiagonal but for rounding.
        right = torch.cat([right, fresh], 1)
        fresh, weights, inside = _extend(left, matrix @ fresh, floor, generator)
        core = torch.cat([torch.cat([core, core.new_zeros(block, core.shape[1])]), torch.cat([inside, weights])], 1)
        left = torch.cat([left, fresh], 1)
        fresh, weights, _ = _extend(right, matrix.T @ fresh, floor, generator)
        with small_problems():
            squares, vectors = (part.flip(-1) for part in torch.linalg.eigh(core @ core.T))
        lost = _missing_energy(squares, weights @ vectors[-block:], kept)
        found = float(squares[:kept].sum())
        # The oversampled Ritz values bound the best residual from below where the difference is all rounding.
        best = max(energy * (1 - ROUNDING) - found - lost, float(squares[kept:].clamp(min=0).sum()))
        if lost <= max(2 * tolerance * min(best, found), floor**2):
            break
    if lost > max(2 * tolerance * best, floor**2):
        return None
    return left @ vectors[:, :kept].to(left)


def _missing_energy(squares: Tensor, outside: Tensor, kept: int) -> float:
    """The bound on the squared norm that the leading `kept` Ritz vectors miss; see the head of this file.

    squares: [d] squared Ritz values, descending; outside: [b, d], the part of M^T u_i outside the right basis.
    """
    values = squares[:kept].clamp(min=0)
    residuals = values.sqrt() * torch.linalg.vector_norm(outside[:, :kept], dim=0)
    gaps = values - squares[kept + OVERSAMPLING - 1]
    return float(torch.minimum(residuals, residuals.square() / gaps.clamp(min=1e-300)).sum())


def _extend(basis: Tensor, columns: Tensor, floor: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """New orthonormal columns, with weights and inside such that columns = basis @ inside + new @ weights.

    basis: [m, d], orthonormal; columns: [m, b]. Directions outside the basis and weaker than `floor` are rounding; random
    ones take their place with weight 0, so that a matrix of low rank does not break the iteration. Weights [b, b] and
    inside [d, b] are float64 on the CPU.
    """
    inside = basis.T @ columns
    with small_problems():
        rough, factor = torch.linalg.qr(columns - basis @ inside)
        turn, strengths, mix = torch.linalg.svd(_core(factor))
    rough = rough @ turn.to(rough)
    weak = strengths <= floor
    noise = torch.randn(len(rough), int(weak.sum()), generator=generator, device=generator.device)
    rough[:, weak.to(rough.device)] = noise.to(rough)
    # The second pass makes weak directions orthogonal to the basis to full precision.
    with small_problems():
        fresh, correction = torch.linalg.qr(rough - basis @ (basis.T @ rough))
    return fresh, _core(correction) @ (strengths.masked_fill(weak, 0)[:, None] * mix), _core(inside)


def _leading_eigenvectors(matrix: Tensor, kept: int) -> Tensor:
    """The `kept` leading left singular vectors of a matrix [m, n], m <= n, from its Gram matrix in float64."""
    gram = torch.zeros(matrix.shape[0], matrix.shape[0], dtype=torch.float64, device=matrix.device)
    for part in _chunks(matrix.T):
        part = part.double()
        gram.addmm_(part.T, part)
    try:
        # Two threads gain a fifth here, and a busy second core would cost them ten times as much.
        with small_problems():
            vectors = torch.linalg.eigh(gram)[1].flip(1)
    except torch.linalg.LinAlgError:
        vectors = torch.linalg.svd(matrix.double(), full_matrices=False)[0]
    return vectors[:, :kept].float()


def _rayleigh_ritz(matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The SVD (U, S, Vh) of left @ left.T @ matrix. left: [m, K] with orthonormal columns."""
    with small_problems():
        basis, factor = torch.linalg.qr(matrix.T @ left)
        turn_right, values, turn_left = torch.linalg.svd(_core(factor))
    return left @ turn_left.T.to(left), values.to(left), (basis @ turn_right.to(left)).T.contiguous()


def _residual(matrix: Tensor, scaled: Tensor, right: Tensor) -> float:
    """The Frobenius norm of matrix - scaled @ right in float64: exact where ||M||^2 - sum(S^2) would cancel to noise."""
    right = right.double()
    pairs = zip(_chunks(matrix), _chunks(scaled, matrix.shape[1]))
    rests = (torch.addmm(part.double(), rows.double(), right, alpha=-1) for part, rows in pairs)
    return math.hypot(*(float(torch.linalg.vector_norm(rest)) for rest in rests))


def _chunks(matrix: Tensor, columns: int | None = None) -> tuple[Tensor, ...]:
    """Groups of rows that make small float64 copies; as many to a group as in a matrix of this many columns."""
    return matrix.split(max(1, CHUNK_ELEMENTS // max(1, columns or matrix.shape[1])))


def _core(small: Tensor) -> Tensor:
    """A small matrix in float64 on the CPU, which solves R x R problems faster than a device does."""
    return small.cpu().double()
