"""The exact weighted sum."""

from __future__ import annotations

from collections.abc import Sequence

from ..linear_algebra.factors import LowRank, concat
from .registry import merge_method


# Task arithmetic, arXiv 2212.04089
@merge_method("Linear (exact sum)")
def linear(parts: Sequence[LowRank], weights: Sequence[float]) -> LowRank:
    """Sum of w_i dW_i, exactly what stacking the parts does, by concatenating their factors (arXiv 2212.04089).

    The rank is the sum of the ranks. One part: weight * part.
    """
    return concat([part.scale(weight) for part, weight in zip(parts, weights)])
