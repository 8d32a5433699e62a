"""Canny edges: closed contours of even width, with thresholds that fit the picture."""

from __future__ import annotations

import numpy as np

from .gradient import colour_gradient
from .resize import resize_edges
from .work import ALONE, Work

MIN_BLUR = 0.5
# The automatic thresholds never fall below these, so that noise in an even picture is no edge.
LEAST_HIGH = 0.06
LOW_PER_HIGH = 0.5


def canny(
    picture: np.ndarray, blur: float = 1.0, thresholds: tuple[float, float] | None = None, work: Work = ALONE
) -> np.ndarray:
    """White edges of 1 pixel on black: picture [H, W, 3] in 0..1 -> [H, W] or `work.size` of 0 and 1, float32.

    blur: standard deviation of the Gaussian in pixels, from 0.5. thresholds: low and high, 0..1, where 1 is the gradient
    of a hard step from black to white; None chooses them from the picture. The gradient is that of the strongest of the
    three colours, so that an edge between two hues of equal lightness is one. Edges run on to the border of the picture.
    Raises ValueError for a smaller blur and for thresholds out of range or order.

    Source: Canny, "A Computational Approach to Edge Detection", PAMI 1986. Automatic thresholds: Fang, Yue and Yu, "The
    Study on An Application of Otsu Method in Canny Operator", 2009.
    """
    if not blur >= MIN_BLUR:
        raise ValueError(f"The blur is {blur}. Canny needs at least {MIN_BLUR}: without blur, edges come out double.")
    check_thresholds(thresholds)
    strength, is_ridge = np.empty(picture.shape[:2], np.float32), np.empty(picture.shape[:2], bool)
    least = LEAST_HIGH * LOW_PER_HIGH if thresholds is None else thresholds[0]
    for rows in work.bands(len(picture)):
        down, right, size = colour_gradient(picture, blur, rows)
        strength[rows], is_ridge[rows] = size[1:-1, 1:-1], _ridges(down, right, size, least)
    low, high = thresholds or automatic_thresholds(strength)
    edges = connected(is_ridge & (strength >= low), is_ridge & (strength >= high))
    return resize_edges(edges.astype(np.float32), *(work.size or edges.shape))


def automatic_thresholds(strength: np.ndarray) -> tuple[float, float]:
    """Low and high for gradients [H, W]: high by Otsu's method, low is half of it."""
    from skimage.filters import threshold_otsu

    # Even areas say nothing about edges, and would pull the threshold down to their noise.
    strength = strength[strength > LEAST_HIGH * LOW_PER_HIGH]
    high = float(threshold_otsu(strength)) if strength.size and np.ptp(strength) > 0 else 0.0
    high = max(high, LEAST_HIGH)
    return high * LOW_PER_HIGH, high


def connected(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """The pieces of weak [H, W] that hold something strong; pixels that touch at a corner are connected."""
    from scipy.ndimage import label

    pieces, count = label(weak, structure=np.ones((3, 3)))
    is_kept = np.zeros(count + 1, bool)
    is_kept[pieces[strong & weak]] = True
    return is_kept[pieces]


def check_thresholds(thresholds: tuple[float, float] | None) -> None:
    """Raise ValueError unless 0 <= low <= high <= 1."""
    if thresholds is not None and not 0 <= thresholds[0] <= thresholds[1] <= 1:
        raise ValueError(
            f"The thresholds are {thresholds[0]} and {thresholds[1]}. Low must not be above high, and both must be "
            "between 0 and 1."
        )


def _ridges(down: np.ndarray, right: np.ndarray, size: np.ndarray, least: float) -> np.ndarray:
    """Where the gradient, with one more pixel on every side, is strongest along its own direction: [H, W] of bool."""
    inner = size[1:-1, 1:-1]
    rows, columns = np.nonzero((inner >= least) & (inner > 0))
    ridges = np.zeros(inner.shape, bool)
    here = (rows + 1, columns + 1)
    dy, dx = down[here], right[here]
    is_steep = np.abs(dy) > np.abs(dx)
    slant = np.minimum(np.abs(dy), np.abs(dx)) / np.maximum(np.abs(dy), np.abs(dx))
    step_y, step_x = np.where(dy < 0, -1, 1), np.where(dx < 0, -1, 1)

    def beside(sense: int) -> np.ndarray:
        """The strength one step along the direction, between the neighbour straight on and the one at the corner."""
        straight = size[here[0] + sense * step_y * is_steep, here[1] + sense * step_x * ~is_steep]
        corner = size[here[0] + sense * step_y, here[1] + sense * step_x]
        return straight * (1 - slant) + corner * slant

    ridges[rows, columns] = (size[here] >= beside(1)) & (size[here] >= beside(-1))
    return ridges
