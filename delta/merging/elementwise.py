"""Methods that look at single entries of dW, so they need it dense: one layer at a time, [m, n] float32.

The papers choose entries among all parameters of a model or of a layer; here it is always among those of one layer.
A merged matrix has no low rank: what compressing it loses is for the caller to measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._common import check_fraction, check_not_negative, disjoint_mean, ties_vote
from .registry import merge_method


# TIES-Merging, arXiv 2306.01708
@merge_method("TIES", kind="dense")
def ties(deltas: Sequence[Tensor], weights: Sequence[float], *, keep: float = 0.2) -> Tensor:
    """Trim, elect sign, disjoint mean (arXiv 2306.01708).

    Of each w_i dW_i the share `keep` of entries of the largest magnitude is kept. For each entry the sign of the sum
    over parts, so that with more mass, is elected, and the kept values of that sign are averaged. Two parts that agree
    thus give their mean, not their sum. One part: weight * part. Raises ValueError for `keep` outside 0 to 1.
    """
    check_fraction("keep", keep)
    return ties_vote([delta * weight for delta, weight in zip(deltas, weights)], keep)


# DARE, arXiv 2311.03099
@merge_method("DARE", kind="dense")
def dare(
    deltas: Sequence[Tensor], weights: Sequence[float], *, drop: float = 0.2, generator: torch.Generator
) -> Tensor:
    """Drop entries at random, rescale the rest, and add (arXiv 2311.03099).

    Sum of w_i M_i * dW_i / (1 - drop), each entry of M_i being 0 with probability `drop`, else 1. Its expectation is
    the linear merge. One part: weight * part, nothing dropped. Raises ValueError for `drop` outside 0 to 1, or 1.
    """
    _check_rate(drop)
    return sum(weight * _drop(delta, drop, generator) for delta, weight in zip(deltas, weights))


# DELLA-Merging, arXiv 2406.11617
@merge_method("DELLA", kind="dense")
def della(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    drop: float = 0.3,
    window: float = 0.14,
    generator: torch.Generator,
) -> Tensor:
    """MagPrune, elect sign, fuse (arXiv 2406.11617).

    In each row of dW_i the entries are ranked by magnitude; the chance to be dropped falls linearly from
    drop + window / 2 for the smallest to drop - window / 2 for the largest, and what stays is divided by one minus its
    chance. Then for each entry the sign of the sum of w_i dW_i is elected and the surviving values of that sign are
    averaged. One part: weight * part, nothing dropped. Raises ValueError for `drop` outside 0 to 1, or 1, or a
    negative `window`; chances are held between 0 and 1.
    """
    _check_rate(drop)
    check_not_negative("window", window)
    pruned = [_drop(delta, _drop_chances(delta, drop, window), generator) for delta in deltas]
    return disjoint_mean([delta * weight for delta, weight in zip(pruned, weights)])


# Model Breadcrumbs, arXiv 2312.06795
@merge_method("Model Breadcrumbs", kind="dense")
def breadcrumbs(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    drop_smallest: float = 0.85,
    drop_largest: float = 0.006,
) -> Tensor:
    """Mask both tails, and add (arXiv 2312.06795).

    Sum of w_i M_i * dW_i, where M_i removes from dW_i the share `drop_smallest` of entries of the smallest and
    `drop_largest` of those of the largest magnitude. Nothing is rescaled. One part: weight * part, nothing masked.
    Raises ValueError for shares outside 0 to 1.
    """
    check_fraction("drop_smallest", drop_smallest)
    check_fraction("drop_largest", drop_largest)
    return sum(weight * _drop_tails(delta, drop_smallest, drop_largest) for delta, weight in zip(deltas, weights))


def _check_rate(drop: float) -> None:
    check_fraction("drop", drop)
    if drop == 1.0:
        raise ValueError("drop is 1; nothing would remain to be merged.")


def _drop(delta: Tensor, chances: Tensor | float, generator: torch.Generator) -> Tensor:
    """Zero each entry with its chance, divide the others by one minus it, so that the expectation is `delta`."""
    # Drawn where the generator is, on the CPU, so that every device gets the same mask.
    draws = torch.rand(delta.shape, generator=generator, device=generator.device).to(delta.device)
    return torch.where(draws < chances, 0.0, delta / (1.0 - chances))


def _drop_chances(delta: Tensor, drop: float, window: float) -> Tensor:
    """drop + window / 2 for the smallest magnitude of each row, falling linearly with its rank to drop - window / 2."""
    ranks = delta.abs().argsort(dim=1, stable=True).argsort(dim=1).to(delta.dtype)
    last = delta.shape[1] - 1
    return (drop - window * (ranks - last / 2) / max(last, 1)).clamp(0.0, 1.0)


def _drop_tails(delta: Tensor, smallest: float, largest: float) -> Tensor:
    """Zero the shares of entries of the smallest and the largest magnitude."""
    total = delta.numel()
    below, above = round(smallest * total), round(largest * total)
    if below + above >= total:
        return torch.zeros_like(delta)
    magnitudes = delta.abs()
    order = magnitudes.flatten()
    least = order.kthvalue(below + 1).values
    most = order.kthvalue(total - above).values
    return torch.where((magnitudes >= least) & (magnitudes <= most), delta, 0.0)
