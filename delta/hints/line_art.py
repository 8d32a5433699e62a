"""Line art: dark lines and the dark side of edges, white on black, as clean strokes that follow the forms."""

from __future__ import annotations

import numpy as np

from .flow import flow_difference
from .reduce import reduced, resized
from .specks import without_specks
from .strokes import wide_strokes
from .work import ALONE, Work

# How far above the threshold a line is fully white, in tones of 0..1: as far as the strongest 2 % of the picture, so that
# soft photos get white lines too, but within these bounds.
STRONG_PERCENTILE = 98
RANGE = (0.012, 0.035)
# The automatic line width, as a share of the shorter side, and at least so many pixels.
AUTOMATIC = 1 / 512
LEAST_AUTOMATIC = 1.0
# Lines are drawn at a size where the line width is this many pixels or a little more: finer shows nothing more.
ENOUGH = 2.0
# Pieces smaller than this many squares of the line width are grain, not lines.
SPECK = 40
# A stroke of so many line widths shows as its two rims.
WIDE = 5.0
# Half the width of the line that is drawn for it, in line widths: about that of the others.
DRAWN = 1.5
# What becomes of a stroke that is wider than a line: one line where the picture is a drawing, or always, or its rims.
AUTOMATIC_STROKES, ONE_LINE, OUTLINES = "automatic", "one line", "outlines"
STROKES = (AUTOMATIC_STROKES, ONE_LINE, OUTLINES)


def line_art(
    picture: np.ndarray,
    line_width: float = 0.0,
    threshold: float = 0.01,
    white_lines: bool = False,
    strokes: str = AUTOMATIC_STROKES,
    work: Work = ALONE,
) -> np.ndarray:
    """White lines of soft width on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    line_width: standard deviation across the lines in pixels; wider finds coarser forms; 0 is 1/512 of the shorter side,
    but at least 1. threshold: how much darker than its surroundings, in tones of 0..1, a line must be to show.
    white_lines: the picture has bright lines on dark ground. strokes: whether a stroke wider than 5 line widths becomes
    "one line" or "outlines"; "automatic" is one line in drawings on even ground. Raises ValueError for values out of range.

    Source: the flow-based difference of Gaussians of Winnemoeller et al. 2012 (see `delta.hints.flow`), with a linear
    instead of their hyperbolic ramp, so that faint lines go to pure black.
    """
    if not line_width >= 0:
        raise ValueError(f"The line width is {line_width}. It must not be negative; 0 fits it to the picture.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is {threshold}. It must be between 0 and 1.")
    check_strokes(strokes)
    height, width = picture.shape[:2]
    line_width = line_width or max(LEAST_AUTOMATIC, AUTOMATIC * min(height, width))
    factor = max(1, int(line_width / ENOUGH))
    small, line_width = reduced(picture, factor), line_width / factor
    small = 1 - small if white_lines else small
    darkness = np.maximum(-flow_difference(small, line_width, work) - threshold, 0)
    white = np.clip(np.percentile(darkness, STRONG_PERCENTILE), *RANGE)
    # Cut to white at the end only, so that rims stay smooth where the size grows.
    lines = (darkness / white).astype(np.float32)
    if strokes != OUTLINES:
        lines = _with_single_lines(lines, small, line_width, strokes == ONE_LINE)
    lines = without_specks(lines, SPECK * line_width**2)
    return resized(lines, height, width).clip(0, 1)


def check_strokes(strokes: str) -> None:
    """Raise ValueError for an unknown way with strokes."""
    if strokes not in STROKES:
        raise ValueError(f"Strokes cannot be drawn as {strokes!r}. Choose one of: {', '.join(STROKES)}.")


def _with_single_lines(lines: np.ndarray, picture: np.ndarray, line_width: float, on_any_ground: bool) -> np.ndarray:
    """Lines [H, W] in which each wide stroke of the picture is one line in place of two."""
    from scipy.ndimage import distance_transform_edt

    found = wide_strokes(picture, WIDE * line_width, on_any_ground)
    if found is None:
        return lines
    is_stroke, middles = found
    drawn = np.maximum(DRAWN * line_width + 0.5 - distance_transform_edt(~middles), 0)
    return np.maximum(np.where(is_stroke, 0, lines), drawn).astype(np.float32)
