"""Line art: dark lines and the dark side of edges, white on black, as clean strokes that follow the forms."""

from __future__ import annotations

import numpy as np

from .flow import flow_difference
from .specks import without_specks

# How far above the threshold a line is fully white, in tones of 0..1: as far as the strongest 2 % of the picture, so that
# soft photos get white lines too, but within these bounds.
STRONG_PERCENTILE = 98
RANGE = (0.012, 0.035)
# The automatic line width, as a share of the shorter side, and at least so many pixels.
AUTOMATIC = 1 / 512
LEAST_AUTOMATIC = 1.0
# Pieces smaller than this many squares of the line width are grain, not lines.
SPECK = 40


def line_art(picture: np.ndarray, line_width: float = 0.0, threshold: float = 0.01) -> np.ndarray:
    """White lines of soft width on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    line_width: standard deviation across the lines in pixels; wider finds coarser forms; 0 is 1/512 of the shorter side,
    but at least 1. threshold: how much darker than its surroundings, in tones of 0..1, a line must be to show. Raises
    ValueError for values out of range.

    Source: the flow-based difference of Gaussians of Winnemoeller et al. 2012 (see `delta.hints.flow`), with a linear
    instead of their hyperbolic ramp, so that faint lines go to pure black.
    """
    if not line_width >= 0:
        raise ValueError(f"The line width is {line_width}. It must not be negative; 0 fits it to the picture.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is {threshold}. It must lie in 0 to 1.")
    line_width = line_width or max(LEAST_AUTOMATIC, AUTOMATIC * min(picture.shape[:2]))
    darkness = np.maximum(-flow_difference(picture, line_width) - threshold, 0)
    white = np.clip(np.percentile(darkness, STRONG_PERCENTILE), *RANGE)
    return without_specks(np.minimum(darkness / white, 1).astype(np.float32), SPECK * line_width**2)
