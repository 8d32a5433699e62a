"""Wide strokes of drawings: where they are, and the one line down the middle of each."""

from __future__ import annotations

import numpy as np

from .canny import connected
from .reduce import reduced, resized, wide_gaussian
from .resize import resize_edges
from .tone import grey

# Strokes are looked for at this shorter side, at most.
SIDE = 768
# The ground of a drawing is the brightest tone in a window of this share of the shorter side, which reaches out of all that
# can be a stroke, smoothed by a Gaussian of the next share. What is darker than it by INK belongs to a stroke or area. In
# a drawing this share of all is ground: at most EVEN darker than its brightest place.
GROUND, SMOOTH, INK, EVEN, GROUND_SHARE = 1 / 2, 1 / 16, 0.2, 0.2, 0.6
# The ground is smoothed in a size where that is so many pixels.
ENOUGH = 4.0
# What is wider than this share of the shorter side is an area. So is what has less than this many squares of its width.
WIDEST, LONGER = 1 / 5, 3.0
# A branch of a middle line that is shorter than so many half widths is a corner of the rim.
SPUR = 2.0
# A stroke that is wide somewhere goes on as such down to this share of the width. Its rim is so many pixels.
NEARLY, RIM = 0.7, 2


def wide_strokes(picture: np.ndarray, least: float, on_any_ground: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """(strokes, middles) of a picture [H, W, 3] in 0..1, both [H, W] of bool, of strokes of at least `least` pixels.

    strokes: all that such a stroke covers, with its rim. middles: lines of 1 pixel down the middle of each. Strokes are
    dark on brighter ground; unless on_any_ground, only a picture of which more than 0.6 is even ground has strokes. None
    where there are none.

    Source: distance transform and thinning (Zhang and Suen, "A Fast Parallel Algorithm for Thinning Digital Patterns",
    1984), with short branches pruned by the width of the stroke.
    """
    height, width = picture.shape[:2]
    factor = max(1, min(height, width) // SIDE)
    found = _find(grey(reduced(picture, factor)).astype(np.float32), least / factor, on_any_ground)
    if found is None:
        return None
    strokes, middles = found
    if strokes.shape == (height, width):
        return found
    return resized(strokes, height, width) > 0.5, resize_edges(middles.astype(np.float32), height, width) > 0


def _find(tone: np.ndarray, least: float, on_any_ground: bool) -> tuple[np.ndarray, np.ndarray] | None:
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    side = min(tone.shape)
    ground = _ground(tone, side)
    ink = tone < ground - INK
    if not ink.any() or (not on_any_ground and (tone > ground.max() - EVEN).mean() < GROUND_SHARE):
        return None
    # The picture may cut a stroke: beyond its border the stroke goes on.
    inside = distance_transform_edt(np.pad(ink, 1, mode="edge"))[1:-1, 1:-1]
    ink &= ~_areas(ink, inside, WIDEST * side / 2)
    middles = _without_spurs(skeletonize(ink), inside)
    widths = 2 * inside
    wide = connected(middles & (widths >= NEARLY * least), middles & (widths >= least))
    if not wide.any():
        return None
    nearest = distance_transform_edt(~middles, return_distances=False, return_indices=True)
    return distance_transform_edt(~(ink & wide[tuple(nearest)])) <= RIM, wide


def _ground(tone: np.ndarray, side: int) -> np.ndarray:
    """The brightest tone around each pixel, of more than grain, smoothed."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    brightest = maximum_filter(gaussian_filter(tone, 1), max(1, round(GROUND * side)))
    return wide_gaussian(brightest, SMOOTH * side, ENOUGH)


def _areas(ink: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """What of the ink is no stroke: areas that hold a disc of this radius, and pieces about as wide as long."""
    from scipy.ndimage import distance_transform_edt, label, maximum

    areas = np.zeros_like(ink)
    if (inside > radius).any():
        areas = distance_transform_edt(inside <= radius) <= radius + 2
    pieces, count = label(ink & ~areas, structure=np.ones((3, 3)))
    widths = 2 * maximum(inside, pieces, np.arange(count + 1))
    is_compact = np.bincount(pieces.ravel(), minlength=count + 1) < LONGER * widths**2
    is_compact[0] = False
    return areas | is_compact[pieces]


def _without_spurs(middles: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Middle lines [H, W] without the branches that lead from them to a corner of the rim."""
    from scipy.ndimage import binary_dilation, convolve, label, maximum
    from skimage.morphology import skeletonize

    square = np.ones((3, 3))
    neighbours = convolve(middles.astype(np.int8), square.astype(np.int8), mode="constant") - 1
    crossings = middles & (neighbours > 2)
    near = binary_dilation(crossings, square)
    branches, count = label(middles & ~crossings, structure=square)
    every = np.arange(count + 1)
    is_spur = maximum(middles & (neighbours == 1), branches, every).astype(bool)
    is_spur &= maximum(near, branches, every).astype(bool)
    is_spur &= np.bincount(branches.ravel(), minlength=count + 1) < SPUR * maximum(inside, branches, every)
    is_spur[0] = False
    return skeletonize(middles & ~is_spur[branches])
