"""Soft edges: the outlines of forms as glowing lines, much as the HED and PiDiNet detectors draw them."""

from __future__ import annotations

import numpy as np

from .gradient import channels, with_margin
from .reduce import reduced, resized, wide_gaussian
from .work import ALONE, Work

# Scales of the gradient, in blurs. An edge of a form shows at all of them, grain only at the smallest.
SCALES = (1, 2, 4)
# The surroundings that dense texture is told by: this share of the shorter side, but at least so many pixels.
SURROUND = 1 / 40
MIN_SURROUND = 4.0
# The surroundings are looked at in a size where they are so many pixels wide, and a coarse gradient in one where its blur
# is so many: finer shows nothing more.
ENOUGH_SURROUND, ENOUGH_BLUR = 8.0, 8.0
# This share of the pixels is fully white, of those that are edges at all.
WHITE_PERCENTILE = 99
# Gradients below this are rounding of 8 bits and noise, not edges, and are not brightened up to white.
LEAST_WHITE = 0.04


def soft_edge(
    picture: np.ndarray, blur: float = 1.0, texture_suppression: float = 0.8, work: Work = ALONE
) -> np.ndarray:
    """White soft lines on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    blur: standard deviation of the finest of three Gaussian gradients in pixels, above 0. texture_suppression: 0..1, how
    much of the mean gradient of the surroundings is taken away, which leaves outlines and removes dense texture. The
    strongest 1 % become white. Raises ValueError for values out of range.

    Source: scale-normalised gradients (Lindeberg, "Edge Detection and Ridge Detection with Automatic Scale Selection",
    1998), the strongest of the three colours; surround inhibition (Grigorescu, Petkov and Westenberg, "Contour Detection
    Based on Nonclassical Receptive Field Inhibition", 2003).
    """
    if not blur > 0:
        raise ValueError(f"The blur is {blur}. It must be above 0 pixels.")
    if not 0 <= texture_suppression <= 1:
        raise ValueError(f"The texture suppression is {texture_suppression}. It must be between 0 and 1.")
    gradient = np.zeros(picture.shape[:2], np.float32)
    for index, scale in enumerate(SCALES):
        gradient += _gradient(picture, scale * blur, work.part(index, len(SCALES))) / len(SCALES)
    surround = max(MIN_SURROUND, SURROUND * min(gradient.shape))
    edges = np.maximum(gradient - texture_suppression * wide_gaussian(gradient, surround, ENOUGH_SURROUND), 0)
    return np.minimum(edges / max(np.percentile(edges, WHITE_PERCENTILE), LEAST_WHITE), 1).astype(np.float32)


def _gradient(picture: np.ndarray, sigma: float, work: Work) -> np.ndarray:
    """Gradient per standard deviation of the strongest colour, [H, W]."""
    factor = max(1, int(sigma / ENOUGH_BLUR))
    small, small_sigma = reduced(picture, factor), sigma / factor
    gradient = np.empty(small.shape[:2], np.float32)
    for rows in work.bands(len(small)):
        gradient[rows] = small_sigma * _strongest_step(small, small_sigma, rows)
    return resized(gradient, *picture.shape[:2])


def _strongest_step(picture: np.ndarray, sigma: float, rows: slice) -> np.ndarray:
    """How much the strongest colour changes from a pixel to the next after a Gaussian of sigma, [rows, W]."""
    from scipy.ndimage import gaussian_filter

    margin = int(4 * sigma + 0.5) + 1
    inside, before, after = (
        slice(margin, -margin),
        slice(margin - 1, -margin - 1),
        slice(margin + 1, 1 - margin or None),
    )
    strongest = 0
    for channel in channels(picture):
        smooth = gaussian_filter(with_margin(picture[..., channel], rows, margin), sigma, mode="nearest")
        down, right = smooth[after, inside] - smooth[before, inside], smooth[inside, after] - smooth[inside, before]
        strongest = np.maximum(strongest, 0.5 * np.hypot(down, right))
    return strongest
