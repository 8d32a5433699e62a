"""Methods that keep one update out of the subspace of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..linear_algebra.factors import LowRank
from ._common import check_fraction, check_not_negative, span, svd, weighted_core_space
from .registry import merge_method


# NP-LoRA, arXiv 2511.11051
@merge_method("NP-LoRA (content, style)", min_parts=2, max_parts=2)
def np_lora(parts: Sequence[LowRank], weights: Sequence[float], *, mu: float = 0.5) -> LowRank:
    """The style, plus the content softly projected off the style's input directions (arXiv 2511.11051).

    w_s dW_s + w_c dW_c (I - mu / (1 + mu) V V^T), where the first part is the content c, the second the style s, and V
    holds the right singular vectors of dW_s. mu = 0 is the linear merge, infinity the hard projection. A layer which
    only one of them has (the other of rank 0 or weight 0) gives weight * part. Raises ValueError for a negative mu.
    """
    check_not_negative("mu", mu)
    space = weighted_core_space(parts, weights)
    content, style = space.cores
    directions = svd(style).right
    suppressed = (1.0 - 1.0 / (1.0 + mu)) * (content @ directions.T) @ directions
    return space.low_rank(style + content - suppressed)


# No paper: the orthogonal projection, as in null space methods.
@merge_method("Subspace removal (the others from the first)", min_parts=2)
def remove_subspace(
    parts: Sequence[LowRank], weights: Sequence[float], *, column_space: float = 1.0, row_space: float = 1.0
) -> LowRank:
    """Take the directions of all other parts out of the first one.

    w_1 (I - c Q Q^T) dW_1 (I - r P P^T), where Q is an orthonormal basis of the columns (outputs) and P of the rows
    (inputs) of the other parts together, c = `column_space` and r = `row_space`: 1 takes a side's directions out, 0
    leaves that side alone. The others are not added, and only whether their weight is 0 matters: such a part, or one
    that the layer lacks, has no directions. A layer which the first part lacks gives zero. Raises ValueError for
    amounts outside 0 to 1.
    """
    check_fraction("column_space", column_space)
    check_fraction("row_space", row_space)
    space = weighted_core_space(parts, weights)
    target, *others = space.cores
    triplets = [svd(core) for core in others]
    outputs = span(torch.cat([each.left for each in triplets], dim=1))
    inputs = span(torch.cat([each.right for each in triplets], dim=0).T)
    target = target - column_space * outputs @ (outputs.T @ target)
    target = target - row_space * (target @ inputs) @ inputs.T
    return space.low_rank(target)
