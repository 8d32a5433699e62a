"""The truncated SVD of a dense matrix, as good as the best to a stated tolerance, with its residual.

Randomised block iteration (Halko, Martinsson and Tropp 2011, arXiv 0909.4061) that keeps every block it has seen, each
orthonormal to all others (block Lanczos bidiagonalisation; Musco and Musco 2015, arXiv 1504.05477): the spectra of
fine-tuned weights are flat, and there it needs about half the products with the matrix that subspace iteration needs.

When to stop. The best residual of rank k is r^2 = ||M||^2 - sum(sigma_i^2), i <= k, and a found value theta_i never
exceeds sigma_i. Each product with M or M^T extends the basis of one side, and before that the basis gives Ritz values
theta_i, Ritz vectors u_i and the Ritz residuals c_i = ||M M^T u_i - theta_i^2 u_i|| (or with M^T M on the other side).
The squared norm still missing is at most

    lost = sum over i <= k of min(c_i^2 / (theta_i^2 - theta_{k+p}^2), c_i),

the Kato-Temple bound where the last oversampled value theta_{k+p} leaves a gap, and Weyl's where the values cluster. It
presumes that no direction stronger than theta_{k+p} is nearly orthogonal to the whole space: that much is left to the
random start, which has p more columns than are wanted. Iteration ends when lost is below 2 * tolerance * r^2 (r is then
within `tolerance` of the best) and, while passes remain, below 2 * tolerance * the squared norm found: where the
spectrum is flat every residual looks alike, and what is kept is what counts. The product that gave the c_i then makes
the result better still at no cost; no bound is computed for that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from .factors import LowRank, RankPolicy, Truncation, small_problems
from .precision import in_float64, small_in_float64

OVERSAMPLING = 8
PASSES = 8
# A block wider than this share of the smaller side has no room for the passes it needs; the Gram matrix is cheaper.
WIDEST_BLOCK = 1 / 6
# float32 products tell nothing about directions weaker than this, relative to the norm of the matrix.
ROUNDING = 1e-6
# Columns this far from dependent are orthonormal to float32 by the Cholesky factor of a float64 Gram matrix.
INDEPENDENT = 1e-3
# Below this share of the squared norm, ||M||^2 - sum(S^2) is mostly rounding.
CANCELLATION = 1 / 256
# Numbers that go to the device at once where it has too little memory for the matrix, or to float64 where that matters.
TILE_ELEMENTS = 2**22
# Numbers whose float64 copy stays in the cache of a CPU.
CHUNK_ELEMENTS = 2**18
# left: [m, K], values: [K], right: [n, K].
_Triplets = tuple[Tensor, Tensor, Tensor]


class TruncatedSVD(NamedTuple):
    """U: [m, K] with orthonormal columns; S: [K], descending; Vh: [K, n] with orthonormal rows; all float32.

    residual: the Frobenius norm of matrix - U diag(S) Vh, to about 1e-5 of itself or 1e-7 of the norm of the matrix.
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
    Where the device has too little memory, tiles of the matrix are sent there for each product; where that is still too
    much, the CPU does it all. Raises ValueError for a negative rank, a tensor that is not a matrix, or NaN and infinite
    numbers.
    """
    if matrix.dim() != 2:
        raise ValueError(f"A matrix is needed, not a tensor of shape {tuple(matrix.shape)}.")
    if rank < 0:
        raise ValueError(f"Rank {rank} is negative; the smallest rank is 0.")
    matrix = matrix.detach()
    energy = _energy(matrix)
    if not math.isfinite(energy):
        raise ValueError("The matrix holds NaN or infinite numbers.")
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if tall else matrix
    generator = generator or torch.Generator().manual_seed(0)
    state = generator.get_state()
    find = partial(_truncate, rank=rank, tolerance=tolerance, energy=energy, generator=generator, state=state)
    left, values, right, residual = _first_that_fits(
        lambda: find(_Operand(wide.float(), wide.device)),
        lambda: find(_Operand(wide.cpu(), wide.device, TILE_ELEMENTS)),
        lambda: find(_Operand(wide.cpu().float(), torch.device("cpu"))),
    )
    left, values, right = (part.to(matrix.device) for part in (left, values, right))
    if tall:
        left, right = right, left
    return TruncatedSVD(left.contiguous(), values, right.T.contiguous(), residual)


def compress(update: Tensor, rank: int | RankPolicy, start: int = 32) -> Truncation:
    """A dense update of a weight [m, ...] in balanced factors of this rank. Convolutions count as [m, rest].

    rank: the most values to keep, or a policy, which is asked first about `start` values and then about twice as many
    until it has seen enough. The singular values of the result are those that were found, of which the first were kept.
    Raises ValueError as `truncated_svd` does.
    """
    shape = tuple(update.shape)
    matrix = update.reshape(shape[0], math.prod(shape[1:]))
    if isinstance(rank, int):
        found = truncated_svd(matrix, rank)
        kept = len(found.S)
    else:
        found, kept = _meet(matrix, shape, rank, start)
    if kept < 0:
        raise ValueError(f"Rank {kept} is negative; the smallest rank is 0.")
    values = in_float64(found.S)
    root = found.S[:kept].sqrt()
    part = LowRank(found.U[:, :kept] * root, root[:, None] * found.Vh[:kept], shape)
    return Truncation(part, values, math.hypot(found.residual, float(torch.linalg.vector_norm(values[kept:]))))


def _meet(matrix: Tensor, shape: tuple[int, ...], policy: RankPolicy, start: int) -> tuple[TruncatedSVD, int]:
    """Enough of the SVD of a matrix for a policy, and the rank that it wants."""
    full = min(matrix.shape)
    count = min(start, full)
    while True:
        found = truncated_svd(matrix, count)
        values, rest = _spectrum(found, full)
        wanted = policy(values, shape, rest)
        if wanted <= count or count == full:
            return found, min(wanted, count)
        if wanted <= 2 * count:
            # The Gram matrix gives all values at once.
            wanted = 2 * count if _is_narrow(2 * count, full) else full
        count = min(wanted, full)


def _is_narrow(rank: int, side: int) -> bool:
    """Whether the iteration can find this rank of a matrix with this smaller side."""
    return rank + OVERSAMPLING <= WIDEST_BLOCK * side


def _spectrum(found: TruncatedSVD, full: int) -> tuple[Tensor, float]:
    """(singular values, energy of those not given) for a policy.

    A residual within the rounding of float32 says that all other values are zeros, which are then given.
    """
    values = found.S.cpu().double()
    norm = math.hypot(found.residual, float(torch.linalg.vector_norm(values)))
    if len(values) == full or found.residual <= ROUNDING * norm:
        return torch.nn.functional.pad(values, (0, full - len(values))), 0.0
    return values, found.residual**2


class _Operand:
    """A matrix [m, n], m <= n, multiplied in float32 on a device: at once, or in tiles that are sent there one by one.

    A tile is as many whole columns as hold at most `tile` numbers, but at least one.
    """

    def __init__(self, matrix: Tensor, device: torch.device, tile: int = sys.maxsize) -> None:
        self.matrix, self.device, self.tile = matrix, device, tile
        self.shape = matrix.shape

    def times(self, columns: Tensor) -> Tensor:
        """M @ columns. columns: [n, b]."""
        return reduce(torch.add, (tile @ columns[span] for span, tile in self.tiles(self.tile)))

    def transposed_times(self, columns: Tensor) -> Tensor:
        """M^T @ columns. columns: [m, b]."""
        return torch.cat([tile.T @ columns for _, tile in self.tiles(self.tile)])

    def exact_tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Tiles in float64, never all at once because they are copies; each with the columns that it covers."""
        return ((span, in_float64(tile)) for span, tile in self.tiles(TILE_ELEMENTS))

    def tiles(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        """Tiles of at most `size` numbers on the device, each with the columns that it covers."""
        rows, columns = self.shape
        width = max(1, min(columns, size // max(1, rows)))
        for first in range(0, max(1, columns), width):
            span = slice(first, first + width)
            yield span, self.matrix[:, span].to(self.device, torch.float32)

    def zeros(self, *shape: int) -> Tensor:
        """float32 zeros on the device."""
        return torch.zeros(shape, device=self.device)


def _first_that_fits(*attempts: Callable[[], tuple]) -> tuple:
    """What the first attempt that finds enough memory gives; the last one may raise."""
    for attempt in attempts[:-1]:
        # Not from an `except` block, where the traceback would keep the tensors of the failed attempt alive.
        with suppress(torch.cuda.OutOfMemoryError):
            return attempt()
    return attempts[-1]()


def _truncate(
    operand: _Operand, rank: int, tolerance: float, energy: float, generator: torch.Generator, state: Tensor
) -> tuple[Tensor, Tensor, Tensor, float]:
    """(left, values, right, residual) of a matrix with this squared norm, with the generator in this state at first."""
    generator.set_state(state)
    kept, found = min(rank, operand.shape[0]), None
    if kept and _is_narrow(kept, operand.shape[0]):
        found = _iterate(operand, kept, tolerance, energy, generator)
    left, values, right = found or _by_gram_matrix(operand, kept)
    missing = energy - float(in_float64(values).square().sum())
    if missing > CANCELLATION * energy:
        return left, values, right, math.sqrt(missing)
    return left, values, right, _residual(operand, left, values, right)


def _iterate(
    operand: _Operand, kept: int, tolerance: float, energy: float, generator: torch.Generator
) -> _Triplets | None:
    """The triplets to the tolerance; None where the passes do not suffice."""
    block, rows = kept + OVERSAMPLING, operand.shape[0]
    floor = ROUNDING * math.sqrt(energy)
    start = torch.randn(rows, block, generator=generator, device=generator.device).to(operand.device)
    # M or its transpose takes `near` to far @ core at all times; core is block bidiagonal, in float64 on the CPU.
    near, far = operand.zeros(operand.shape[1], 0), _extend(operand.zeros(rows, 0), start, 0.0, generator)[0]
    core = torch.zeros(block, 0, dtype=torch.float64)
    for step in range(2 * min(PASSES, rows // (2 * block))):
        near, far, inside = far, near, core.T
        product = operand.times if step % 2 else operand.transposed_times
        fresh, weights = _extend(far, product(near[:, -block:]), floor, generator)
        far = torch.cat([far, fresh], 1)
        core = torch.cat([inside, torch.nn.functional.pad(weights, (inside.shape[1] - block, 0))])
        if not step:
            continue
        ritz = _ritz(inside, weights, kept)
        # The oversampled Ritz values bound the best residual from below where the difference is all rounding.
        best = max(energy * (1 - ROUNDING) - ritz.found - ritz.lost, ritz.oversampled)
        if ritz.lost <= max(2 * tolerance * min(best, ritz.found), floor**2):
            break
    if ritz.lost > max(2 * tolerance * best, floor**2):
        return None
    with small_problems():
        leading = torch.linalg.qr(ritz.images)[0]
        turn, values, mix = torch.linalg.svd(core @ leading, full_matrices=False)
        leading = leading @ mix.T
    far, near = far @ turn.to(far), near @ leading.to(near)
    return (far, values.to(far), near) if step % 2 else (near, values.to(far), far)


class _Ritz(NamedTuple):
    """What the k leading Ritz vectors of a basis have.

    images: [d, k], their products with the matrix, in the basis of the other side; found: the sum of their squared Ritz
    values; lost: the bound on the squared norm that they miss, see the head of this file; oversampled: the sum of the
    squared Ritz values of all others.
    """

    images: Tensor
    found: float
    lost: float
    oversampled: float


@small_problems()
def _ritz(inside: Tensor, weights: Tensor, kept: int) -> _Ritz:
    """inside: [e, d], the matrix between both bases; weights: [b, b], what takes the last b of the d out of the e."""
    squares, vectors = (part.flip(-1) for part in torch.linalg.eigh(inside @ inside.T))
    images = inside.T @ vectors[:, :kept]
    residuals = torch.linalg.vector_norm(weights @ images[-len(weights) :], dim=0)
    squares = squares.clamp(min=0)
    gaps = squares[:kept] - squares[kept + OVERSAMPLING - 1]
    lost = torch.minimum(residuals, residuals.square() / gaps.clamp(min=1e-300)).sum()
    return _Ritz(images, float(squares[:kept].sum()), float(lost), float(squares[kept:].sum()))


def _extend(basis: Tensor, columns: Tensor, floor: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """New orthonormal columns, with weights such that columns = new @ weights + something in the span of the basis.

    basis: [m, d], orthonormal; columns: [m, b]; weights: [b, b], float64 on the CPU.
    """
    inside = basis.T @ columns
    rest = columns - basis @ inside
    exact = in_float64(rest)
    gram = small_in_float64(exact.T @ exact)
    with small_problems():
        norm = math.sqrt(float(gram.trace() + small_in_float64(inside).square().sum()))
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed or factor.diagonal().min() <= max(INDEPENDENT * norm, floor):
            return _extend_by_weak(basis, rest, floor, generator)
        inverse = torch.linalg.solve_triangular(factor.T, torch.eye(len(gram), dtype=gram.dtype), upper=True)
    return rest @ inverse.to(rest), factor.T


def _extend_by_weak(basis: Tensor, rest: Tensor, floor: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `_extend`, for columns [m, b] outside the basis that are weak or nearly dependent.

    Directions weaker than `floor` are rounding; random ones take their place with weight 0, so that a matrix of low rank
    does not break the iteration.
    """
    rough, factor = torch.linalg.qr(in_float64(rest))
    turn, strengths, mix = torch.linalg.svd(small_in_float64(factor))
    rough = (rough @ turn.to(rough)).to(basis)
    weak = strengths <= floor
    noise = torch.randn(len(rough), int(weak.sum()), generator=generator, device=generator.device)
    rough[:, weak.to(rough.device)] = noise.to(rough)
    # Once more, which makes weak directions orthogonal to the basis to full precision.
    fresh, correction = torch.linalg.qr(in_float64(rough - basis @ (basis.T @ rough)))
    return fresh.to(basis), small_in_float64(correction) @ (strengths.masked_fill(weak, 0)[:, None] * mix)


def _by_gram_matrix(operand: _Operand, kept: int) -> _Triplets:
    """The `kept` leading triplets of a matrix [m, n], m <= n, from the eigenvectors of its Gram matrix in float64."""
    left = _leading_eigenvectors(operand, kept) if kept else operand.zeros(operand.shape[0], 0)
    with small_problems():
        # The columns are orthogonal but for rounding, so that the factor is as good as diagonal.
        right, factor = torch.linalg.qr(in_float64(operand.transposed_times(left)))
    diagonal = factor.diagonal()
    values, order = diagonal.abs().sort(descending=True)
    right = right * torch.ones_like(diagonal).copysign(diagonal)
    return left[:, order.to(left.device)], values.to(left), right[:, order].to(left)


def _leading_eigenvectors(operand: _Operand, kept: int) -> Tensor:
    """The `kept` leading left singular vectors [m, kept]."""
    gram = in_float64(operand.zeros(operand.shape[0], operand.shape[0]))
    for _, tile in operand.exact_tiles():
        gram.addmm_(tile, tile.T)
    try:
        # Two threads gain a fifth here, and a busy second core would cost them ten times as much.
        with small_problems():
            vectors = torch.linalg.eigh(gram)[1].flip(1)
    except torch.linalg.LinAlgError:
        vectors = torch.linalg.svd(in_float64(operand.matrix), full_matrices=False)[0]
    return vectors[:, :kept].to(operand.device, torch.float32)


def _residual(operand: _Operand, left: Tensor, values: Tensor, right: Tensor) -> float:
    """The Frobenius norm of matrix - left diag(values) right^T, measured in float64."""
    scaled = in_float64(left) * in_float64(values)
    rests = (torch.addmm(tile, scaled, in_float64(right[span]).T, alpha=-1) for span, tile in operand.exact_tiles())
    return math.hypot(*(float(torch.linalg.vector_norm(rest)) for rest in rests))


def _energy(matrix: Tensor) -> float:
    """The squared Frobenius norm, summed in float64."""
    parts = matrix.split(max(1, CHUNK_ELEMENTS // max(1, matrix.shape[1])))
    copy = in_float64(torch.empty_like(parts[0]))
    # Memory-bound: a second thread gains nothing here.
    with small_problems():
        return sum(float(torch.linalg.vector_norm(copy[: len(part)].copy_(part))) ** 2 for part in parts)
