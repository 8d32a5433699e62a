"""Soft edges: the outlines of forms as glowing lines, much as the HED and PiDiNet detectors draw them."""

from __future__ import annotations

import numpy as np

# Scales of the gradient, in blurs. An edge of a form shows at all of them, grain only at the smallest.
SCALES = (1, 2, 4)
# The surroundings that dense texture is told by: this share of the shorter side, but at least so many pixels.
SURROUND = 1 / 40
MIN_SURROUND = 4.0
# This share of the pixels is fully white, of those that are edges at all.
WHITE_PERCENTILE = 99
# Gradients below this are rounding of 8 bits and noise, not edges, and are not brightened up to white.
LEAST_WHITE = 0.04


def soft_edge(picture: np.ndarray, blur: float = 1.0, texture_suppression: float = 0.8) -> np.ndarray:
    """White soft lines on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    blur: standard deviation of the finest of three Gaussian gradients in pixels, above 0. texture_suppression: 0..1, how
    much of the mean gradient of the surroundings is taken away, which leaves outlines and removes dense texture. The
    strongest 1 % become white. Raises ValueError for values out of range.

    Source: scale-normalised gradients (Lindeberg, "Edge Detection and Ridge Detection with Automatic Scale Selection",
    1998), the strongest of the three colours; surround inhibition (Grigorescu, Petkov and Westenberg, "Contour Detection
    Based on Nonclassical Receptive Field Inhibition", 2003).
    """
    from scipy.ndimage import gaussian_filter

    if not blur > 0:
        raise ValueError(f"The blur is {blur}. It must be above 0 pixels.")
    if not 0 <= texture_suppression <= 1:
        raise ValueError(f"The texture suppression is {texture_suppression}. It must lie in 0 to 1.")
    gradient = sum(_gradient(picture, scale * blur) for scale in SCALES) / len(SCALES)
    surround = max(MIN_SURROUND, SURROUND * min(gradient.shape))
    edges = np.maximum(gradient - texture_suppression * gaussian_filter(gradient, surround, mode="nearest"), 0)
    return np.minimum(edges / max(np.percentile(edges, WHITE_PERCENTILE), LEAST_WHITE), 1).astype(np.float32)


def _gradient(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gradient per standard deviation of the strongest colour, [H, W]."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(picture, (sigma, sigma, 0), mode="nearest")
    padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    return sigma * 0.5 * np.hypot(down, right).max(axis=2)
