"""Interpolation between two updates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..linear_algebra.factors import LowRank, concat
from ._common import ROUNDING, check_fraction
from .registry import merge_method


# Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985
@merge_method("SLERP", min_parts=2, max_parts=2)
def slerp(parts: Sequence[LowRank], weights: Sequence[float], *, t: float = 0.5) -> LowRank:
    """From a = w_1 dW_1 (t = 0) to b = w_2 dW_2 (t = 1) along the arc between them (Shoemake 1985).

    sin((1-t) O) / sin(O) a + sin(t O) / sin(O) b, where O is the angle between a and b as vectors of m n numbers. It
    needs only norms and the inner product, so the result is exact in factors, of rank r_1 + r_2. Between updates of
    the same or opposite direction, or if one is zero (a layer which only one part has), the arc is not defined and the
    line (1-t) a + t b is taken. Raises ValueError for t outside 0 to 1.
    """
    check_fraction("t", t)
    first, second = (part.scale(weight) for part, weight in zip(parts, weights))
    share_first, share_second = _arc_shares(first, second, t)
    return concat([first.scale(share_first), second.scale(share_second)])


def _arc_shares(first: LowRank, second: LowRank, t: float) -> tuple[float, float]:
    """The coefficients of both updates."""
    norms = first.norm() * second.norm()
    cosine = first.inner(second) / norms if norms else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) <= ROUNDING:
        return 1.0 - t, t
    return math.sin((1.0 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
