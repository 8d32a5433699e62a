"""Where hints draw a known edge, in every resolution, colour and width, and that working in bands changes nothing."""

import numpy as np
import pytest
import torch
from scipy.ndimage import label, map_coordinates, maximum_filter
from skimage import data
from skimage.draw import disk

from delta.hints.batch import draw_hints
from delta.hints.canny import canny
from delta.hints.flow import flow_difference
from delta.hints.line_art import line_art
from delta.hints.opencv_canny import opencv_canny
from delta.hints.scribble import scribble
from delta.hints.soft_edge import soft_edge
from delta.hints.specks import without_specks
from delta.hints.straight_lines import straight_lines
from delta.hints.work import Work

DRAWERS = {
    "canny": canny,
    "OpenCV's canny": opencv_canny,
    "soft edge": soft_edge,
    "line art": line_art,
    "scribble": scribble,
    "straight lines": straight_lines,
}
drawers = pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
RESOLUTIONS = (0, 64, 128, 150, 192, 384, 512)
SIZE = 256


def coloured(tones: np.ndarray) -> np.ndarray:
    return np.repeat(tones[..., None], 3, axis=2).astype(np.float32)


def batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture)[None]


def bar(angle: float, half: float) -> np.ndarray:
    """A white bar through the middle on black, with the steps of its pixels."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    turn = np.deg2rad(angle)
    along = columns * np.cos(turn) + rows * np.sin(turn)
    across = rows * np.cos(turn) - columns * np.sin(turn)
    return coloured((np.abs(along) < 0.4 * SIZE) & (np.abs(across) < half))


def covered(hint: np.ndarray, angle: float, half: float) -> float:
    """Which share of the two long sides of the bar has a line within 2 pixels; the worse of both."""
    turn, near = np.deg2rad(angle), maximum_filter(hint, 5)
    along = np.linspace(-0.38 * SIZE, 0.38 * SIZE, 400)
    middle = (SIZE - 1) / 2
    shares = []
    for across in (-half, half):
        rows = middle + along * np.sin(turn) + across * np.cos(turn)
        columns = middle + along * np.cos(turn) - across * np.sin(turn)
        shares.append((map_coordinates(near, [rows, columns], order=0) > 0.4).mean())
    return min(shares)


def lines_across(hint: np.ndarray) -> int:
    """How many lines are met from the top to the bottom of a hint."""
    return int((np.diff((hint[:, hint.shape[1] // 2] > 0.5).astype(int), prepend=0) == 1).sum())


@drawers
@pytest.mark.parametrize("size", [(300, 211), (211, 300)], ids=str)
def test_working_in_bands_changes_nothing(draw, size: tuple):
    picture = (data.coffee()[: size[0], : size[1]] / 255).astype(np.float32)
    whole = draw(picture, work=Work(rows=1000))
    assert whole.any()
    for rows in (1, 37) if draw in (canny, opencv_canny) else (37, 128):
        assert np.array_equal(draw(picture, work=Work(rows=rows)), whole)


@drawers
def test_cancel_is_obeyed_inside_a_picture(draw):
    steps = []

    def cancel(done: int, total: int) -> None:
        steps.append((done, total))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        draw_hints(torch.rand(1, 300, 80, 3), draw, on_step=cancel)
    assert len(steps) == 1 and steps[0][0] < steps[0][1]


@drawers
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_drawn_line_stays_at_its_place(draw, resolution: int):
    """Within a pixel of the resolution that is computed at, and at least within one of the picture."""
    paper = np.ones((SIZE, SIZE), np.float32)
    paper[:, 125:128] = 0
    hint = draw_hints(batch(coloured(paper)), draw, resolution)[0, SIZE // 2, :, 0].numpy()
    centre = (hint * np.arange(SIZE)).sum() / hint.sum()
    working = SIZE / resolution if 0 < resolution < SIZE else 1
    assert abs(centre - 126) <= (1 if draw is scribble else 0.6 * working + 0.4)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_scribbles_of_an_edge_stay_at_their_place(resolution: int):
    """The stroke lies on the dark side, further off by as much as forms are coarser."""
    picture = np.full((SIZE, SIZE), 0.8, np.float32)
    picture[:, :125] = 0.2
    hint = draw_hints(batch(coloured(picture)), scribble, resolution)[0, SIZE // 2, :, 0].numpy()
    centre = (hint * np.arange(SIZE)).sum() / hint.sum()
    form = max(0.7 * SIZE / (resolution or SIZE), SIZE / 300)
    assert 124.5 - 3 * form - 1 <= centre <= 124.5


@pytest.mark.parametrize("draw", [canny, opencv_canny])
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_canny_is_black_and_white_in_every_resolution(draw, resolution: int):
    photo = batch((data.astronaut()[::2, ::2] / 255).astype(np.float32))
    hint = draw_hints(photo, draw, resolution)[0, ..., 0]
    assert hint.unique().tolist() == [0, 1]
    # Lines of 1 pixel: few blocks of 2 by 2 are filled, only where lines meet.
    full = hint[:-1, :-1] * hint[1:, :-1] * hint[:-1, 1:] * hint[1:, 1:]
    assert full.sum() < 0.2 * hint.sum() if resolution > SIZE else full.sum() < 0.02 * hint.sum()


@pytest.mark.parametrize("angle", [3, 7, 20, 77])
def test_a_straight_bar_is_whole_in_every_resolution(angle: float):
    picture = batch(bar(angle, 10))
    own = draw_hints(picture, straight_lines, grows=False)[0, ..., 0].numpy()
    assert covered(own, angle, 10) > 0.95
    for resolution in (384, 1024, 4096):
        assert np.array_equal(draw_hints(picture, straight_lines, resolution, grows=False)[0, ..., 0].numpy(), own)
    assert covered(draw_hints(picture, straight_lines, 128)[0, ..., 0].numpy(), angle, 10) > 0.85


@pytest.mark.parametrize("hues", [((200, 60, 60), (60, 131, 61)), ((40, 40, 240), (150, 58, 52))], ids=["red", "blue"])
@drawers
def test_an_edge_between_hues_of_equal_lightness_is_drawn_once(draw, hues: tuple):
    inside, outside = (np.array(hue, np.float32) / 255 for hue in hues)
    luma = np.array([0.299, 0.587, 0.114])
    outside[1] += (inside - outside) @ luma / luma[1]
    assert abs((inside - outside) @ luma) < 1e-6
    picture = np.tile(outside, (SIZE, SIZE, 1)).astype(np.float32)
    if draw is straight_lines:
        picture[60:200, 60:200] = inside
    else:
        picture[disk((128, 128), 60)] = inside
    hint = draw(picture)
    regions = label(hint < 0.5)[0]
    if draw is straight_lines:
        assert (hint.max(0)[66:194] > 0.5).all() and (hint.max(1)[66:194] > 0.5).all()
    else:
        assert regions.max() == 2 and regions[128, 128] != regions[0, 0]
        assert lines_across(hint) == 2


@pytest.mark.parametrize("width", [1, 2, 4, 6, 8, 12, 20, 32, 48])
@pytest.mark.parametrize("draw", [line_art, scribble], ids=["line art", "scribble"])
@pytest.mark.parametrize("white", [False, True], ids=["black on white", "white on black"])
def test_a_stroke_of_any_width_is_one_line(draw, width: int, white: bool):
    paper = np.ones((SIZE, SIZE), np.float32)
    paper[120 : 120 + width, 20:236] = 0
    hint = draw(coloured(1 - paper if white else paper), white_lines=white)
    assert lines_across(hint) == 1
    centre = (hint[:, 128] * np.arange(SIZE)).sum() / hint[:, 128].sum()
    assert centre == pytest.approx(120 + (width - 1) / 2, abs=1)
    # It is as long as the stroke, but for the ends, where a middle begins half a width later.
    ends = np.nonzero(hint.max(0) > 0.5)[0][[0, -1]]
    assert abs(ends[0] - 20) < 7 + width / 2 and abs(ends[1] - 235) < 7 + width / 2


@pytest.mark.parametrize("draw", [line_art, scribble], ids=["line art", "scribble"])
def test_outlines_of_strokes_and_areas_are_drawn_when_asked_for(draw):
    paper = np.ones((SIZE, SIZE), np.float32)
    paper[120:136, 20:236] = 0
    assert lines_across(draw(coloured(paper), strokes="outlines")) == 2
    area = np.ones((SIZE, SIZE), np.float32)
    area[disk((128, 128), 40)] = 0
    assert lines_across(draw(coloured(area))) == 2
    # With little ground it is no drawing, unless one is told so; the edge of the area is one more line.
    area = paper.copy()
    area[:100] = 0.1
    assert lines_across(draw(coloured(area))) == 3 and lines_across(draw(coloured(area), strokes="one line")) == 2
    # Paper in uneven light.
    light = np.linspace(0.6, 1, SIZE)[None] * np.linspace(0.8, 1, SIZE)[:, None]
    assert lines_across(draw(coloured(paper * light), strokes="one line")) == 1


@pytest.mark.parametrize("draw", [line_art, scribble], ids=["line art", "scribble"])
def test_the_lines_of_a_photo_are_no_strokes(draw):
    photo = (data.coffee()[:256, :256] / 255).astype(np.float32)
    assert np.array_equal(draw(photo), draw(photo, strokes="outlines"))


def test_white_lines_are_those_of_the_negative():
    photo = (data.astronaut()[:256, :256] / 255).astype(np.float32)
    for draw in (line_art, scribble):
        assert np.array_equal(draw(photo, white_lines=True), draw(1 - photo))


def test_coarse_lines_are_found_in_a_smaller_picture():
    """A line width of 4 is computed at half the size; at the full one the lines are the same, but for sampling noise."""
    photo = (data.astronaut() / 255).astype(np.float32)
    hint = line_art(photo, 4.0, strokes="outlines")
    darkness = np.maximum(-flow_difference(photo, 4.0) - 0.01, 0)
    full = np.minimum(darkness / np.clip(np.percentile(darkness, 98), 0.012, 0.035), 1)
    full = without_specks(full, 40 * 4.0**2)
    assert np.corrcoef(hint.ravel(), full.ravel())[0, 1] > 0.94
