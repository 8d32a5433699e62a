"""Scribble: few, thick strokes of even width, white on black, as if drawn with a marker."""

from __future__ import annotations

import math

import numpy as np

from .flow import flow_difference
from .line_art import AUTOMATIC_STROKES, ONE_LINE, OUTLINES, check_strokes
from .reduce import reduced, resized
from .resize import resize_edges
from .specks import without_specks
from .strokes import wide_strokes
from .work import ALONE, Work

# Forms are looked for at this share of the shorter side, and strokes shorter than the next one are left out.
FORM = 1 / 300
SHORTEST = 1 / 20
MIN_FORM = 0.7
# Forms are looked for at a size where they are this many pixels or a little more: finer shows nothing more.
ENOUGH = 2.0
# A stroke goes on where the contrast falls to this share of the threshold.
LOW_PER_HIGH = 0.4
# A stroke of the picture of so many forms shows as its two rims.
WIDE = 5.0


def scribble(
    picture: np.ndarray,
    thickness: float = 5.0,
    threshold: float = 0.02,
    white_lines: bool = False,
    strokes: str = AUTOMATIC_STROKES,
    work: Work = ALONE,
) -> np.ndarray:
    """White strokes on black: picture [H, W, 3] in 0..1 -> [H, W] or `work.size` in 0..1, float32.

    thickness: width of the strokes in pixels of the picture, from 1. threshold: how much darker than its surroundings, in
    tones of 0..1, a stroke must begin; it ends below 0.4 of that. white_lines: the picture has bright lines on dark
    ground. strokes: see `delta.hints.line_art`. The size of forms follows the size of the picture. Raises ValueError for
    values out of range.

    Source: XDoG with flow (Winnemoeller et al. 2012, see `delta.hints.flow`), thresholded with hysteresis, thinned to
    centre lines (Zhang and Suen 1984) and drawn again in one width.
    """
    from skimage.filters import apply_hysteresis_threshold
    from skimage.morphology import skeletonize

    if not thickness >= 1:
        raise ValueError(f"The thickness is {thickness}. It must be at least 1 pixel.")
    if not 0 < threshold <= 1:
        raise ValueError(f"The threshold is {threshold}. It must be above 0 and at most 1.")
    check_strokes(strokes)
    form = max(MIN_FORM, FORM * min(picture.shape[:2]))
    height, width = work.size or picture.shape[:2]
    thickness *= min(height, width) / min(picture.shape[:2])
    factor = max(1, int(form / ENOUGH))
    small, form = reduced(picture, factor), form / factor
    small = 1 - small if white_lines else small
    # Thinned at the size of the hint: half a pixel of a smaller one would move strokes by more.
    difference = resized(flow_difference(small, form, work.part(0, 3)), height, width)
    dark = apply_hysteresis_threshold(-difference, LOW_PER_HIGH * threshold, threshold)
    thinning = work.part(1, 3)
    thinning.on_step(1, 3)
    found = None if strokes == OUTLINES else wide_strokes(small, WIDE * form, strokes == ONE_LINE)
    if found is not None:
        is_stroke, middles = _resized_strokes(found, height, width)
        dark = dark & ~is_stroke
    centres = skeletonize(dark)
    thinning.on_step(2, 3)
    if found is not None:
        centres = centres | middles
    centres = without_specks(centres.astype(np.float32), SHORTEST * min(height, width))
    return _drawn(centres > 0, thickness, work.part(2, 3))


def _resized_strokes(found: tuple[np.ndarray, np.ndarray], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    is_stroke, middles = found
    return resized(is_stroke, height, width) > 0.5, resize_edges(middles.astype(np.float32), height, width) > 0


def _drawn(centres: np.ndarray, thickness: float, work: Work) -> np.ndarray:
    """Strokes of one thickness along centre lines [H, W]; one pixel of their rim is soft."""
    from scipy.ndimage import distance_transform_edt

    strokes = np.zeros(centres.shape, np.float32)
    margin = math.ceil(thickness / 2) + 2
    for rows in work.bands(len(centres)):
        start = max(rows.start - margin, 0)
        near = centres[start : rows.stop + margin]
        if near.any():
            distance = distance_transform_edt(~near)[rows.start - start :][: rows.stop - rows.start]
            strokes[rows] = np.clip((thickness + 1) / 2 - distance, 0, 1)
    return strokes
