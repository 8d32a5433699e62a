"""Weights as shares of a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

SMALLEST_SUM = 1e-6


def normalised(weights: Sequence[float], or_else: str = "") -> list[float]:
    """The weights divided by their sum. Raises ValueError when they add up to zero; or_else: another remedy."""
    total = math.fsum(weights)
    if abs(total) < SMALLEST_SUM:
        listed = ", ".join(f"{weight:g}" for weight in weights)
        raise ValueError(
            f"The weights ({listed}) add up to zero and cannot be normalised. Change one of them{or_else}."
        )
    return [weight / total for weight in weights]
