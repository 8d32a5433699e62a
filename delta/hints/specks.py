"""Removing what is too small to be a line."""

from __future__ import annotations

import numpy as np

# What is darker than this separates lines.
VISIBLE = 0.05


def without_specks(lines: np.ndarray, least: float) -> np.ndarray:
    """Lines [H, W] in 0..1 on black, without connected pieces of fewer than `least` visible pixels."""
    from scipy.ndimage import label

    pieces, _ = label(lines > VISIBLE, structure=np.ones((3, 3)))
    is_small = np.bincount(pieces.ravel()) < least
    # The background is piece 0. Pixels too dark to be visible belong to it and stay as they are.
    is_small[0] = False
    return np.where(is_small[pieces], 0, lines)
