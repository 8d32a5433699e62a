"""Straight lines, much as the M-LSD detector draws them for rooms and buildings: by the Hough transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .canny import canny
from .gradient import colour_gradient
from .work import ALONE, Work

# The transform picks edge pixels at random. A fixed seed gives the same lines for the same picture.
SEED = 0
# Votes that a line needs, as a share of its shortest length.
VOTES = 0.4
MIN_VOTES = 5
# Lines are looked for in sectors of direction, in degrees, among the edges whose own direction is that of the sector,
# give or take the tolerance. So no line is laid across the edges of dense texture.
SECTOR = 15
TOLERANCE = 6
ANGLE_STEP = 0.5


def straight_lines(
    picture: np.ndarray, blur: float = 1.5, min_length: float = 6.0, max_gap: float = 1.5, work: Work = ALONE
) -> np.ndarray:
    """White straight lines on black: picture [H, W, 3] in 0..1 -> [H, W] or `work.size` in 0..1, float32.

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
    edges = canny(picture, blur, work=replace(work.part(0, 3), size=None)) > 0
    normal = _normal(picture, blur, work.part(1, 3))
    lines, found = [], work.part(2, 3)
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
        found.on_step(start + SECTOR, 180)
    return _draw(lines, edges.shape, work.size or edges.shape)


def _normal(picture: np.ndarray, blur: float, work: Work) -> np.ndarray:
    """The direction of the gradient in degrees, [H, W]."""
    normal = np.empty(picture.shape[:2], np.float32)
    for rows in work.bands(len(picture)):
        down, right, _ = colour_gradient(picture, blur, rows)
        normal[rows] = np.rad2deg(np.arctan2(down, right))[1:-1, 1:-1]
    return normal


def _draw(lines: list, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Smooth white lines on black, [H, W] of the new size, between pairs of points (x, y) of a picture of the old size."""
    from skimage.draw import line_aa

    canvas = np.zeros(new, np.float32)
    # Sizes are (height, width), points (x, y); pixels have their positions at their centres.
    scale = np.divide(new, old)[::-1]
    for ends in lines:
        (x0, y0), (x1, y1) = np.rint((np.array(ends) + 0.5) * scale - 0.5).astype(int).tolist()
        rows, columns, values = line_aa(y0, x0, y1, x1)
        # The soft rim of a line along the border lies outside.
        inside = (rows >= 0) & (rows < new[0]) & (columns >= 0) & (columns < new[1])
        rows, columns = rows[inside], columns[inside]
        canvas[rows, columns] = np.maximum(canvas[rows, columns], values[inside])
    return canvas
