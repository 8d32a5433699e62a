"""Canny edges as OpenCV finds them, pixel for pixel: the hints that most canny ControlNets are used with."""

from __future__ import annotations

import numpy as np

from .canny import check_thresholds, connected
from .gradient import with_margin
from .resize import resize_edges
from .work import ALONE, Work

# What ControlNet's own annotator, controlnet_aux, the ComfyUI pack of that name and the extension for the web UI call:
# cv2.Canny(picture of 8 bits in colours, 100, 200), without a blur. Thresholds are in thousands here.
THRESHOLDS = (0.1, 0.2)
THOUSAND = 1000
# The tangent of 22.5 degrees in 1/32768, which tells the eight directions apart.
SHIFT, TANGENT = 15, 13573


def opencv_canny(picture: np.ndarray, thresholds: tuple[float, float] | None = None, work: Work = ALONE) -> np.ndarray:
    """White edges on black: picture [H, W, 3] in 0..1 -> [H, W] or `work.size` of 0 and 1, float32.

    thresholds: OpenCV's low and high in thousands, for the sum of the two derivatives of a picture of 8 bits, of which a
    hard vertical step from black to white has 1020; None is 0.1 and 0.2. Equal to cv2.Canny(picture, 100, 200) of OpenCV
    4.10 and 5.0, where the picture is cut to 8 bits as ComfyUI saves it. Raises ValueError for thresholds out of range or
    order.

    Source: Canny, PAMI 1986; the choices of OpenCV's documentation: Sobel filters of 3 x 3, at each pixel the channel of
    the largest |dx| + |dy|, four directions, hysteresis over eight neighbours.
    """
    check_thresholds(thresholds)
    low, high = (round(THOUSAND * threshold) for threshold in thresholds or THRESHOLDS)
    strength, is_ridge = np.empty(picture.shape[:2], np.int16), np.empty(picture.shape[:2], bool)
    for rows in work.bands(len(picture)):
        down, right = _derivatives(picture, rows)
        size = np.abs(down) + np.abs(right)
        # Beyond the border there is no gradient that one inside could be weaker than.
        size[:, 0] = size[:, -1] = 0
        if rows.start == 0:
            size[0] = 0
        if rows.stop == len(picture):
            size[-1] = 0
        strength[rows], is_ridge[rows] = size[1:-1, 1:-1], _ridges(down, right, size)
    edges = connected(is_ridge & (strength > low), is_ridge & (strength > high))
    return resize_edges(edges.astype(np.float32), *(work.size or edges.shape))


def _derivatives(picture: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Sobel derivatives (down, right) of the strongest channel, with one more pixel on every side, of 32 bits."""
    found = None
    for channel in range(3):
        plane = (with_margin(picture[..., channel], rows, 2) * np.float32(255)).astype(np.uint8).astype(np.int32)
        across = plane[:, :-2] + 2 * plane[:, 1:-1] + plane[:, 2:]
        along = plane[:-2] + 2 * plane[1:-1] + plane[2:]
        new = (across[2:] - across[:-2], along[:, 2:] - along[:, :-2])
        if found is None:
            found = new
        else:
            is_stronger = np.abs(new[0]) + np.abs(new[1]) > np.abs(found[0]) + np.abs(found[1])
            found = tuple(np.where(is_stronger, new, found))
    return found


def _ridges(down: np.ndarray, right: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Where the gradient, with one more pixel on every side, is strongest along its direction: [H, W] of bool."""
    here = size[1:-1, 1:-1]
    dy, dx = down[1:-1, 1:-1], right[1:-1, 1:-1]
    rise, limit = np.abs(dy) << SHIFT, np.abs(dx) * TANGENT
    is_flat, is_steep = rise < limit, rise > limit + (np.abs(dx) << (SHIFT + 1))
    flat = (here > size[1:-1, :-2]) & (here >= size[1:-1, 2:])
    steep = (here > size[:-2, 1:-1]) & (here >= size[2:, 1:-1])
    falling = (here > size[:-2, :-2]) & (here > size[2:, 2:])
    rising = (here > size[:-2, 2:]) & (here > size[2:, :-2])
    diagonal = np.where((dx ^ dy) < 0, rising, falling)
    return np.where(is_flat, flat, np.where(is_steep, steep, diagonal))
