"""Scribble: few, thick strokes of even width, white on black, as if drawn with a marker."""

from __future__ import annotations

import numpy as np

from .flow import flow_difference
from .specks import without_specks

# Forms are looked for at this share of the shorter side, and strokes shorter than the next one are left out.
FORM = 1 / 300
SHORTEST = 1 / 20
MIN_FORM = 0.7
# A stroke goes on where the contrast falls to this share of the threshold.
LOW_PER_HIGH = 0.4


def scribble(picture: np.ndarray, thickness: float = 5.0, threshold: float = 0.02) -> np.ndarray:
    """White strokes on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    thickness: width of the strokes in pixels, from 1. threshold: how much darker than its surroundings, in tones of 0..1,
    a stroke must begin; it ends below 0.4 of that. The size of forms follows the size of the picture. Raises ValueError
    for values out of range.

    Source: XDoG with flow (Winnemoeller et al. 2012, see `delta.hints.flow`), thresholded with hysteresis, thinned to
    centre lines (Zhang and Suen 1984) and drawn again in one width.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.filters import apply_hysteresis_threshold
    from skimage.morphology import skeletonize

    if not thickness >= 1:
        raise ValueError(f"The thickness is {thickness}. It must be at least 1 pixel.")
    if not 0 < threshold <= 1:
        raise ValueError(f"The threshold is {threshold}. It must lie above 0 and up to 1.")
    side = min(picture.shape[:2])
    difference = flow_difference(picture, max(MIN_FORM, FORM * side))
    dark = apply_hysteresis_threshold(-difference, LOW_PER_HIGH * threshold, threshold)
    centres = without_specks(skeletonize(dark).astype(np.float32), SHORTEST * side)
    if not centres.any():
        return centres
    # One pixel of the distance is the soft rim of a stroke.
    return np.clip((thickness + 1) / 2 - distance_transform_edt(centres == 0), 0, 1).astype(np.float32)
