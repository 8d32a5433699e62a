"""Grey values of pictures."""

from __future__ import annotations

import numpy as np

# Luma of ITU-R BT.601, which image editors and OpenCV call grey.
LUMA = np.array([0.299, 0.587, 0.114])


def grey(picture: np.ndarray) -> np.ndarray:
    """[H, W, 3] in 0..1 -> [H, W] in 0..1, float64: sums of equal values stay equal well below a step of 8 bits."""
    return picture.astype(np.float64) @ LUMA
