"""Methods on singular values and vectors, run in the core space of the parts, where all matrices are R x R.

Nothing is lost by that: singular values are the same there, and singular vectors are those of dW in the frame of the
core space. Papers on full fine-tuning flatten or orthogonalise over all min(m, n) directions; here it is over those
that the parts have, since the rest of a low-rank update is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank, concat
from ._common import (
    ROUNDING,
    Triplets,
    check_fraction,
    check_not_negative,
    polar,
    svd,
    ties_vote,
    weighted_core_space,
)
from .registry import merge_method


# KnOTS, arXiv 2410.19735
@merge_method("KnOTS-TIES")
def knots(parts: Sequence[LowRank], weights: Sequence[float], *, keep: float = 0.2) -> LowRank:
    """Align the parts in a common basis of outputs, then merge by TIES there (arXiv 2410.19735).

    [D_1 ... D_N] = U S [V_1^T ... V_N^T] with D_i = w_i dW_i; the result is U M, where M is the TIES merge (see `ties`)
    of the matrices S V_i^T, [K, n] each, of which the share `keep` of entries is kept. K <= R, so nothing is dense.
    (Merging S V_i^T by the mean instead would just be the mean of the D_i: use `linear`.) One part: weight * part.
    Raises ValueError for `keep` outside 0 to 1.
    """
    check_fraction("keep", keep)
    space = weighted_core_space(parts, weights)
    basis, values, _ = svd(torch.cat(space.cores, dim=1))
    merged = ties_vote([basis.T @ core @ space.right for core in space.cores], keep)
    root = values.sqrt()
    return LowRank((space.left @ (basis * root)).float(), (merged / root[:, None]).float(), space.shape)


# Task Singular Vectors, arXiv 2412.00081
@merge_method("TSV-M")
def tsv_m(parts: Sequence[LowRank], weights: Sequence[float], *, rank: float = 0.0) -> LowRank:
    """Orthogonalise the singular vectors of the parts against each other (arXiv 2412.00081).

    The strongest `rank` triplets of each w_i dW_i are stacked, U = [U_1 ... U_N], S, V = [V_1 ... V_N]; the result is
    U' S V'^T with U' and V' the nearest matrices with orthonormal columns. Rank 0 stands for the paper's
    min(m, n) / N, which keeps all of a low-rank part in most layers. Directions that the parts share are averaged, not
    added. One part: weight * part. Raises ValueError for a negative rank.
    """
    check_not_negative("rank", rank)
    space = weighted_core_space(parts, weights)
    rows, columns = len(space.left), space.right.shape[1]
    count = round(rank) or max(min(rows, columns) // len(parts), 1)
    return space.low_rank(_orthogonalised([svd(core).top(count) for core in space.cores]).product())


# Isotropic merging, arXiv 2502.04959
@merge_method("Iso-C")
def iso_c(parts: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """The sum with a flat spectrum (arXiv 2502.04959).

    sum of w_i dW_i = U S V^T becomes s U V^T, s being the mean singular value of the sum over the K directions it has.
    One part: weight * part.
    """
    space = weighted_core_space(parts, weights)
    return space.low_rank(_flattened(svd(sum(space.cores))).product())


# Isotropic merging, arXiv 2502.04959
@merge_method("Iso-CTS")
def iso_cts(parts: Sequence[LowRank], weights: Sequence[float], *, common: float = 0.8) -> LowRank:
    """A flat spectrum over common and task-specific directions (arXiv 2502.04959).

    Of the K directions of the sum of w_i dW_i, the weakest share 1 - `common` is given up in equal numbers t to the N
    parts. What is left of w_i dW_i outside the common output directions, (I - U_c U_c^T) w_i dW_i, gives its t
    strongest triplets. All vectors are orthogonalised as in `tsv_m` and get the mean of the stacked singular values.
    One part: weight * part. Raises ValueError for `common` outside 0 to 1.
    """
    check_fraction("common", common)
    space = weighted_core_space(parts, weights)
    shared = svd(sum(space.cores))
    total = len(shared.values)
    # Whole numbers as in the reference: every part gets the same, the common space takes the remainder.
    each = min(round((total - int(total * common)) / len(parts)), total // len(parts))
    shared = shared.top(total - each * len(parts))
    outside = [core - shared.left @ (shared.left.T @ core) for core in space.cores]
    specific = [_supported(svd(rest), core).top(each) for rest, core in zip(outside, space.cores)]
    return space.low_rank(_flattened(_orthogonalised([shared, *specific])).product())


# STAR, arXiv 2502.10339
@merge_method("STAR")
def star(parts: Sequence[LowRank], weights: Sequence[float], *, keep: float = 0.4) -> LowRank:
    """Truncate each spectrum, rescale it to the old nuclear norm, and add (arXiv 2502.10339).

    Of each dW_i the fewest singular values whose sum reaches the share `keep` of all are kept and multiplied by (sum of
    all) / (sum of the kept); the result is the sum of w_i times those. The paper averages: weights of 1 / N. One part:
    weight * part, nothing truncated. Raises ValueError for `keep` outside 0 to 1.
    """
    check_fraction("keep", keep)
    return concat([_truncate_and_rescale(part, keep).scale(weight) for part, weight in zip(parts, weights)])


# Singular Value Calibration, arXiv 2602.05536
@merge_method("SVC (calibrated sum)")
def svc(parts: Sequence[LowRank], weights: Sequence[float], *, alpha: float = 1.0) -> LowRank:
    """The sum with the singular values that parts have in common calibrated (arXiv 2602.05536).

    D = sum of D_i = U S V^T with D_i = w_i dW_i. Along each u_r the sum answers a_r = u_r^T D and part i answers
    a_ri = u_r^T D_i; s_ri = <a_r, a_ri> / |a_ri|^2 tells how many times part i is counted. S_r is multiplied by
    N / sum of max(alpha, s_ri). N equal parts thus give one of them. With alpha = 1 values only shrink; below 1,
    directions that few parts have are raised by up to 1 / alpha. One part: weight * part. Raises ValueError for an
    alpha that is not positive.
    """
    if not alpha > 0.0:
        raise ValueError(f"alpha is {alpha:g}; it must be positive.")
    space = weighted_core_space(parts, weights)
    merged = svd(sum(space.cores))
    answer = merged.values[:, None] * merged.right
    counted = [_times_counted(answer, merged.left.T @ core).clamp(min=alpha) for core in space.cores]
    return space.low_rank(merged._replace(values=merged.values * len(parts) / sum(counted)).product())


# CT-Merging, arXiv 2607.20561
@merge_method("CT-Merging")
def ct_merging(parts: Sequence[LowRank], weights: Sequence[float], *, common_rank: float = 4.0) -> LowRank:
    """Consensus directions, and one scale for each part instead of its singular values (arXiv 2607.20561).

    w_i dW_i = U_i S_i V_i^T. The consensus outputs C are the up to `common_rank` leading eigenvectors of the mean
    projector (1/N) sum of U_i U_i^T that more than one part supports (eigenvalue above 1/N); the response C^T sum of
    w_i dW_i pairs them with inputs. U_i and V_i, projected off the consensus, are stacked with it and orthogonalised as
    in `tsv_m`. Directions of part i get the root mean square of S_i, consensus directions the mean of those over the
    parts. One part: weight * part. Raises ValueError for a negative common_rank.
    """
    check_not_negative("common_rank", common_rank)
    space = weighted_core_space(parts, weights)
    tasks = [svd(core) for core in space.cores]
    scales = [task.values.square().mean().sqrt() for task in tasks]
    consensus = _consensus([task.left for task in tasks], round(common_rank))
    paired = svd(consensus.T @ sum(space.cores))
    common = Triplets(consensus @ paired.left, torch.stack(scales).mean().expand_as(paired.values), paired.right)
    residuals = [_outside(task, common, scale) for task, scale in zip(tasks, scales)]
    return space.low_rank(_orthogonalised([common, *residuals]).product())


def _orthogonalised(groups: Sequence[Triplets]) -> Triplets:
    """The groups side by side, left and right vectors replaced by their polar factors."""
    left = polar(torch.cat([group.left for group in groups], dim=1))
    right = polar(torch.cat([group.right for group in groups], dim=0).T).T
    return Triplets(left, torch.cat([group.values for group in groups]), right)


def _flattened(triplets: Triplets) -> Triplets:
    """All singular values replaced by their mean."""
    return triplets._replace(values=triplets.values.mean().expand_as(triplets.values))


def _supported(rest: Triplets, whole: Tensor) -> Triplets:
    """The triplets of a remainder that are more than the rounding of what it was taken from."""
    return rest.top(int((rest.values > ROUNDING * torch.linalg.matrix_norm(whole)).sum()))


def _truncate_and_rescale(part: LowRank, keep: float) -> LowRank:
    """The strongest singular values of dW that reach the share `keep` of their sum, with the sum restored."""
    decomposition = part.svd()
    sums = decomposition.values.cumsum(0)
    # The last sum is never searched for: rounding could put keep * total beyond it.
    count = 1 + int(torch.searchsorted(sums[:-1], keep * sums[-1]))
    kept = decomposition.values[:count]
    return decomposition.low_rank(kept * (sums[-1] / kept.sum()))


def _times_counted(answer: Tensor, own: Tensor) -> Tensor:
    """<answer_r, own_r> / |own_r|^2 for each row; 0 where a part has no answer of its own but rounding."""
    lengths = own.square().sum(dim=1)
    silent = lengths <= ROUNDING**2 * answer.square().sum(dim=1)
    return torch.where(silent, 0.0, (answer * own).sum(dim=1) / lengths.masked_fill(silent, 1.0))


def _consensus(bases: Sequence[Tensor], count: int) -> Tensor:
    """Leading eigenvectors of the mean projector of some bases: at most `count`, each supported by more than one basis.

    A cut between equal eigenvalues would pick arbitrary vectors of their space, so it moves up to the next gap.
    """
    triplets = svd(torch.cat(list(bases), dim=1))
    support = triplets.values.square()
    count = min(count, int((support > 1.0 + ROUNDING).sum()))
    while 0 < count < len(support) and support[count - 1] - support[count] <= ROUNDING:
        count -= 1
    return triplets.left[:, :count]


def _outside(task: Triplets, common: Triplets, scale: Tensor) -> Triplets:
    """The vectors of a part without their share in the common ones; those that vanish on either side are left out."""
    left = task.left - common.left @ (common.left.T @ task.left)
    right = task.right - (task.right @ common.right.T) @ common.right
    remains = (left.norm(dim=0) > ROUNDING) & (right.norm(dim=1) > ROUNDING)
    return Triplets(left[:, remains], scale.expand(int(remains.sum())), right[remains])
