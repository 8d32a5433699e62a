"""All hints: one by one as in a batch, of the picture's size, and clean on pictures whose lines are known."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label
from skimage import data

from delta.hints.batch import draw_hints
from delta.hints.canny import canny
from delta.hints.line_art import line_art
from delta.hints.opencv_canny import opencv_canny
from delta.hints.reduce import wide_gaussian
from delta.hints.resize import resize_lines, resize_nearest
from delta.hints.scribble import scribble
from delta.hints.segmentation import COLOURS, METHODS, segment
from delta.hints.soft_edge import soft_edge
from delta.hints.specks import without_specks
from delta.hints.straight_lines import straight_lines
from delta.hints.work import Work

CONTOURS = {
    "canny": canny,
    "OpenCV's canny": opencv_canny,
    "soft edge": soft_edge,
    "line art": line_art,
    "scribble": scribble,
}
LINES = CONTOURS | {"straight lines": straight_lines}
SEGMENTATIONS = {
    f"{method}, {colours}": partial(segment, method=method, colours=colours)
    for method in METHODS
    for colours in COLOURS
}
HINTS = LINES | SEGMENTATIONS
hints = pytest.mark.parametrize("draw", HINTS.values(), ids=HINTS)
lines = pytest.mark.parametrize("draw", LINES.values(), ids=LINES)
contours = pytest.mark.parametrize("draw", CONTOURS.values(), ids=CONTOURS)


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)()[None, ::2, ::2] / 255).float()


def square(size: int = 128) -> np.ndarray:
    """A dark square in the middle of a bright picture, [size, size, 3]."""
    picture = np.full((size, size, 3), 0.9, np.float32)
    picture[size // 4 : -size // 4, size // 4 : -size // 4] = 0.2
    return picture


@hints
def test_a_batch_is_drawn_one_by_one_with_progress(draw):
    images = torch.cat([photo("astronaut"), 0.3 * photo("astronaut").flip(2)])
    before, steps = images.clone(), []
    together = draw_hints(images, draw, on_step=lambda *step: steps.append(step))
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares) and 0.5 in shares and shares[-1] == 1 and torch.equal(images, before)
    assert together.shape == (2, 256, 256, 3) and together.dtype == torch.float32
    assert 0 <= together.min() and together.max() <= 1
    for index in range(2):
        assert torch.equal(together[index], draw_hints(images[index : index + 1], draw)[0])


@hints
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (5, 301), (63, 97)], ids=str)
@pytest.mark.parametrize("resolution", [0, 32])
def test_every_size_is_kept(draw, size: tuple, resolution: int):
    image = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(1))
    hint = draw_hints(image, draw, resolution, resize_lines if draw in LINES.values() else resize_nearest)
    assert hint.shape == (1, *size, 3) and torch.isfinite(hint).all()


@lines
def test_an_even_picture_is_black(draw):
    for tone in (0.0, 0.37, 1.0):
        assert not draw_hints(torch.full((1, 40, 60, 3), tone), draw).any()


@lines
def test_the_noise_of_8_bits_is_no_line(draw):
    ramp = torch.linspace(0.2, 0.8, 128).expand(1, 128, 128)[..., None].expand(-1, -1, -1, 3)
    noise = torch.randn(ramp.shape, generator=torch.Generator().manual_seed(1)) / 255
    hint = draw_hints(((ramp + noise) * 255).round() / 255, draw)
    assert (hint > 0.5).float().mean() < 0.001


@contours
def test_the_outline_of_a_square_is_closed(draw):
    """An inside is told from the outside: no path leads through the line."""
    hint = draw(square())
    regions, _ = label(hint < 0.5)
    assert regions[64, 64] and regions[0, 0] and regions[64, 64] != regions[0, 0]
    assert not hint[:20].any() and not hint[50:78, 50:78].any()
    # Only at the outline is anything drawn.
    rows, columns = np.nonzero(hint > 0.5)
    distance = np.abs(np.maximum(np.abs(rows - 63.5), np.abs(columns - 63.5)) - 32)
    assert distance.max() < 6


@contours
def test_shifting_the_picture_shifts_the_lines(draw):
    picture = np.pad(square(), ((0, 10), (0, 10), (0, 0)), mode="edge")
    moved = np.pad(square(), ((10, 0), (10, 0), (0, 0)), mode="edge")
    np.testing.assert_allclose(draw(picture)[:-10, :-10], draw(moved)[10:, 10:], rtol=0, atol=1e-3)


@hints
def test_transparency_is_dropped_and_grey_is_a_colour(draw):
    image = photo("coffee")
    with_alpha = torch.cat([image, torch.rand(*image.shape[:3], 1)], -1)
    assert torch.equal(draw_hints(with_alpha, draw), draw_hints(image, draw))
    grey = image[..., :1]
    assert torch.equal(draw_hints(grey, draw), draw_hints(grey.expand(-1, -1, -1, 3), draw))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_dtypes_and_values_outside_the_range(dtype: torch.dtype):
    image = photo("coffee").to(dtype)
    hint = draw_hints(image, canny)
    assert hint.dtype == torch.float32 and hint.any()
    bright = torch.where(image > 0.9, 7.0, image)
    assert torch.equal(draw_hints(bright, canny), draw_hints(bright.clamp(0, 1), canny))


def test_the_resolution_is_that_of_the_shorter_side_and_makes_lines_coarser():
    seen = []

    def look(picture: np.ndarray, work: Work) -> np.ndarray:
        assert work.size == (300, 451)
        seen.append(picture.shape)
        return np.zeros(picture.shape[:2], np.float32)

    assert draw_hints(torch.rand(1, 300, 451, 3), look, 100).shape == (1, 300, 451, 3)
    assert seen == [(100, 150, 3)]
    fine, coarse = (draw_hints(photo("chelsea"), canny, resolution) for resolution in (0, 75))
    count = [label(hint[0, ..., 0].numpy() > 0.5, np.ones((3, 3)))[1] for hint in (fine, coarse)]
    assert coarse.any() and count[1] < count[0] / 2


def test_segments_enlarged_from_a_lower_resolution_have_no_new_colours():
    draw = partial(segment, region_size=20, colours="distinct colours")
    hint = draw_hints(photo("coffee"), draw, 64, resize_nearest)
    small = draw_hints(photo("coffee")[:, ::3, ::3], draw)
    assert len(hint.reshape(-1, 3).unique(dim=0)) < 60 and len(small.reshape(-1, 3).unique(dim=0)) < 60


@pytest.mark.parametrize(
    ("images", "resolution", "message"),
    [
        (torch.full((1, 8, 8, 3), torch.nan), 0, "The picture holds NaN or infinite values"),
        (torch.rand(1, 8, 8, 3) / 0, 0, "The picture holds NaN or infinite values"),
        (torch.rand(8, 8, 3), 0, r"The picture has the shape \(8, 8, 3\). Connect an IMAGE"),
        (torch.rand(1, 8, 8, 2), 0, r"shape \(1, 8, 8, 2\).*1, 3 or 4 channels"),
        (torch.rand(0, 8, 8, 3), 0, "The picture is empty"),
        (255 * torch.rand(1, 8, 8, 3), 0, "The picture has values up to 25.*, most of them above 1.*Divide it by 255"),
        (torch.rand(1, 1, 100, 3), 512, "100 x 1 pixels would be longer than 16384 pixels. Set resolution to 0"),
    ],
)
def test_pictures_that_are_refused(images, resolution: int, message: str):
    with pytest.raises(ValueError, match=message):
        draw_hints(images, canny, resolution)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (partial(canny, blur=0.0), "blur is 0.0. Canny needs at least 0.5"),
        (partial(canny, thresholds=(0.3, 0.2)), "thresholds are 0.3 and 0.2. Low must not be above high"),
        (partial(canny, thresholds=(-0.1, 0.2)), "both must be between 0 and 1"),
        (partial(canny, thresholds=(0.1, 100)), "both must be between 0 and 1"),
        (partial(opencv_canny, thresholds=(0.3, 0.2)), "Low must not be above high"),
        (partial(line_art, strokes="two"), "'two'. Choose one of: automatic, one line, outlines"),
        (partial(scribble, strokes="two"), "'two'. Choose one of: automatic, one line, outlines"),
        (partial(soft_edge, blur=0.0), "blur is 0.0. It must be above 0"),
        (partial(soft_edge, texture_suppression=2.0), "texture suppression is 2.0"),
        (partial(line_art, line_width=-1.0), "line width is -1.0"),
        (partial(line_art, threshold=-1.0), "threshold is -1.0"),
        (partial(scribble, thickness=0.5), "thickness is 0.5"),
        (partial(scribble, threshold=0.0), "threshold is 0.0"),
        (partial(straight_lines, blur=0.1), "blur is 0.1"),
        (partial(straight_lines, min_length=0.0), "shortest line is 0.0"),
        (partial(straight_lines, max_gap=-1.0), "gap -1.0 percent"),
        (partial(segment, method="watershed"), "no segmentation method 'watershed'. Choose one of: SLIC, Felzenszwalb"),
        (partial(segment, colours="red"), "'red'. Choose one of: mean colour, distinct colours"),
        (partial(segment, region_size=0.0), "region size is 0.0 percent"),
    ],
)
def test_settings_that_are_refused(draw, message: str):
    with pytest.raises(ValueError, match=message):
        draw(square())


def test_line_art_finds_a_drawn_line_at_its_place_and_width():
    paper = np.ones((101, 101, 3), np.float32)
    paper[50, 10:90] = 0.1
    hint = line_art(paper, line_width=1.0)
    assert (hint[50, 12:88] == 1).all()
    assert not hint[:46].any() and not hint[55:].any()
    np.testing.assert_allclose(hint[:50], hint[51:][::-1], atol=1e-3)


def test_the_automatic_line_width_follows_the_size_of_the_picture():
    picture = photo("astronaut")
    large = torch.nn.functional.interpolate(picture.movedim(-1, 1), scale_factor=4, mode="bicubic").movedim(1, -1)
    assert np.array_equal(line_art(large[0].numpy()), line_art(large[0].numpy(), 2.0))
    assert np.array_equal(line_art(picture[0].numpy()), line_art(picture[0].numpy(), 1.0))


def test_faint_lines_need_a_lower_threshold():
    paper = np.ones((101, 101, 3), np.float32)
    paper[50, 10:90] = 0.97
    assert line_art(paper, threshold=0.001)[50, 12:88].all() and not line_art(paper, threshold=0.05).any()


def test_strokes_have_the_asked_thickness():
    paper = np.ones((151, 151, 3), np.float32)
    paper[75, 20:130] = 0
    for thickness in (1, 4, 5, 9.5):
        column = scribble(paper, thickness)[:, 75]
        assert column.sum() == pytest.approx(thickness, abs=0.51) and column[75] == 1


def test_texture_suppression_keeps_the_outline_and_removes_the_grain():
    """A form with an even edge beside dense stripes of equal contrast."""
    picture = np.full((200, 200, 3), 0.2, np.float32)
    picture[:, 120:160] = 0.8
    picture[:, 10:80:6] = picture[:, 11:80:6] = picture[:, 12:80:6] = 0.8
    kept, suppressed = (soft_edge(picture, texture_suppression=amount) for amount in (0.0, 1.0))
    assert suppressed[100, 118:122].max() > 0.9
    assert suppressed[100, 25:65].mean() < 0.65 * kept[100, 25:65].mean()


def test_straight_lines_finds_the_lines_of_a_drawing_and_only_those():
    from skimage.draw import disk, line

    picture = np.zeros((256, 256, 3), np.float32)
    rows, columns = disk((128, 128), 20)
    picture[rows, columns] = 1
    picture[20:23, 10:240] = 1
    for shift in range(3):
        rows, columns = line(60, 30 + shift, 230, 60 + shift)
        picture[rows, columns] = 1
    hint = straight_lines(picture, min_length=20)
    # Each line shows as its two edges.
    assert hint[18:25, 30:220].max(0).all() and hint[70:220, 28:66].max(1).all()
    assert not hint[100:156, 100:156].any()


def test_straight_lines_are_the_same_every_time():
    picture = photo("astronaut")[0].numpy()
    assert np.array_equal(straight_lines(picture), straight_lines(picture))


@pytest.mark.parametrize("method", METHODS)
def test_regions_are_flat_and_have_their_mean_colour(method: str):
    picture = np.zeros((60, 80, 3), np.float32)
    picture[:, :40], picture[:, 40:] = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)
    hint = segment(picture, method, 50)
    np.testing.assert_allclose(hint, picture, atol=1e-5)
    distinct = segment(picture, method, 50, "distinct colours")
    left, right = ({tuple(colour) for colour in half.reshape(-1, 3).tolist()} for half in np.split(distinct, 2, 1))
    assert left and right and not left & right


@pytest.mark.parametrize("method", METHODS)
def test_smaller_regions_are_more_and_no_two_share_a_colour(method: str):
    picture = photo("astronaut")[0].numpy()
    counts = [
        len(np.unique((segment(picture, method, size, "distinct colours") * 255).reshape(-1, 3), axis=0))
        for size in (40, 15, 4)
    ]
    assert 1 < counts[0] < counts[1] < counts[2]


def test_specks_go_and_lines_stay():
    lines = np.zeros((20, 20), np.float32)
    lines[5, 2:18], lines[12, 12], lines[15, 3] = 0.7, 1, 0.01
    cleaned = without_specks(lines, 10)
    expected = lines.copy()
    expected[12, 12] = 0
    assert np.array_equal(cleaned, expected)


def test_a_wide_gaussian_is_that_of_scipy():
    tone = (data.coffee()[..., 0] / 255).astype(np.float32)
    error = np.abs(wide_gaussian(tone, 30.0, 8.0) - gaussian_filter(tone, 30.0, mode="nearest"))
    assert error.mean() < 0.002 and error.max() < 0.03
    assert np.array_equal(wide_gaussian(tone, 7.0, 8.0), gaussian_filter(tone, 7.0, mode="nearest"))
