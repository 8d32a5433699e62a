"""Straight lines, much as the M-LSD detector draws them for rooms and buildings: by the Hough transform."""

from __future__ import annotations

import numpy as np

from .canny import canny
from .tone import grey

# The transform picks edge pixels at random. A fixed seed gives the same lines for the same picture.
SEED = 0
# Votes that a line needs, as a share of its shortest length.
VOTES = 0.4
MIN_VOTES = 5
# Lines are looked for in sectors of direction, in degrees, among the edges whose own direction is that of the sector,
# give or take the tolerance. So no line is laid across the edges of dense texture.
SECTOR = 15
TOLERANCE = 6
ANGLE_STEP = 1


def straight_lines(picture: np.ndarray, blur: float = 1.5, min_length: float = 6.0, max_gap: float = 1.5) -> np.ndarray:
    """White straight lines on black: picture [H, W, 3] in 0..1 -> [H, W] in 0..1, float32.

    blur: that of the Canny edges that the lines are found in, in pixels, from 0.5. min_length: of a line, and max_gap:
    within one, both in percent of the shorter side. Raises ValueError for values out of range.

    Source: Galamhos, Matas and Kittler, "Progressive Probabilistic Hough Transform for Line Detection", CVPR 1999.
    """
    from skimage.transform import probabilistic_hough_line

    if not min_length > 0 or not max_gap >= 0:
        raise ValueError(
            f"The shortest line is {min_length} and the largest gap {max_gap} percent. "
            "The length must be above 0 and the gap not negative."
        )
    side = min(picture.shape[:2])
    length = max(2, round(min_length / 100 * side))
    edges, normal = canny(picture, blur) > 0, _normal(picture, blur)
    lines = []
    for start in range(0, 180, SECTOR):
        # The distance of two undirected angles, at most 90 degrees.
        off_centre = np.abs((normal - start - SECTOR / 2 + 90) % 180 - 90)
        lines += probabilistic_hough_line(
            edges & (off_centre < SECTOR / 2 + TOLERANCE),
            threshold=max(MIN_VOTES, round(VOTES * length)),
            line_length=length,
            line_gap=max(1, round(max_gap / 100 * side)),
            theta=np.deg2rad(np.arange(start, start + SECTOR, ANGLE_STEP)),
            rng=SEED,
        )
    return _draw(lines, edges.shape)


def _normal(picture: np.ndarray, blur: float) -> np.ndarray:
    """The direction of the gradient in degrees, [H, W]."""
    from scipy.ndimage import gaussian_filter, sobel

    smooth = gaussian_filter(grey(picture), blur, mode="nearest")
    return np.rad2deg(np.arctan2(sobel(smooth, 0), sobel(smooth, 1)))


def _draw(lines: list, shape: tuple[int, int]) -> np.ndarray:
    """Smooth white lines between pairs of points (x, y) on black."""
    from skimage.draw import line_aa

    canvas = np.zeros(shape, np.float32)
    for (x0, y0), (x1, y1) in lines:
        rows, columns, values = line_aa(y0, x0, y1, x1)
        # The soft rim of a line along the border lies outside.
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        rows, columns = rows[inside], columns[inside]
        canvas[rows, columns] = np.maximum(canvas[rows, columns], values[inside])
    return canvas
