"""Canny: contours are closed, 1 pixel wide and symmetric, up to the border, in every contrast."""

import numpy as np
import pytest
from scipy.ndimage import convolve, label
from skimage import data

from delta.hints.canny import automatic_thresholds, canny
from delta.hints.gradient import colour_gradient

DIAGONALS = np.ones((3, 3))


def coloured(tones: np.ndarray) -> np.ndarray:
    return np.repeat(tones[..., None], 3, axis=2).astype(np.float32)


def disc(size: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return (rows**2 + columns**2 < radius**2).astype(float)


def square(size: int, side: int) -> np.ndarray:
    """A white square whose distance to the border is the same on all sides."""
    margin = (size - side) // 2
    picture = np.zeros((size, size))
    picture[margin : size - margin, margin : size - margin] = 1
    return picture


SHAPES = {
    "square 5": square(25, 5),
    "square 9": square(25, 9),
    "square 10": square(24, 10),
    "square 31": square(63, 31),
    "disc 5": disc(24, 5),
    "disc 7.5": disc(25, 7.5),
    "disc 20": disc(64, 20),
    "disc 25.3": disc(65, 25.3),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("blur", [0.5, 1.0, 1.4, 2.0])
@pytest.mark.parametrize("levels", [(0, 1), (1, 0), (0.3, 0.7)], ids=str)
def test_contours_are_closed_even_and_symmetric(shape: np.ndarray, blur: float, levels: tuple):
    dark, bright = levels
    edges = canny(coloured(dark + (bright - dark) * shape), blur)
    assert set(np.unique(edges)) == {0, 1}
    # One contour with an inside and an outside, also for a flood that may not pass diagonally.
    assert label(edges, DIAGONALS)[1] == 1 and label(edges == 0)[1] == 2
    for mirrored in (edges[::-1], edges[:, ::-1], edges.T):
        assert np.array_equal(mirrored, edges)
    # Even: nowhere is a block of 2 by 2 filled, and no pixel dangles.
    blocks = edges[:-1, :-1] + edges[1:, :-1] + edges[:-1, 1:] + edges[1:, 1:]
    assert blocks.max() < 4
    neighbours = convolve(edges, DIAGONALS, mode="constant") - edges
    assert neighbours[edges > 0].min() >= 2


def test_the_contour_of_a_square_is_the_square_itself():
    edges = canny(coloured(square(24, 10)))
    expected = square(24, 10) - square(24, 8)
    assert np.array_equal(edges, expected)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(0, 10), slice(8, 18)), (slice(0, 10), slice(0, 18)), (slice(14, 24), slice(6, 24))],
    ids=["top", "top left", "bottom right"],
)
def test_contours_reach_the_border(rows: slice, columns: slice):
    picture = np.zeros((24, 24))
    picture[rows, columns] = 1
    edges = canny(coloured(picture))
    assert label(edges == 0)[1] == 2 and label(edges, DIAGONALS)[1] == 1
    # The border of the picture itself is no edge.
    assert edges[:, 0].sum() + edges[:, -1].sum() + edges[0].sum() + edges[-1].sum() <= 4


def test_thresholds_are_in_units_of_a_hard_step():
    """Hysteresis: a step of 0.3 is found between thresholds around its gradient only."""
    picture = np.zeros((40, 40))
    picture[:, 20:] = 0.3
    smooth_step = 0.3 * 0.625  # central differences beside a step that a Gaussian of 1 pixel blurs
    assert canny(coloured(picture), 1.0, (0.5 * smooth_step, 0.95 * smooth_step)).any()
    assert not canny(coloured(picture), 1.0, (0.5 * smooth_step, 1.05 * smooth_step)).any()


def test_a_lower_low_threshold_makes_lines_longer_only():
    picture = (data.astronaut()[::2, ::2] / 255).astype(np.float32)
    short, long = canny(picture, 1.0, (0.2, 0.2)), canny(picture, 1.0, (0.05, 0.2))
    assert (long >= short).all() and long.sum() > 1.3 * short.sum()
    # Every piece holds a strong edge, if only beyond the border.
    pieces, count = label(np.pad(long, 1), DIAGONALS)
    weak = set(range(1, count + 1)) - set(pieces[np.pad(short, 1) > 0])
    inner = pieces[2:-2, 2:-2]
    assert all((inner == piece).sum() < (pieces == piece).sum() for piece in weak)


def test_automatic_thresholds_follow_the_contrast():
    picture = (data.astronaut()[::2, ::2] / 255).astype(np.float32)
    full, faint = canny(picture), canny(0.4 + 0.3 * picture)
    assert 0.01 < full.mean() < 0.2
    assert (full * faint).sum() > 0.6 * full.sum()
    strength = colour_gradient(picture, 1.0, slice(0, len(picture)))[2]
    low, high = automatic_thresholds(strength)
    # Otsu's method separates the contrasts of a photo neither at the noise nor at the strongest edge.
    assert 0.06 < 2 * low == high < 0.5 * strength.max()
