"""Resizing hints: lines stay whole, flat colours pure, and the rest is averaged."""

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from skimage import data
from skimage.draw import circle_perimeter, disk, line

from delta.hints.ade20k import ADE20K_COLOURS
from delta.hints.canny import canny
from delta.hints.resize import resize_hint, resize_lines, resize_nearest
from delta.hints.soft_edge import soft_edge

DIAGONALS = np.ones((3, 3))


def drawing(size: int = 1024) -> torch.Tensor:
    """White lines of 1 pixel on black in four directions, none touching another, [1, 3, size, size]."""
    canvas = np.zeros((size, size), np.float32)
    for ends in ((40, 30, 40, 980), (80, 20, 980, 20), (100, 60, 860, 460), (990, 60, 900, 1000)):
        rows, columns = line(*(end * size // 1024 for end in ends))
        canvas[rows, columns] = 1
    rows, columns = circle_perimeter(400 * size // 1024, 700 * size // 1024, 200 * size // 1024)
    canvas[rows, columns] = 1
    return torch.from_numpy(canvas)[None, None].expand(-1, 3, -1, -1)


def pieces(hint: torch.Tensor) -> int:
    return label(hint[0, 0].numpy() > 0.5, DIAGONALS)[1]


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)() / 255).float().movedim(-1, 0)[None]


@pytest.mark.parametrize("paper", ["black", "white"])
@pytest.mark.parametrize("size", [(256, 256), (768, 768), (700, 333), (64, 64)], ids=str)
def test_thin_lines_survive_down_and_up_again(size: tuple, paper: str):
    lines = drawing()
    shown = lines if paper == "black" else 1 - lines
    small = resize_hint(shown, *size)
    back = resize_hint(small, 1024, 1024)
    small, back = (small, back) if paper == "black" else (1 - small, 1 - back)
    assert pieces(lines) == pieces(small) == pieces(back) == 5
    assert small.shape == (1, 3, *size) and set(small.unique().tolist()) == {0, 1}
    # Every pixel of the old lines lies on the new lines, or a cell beside them.
    cell = max(1024 // size[0], 1024 // size[1]) + 1
    near = torch.nn.functional.max_pool2d(back, 2 * cell + 1, 1, cell)
    assert (near[lines > 0] > 0.9).all()


def test_lines_of_1_pixel_stay_1_pixel_wide():
    lines = torch.zeros(1, 1, 1024, 1024)
    lines[:, :, 511] = lines[:, :, :, 300] = 1
    small = resize_hint(lines, 768, 700)
    assert (small[0, 0].sum(0) == 1).sum() == 699 and (small[0, 0].sum(1) == 1).sum() == 767


def test_an_average_would_lose_them():
    small = torch.nn.functional.interpolate(drawing(), (256, 256), mode="area")
    assert small.max() < 0.7


def test_the_circle_stays_closed():
    small = resize_hint(drawing(), 200, 200)[0, 0].numpy()
    outside = label(small < 0.5)[0]
    assert outside[78, 136] and outside[78, 136] != outside[0, 0]


def test_lines_that_grow_are_smooth_and_keep_their_strength():
    large = resize_hint(drawing(256), 1024, 1024)
    grey = ((large > 0.05) & (large < 0.95)).float().mean()
    assert grey < (large >= 0.95).float().mean() and large.max() == 1 and large.min() == 0
    assert pieces(large) == 5


def test_the_same_size_is_the_same_tensor():
    for hint in (drawing(), photo("coffee")):
        assert resize_hint(hint, *hint.shape[2:]) is hint
    array = np.random.default_rng(1).random((8, 9, 3), np.float32)
    assert np.array_equal(resize_lines(array, 8, 9), array)


def test_the_colours_of_a_skeleton_stay_pure():
    canvas = torch.zeros(1, 3, 512, 512)
    rows, columns = line(20, 20, 480, 300)
    canvas[0, :, rows, columns] = torch.tensor([1.0, 0.0, 0.0])[:, None]
    rows, columns = line(20, 300, 480, 20)
    canvas[0, :, rows, columns] = torch.tensor([0.0, 0.5, 1.0])[:, None]
    small = resize_hint(canvas, 100, 128)
    assert small[0].flatten(1).T.unique(dim=0).tolist() == [[0, 0, 0], [0, 0.5, 1], [1, 0, 0]]


def test_a_batch_is_decided_one_by_one():
    both = torch.cat([drawing()[..., :512, :512], photo("astronaut"), 1 - drawing()[..., :512, :512]])
    together = resize_hint(both, 300, 200)
    for index in range(3):
        assert torch.equal(together[index : index + 1], resize_hint(both[index : index + 1], 300, 200))


@pytest.mark.parametrize("size", [(200, 300), (150, 150), (512, 777), (100, 900)], ids=str)
def test_photos_and_depth_maps_are_averaged(size: tuple):
    depth = torch.linspace(0, 1, 400)[:, None].expand(1, 3, -1, 600).clone()
    rows, columns = disk((200, 300), 120)
    depth[:, :, rows, columns] = 0.9
    for hint in (photo("coffee"), depth):
        resized = resize_hint(hint, *size)
        assert resized.shape == (1, 3, *size)
        reference = torch.nn.functional.interpolate(hint, size, mode="bilinear", antialias=True)
        assert (resized - reference).abs().mean() < 0.02 and abs(resized.mean() - hint.mean()) < 0.005


def test_masks_and_depth_on_black_are_no_lines():
    mask = torch.zeros(1, 1, 400, 400)
    rows, columns = disk((200, 200), 130)
    mask[:, :, rows, columns] = 1
    small = resize_hint(mask, 77, 77)
    assert small.mean() == pytest.approx(mask.mean().item(), abs=1e-3)


def test_real_hints_count_as_lines():
    """Brighter than an average by far, because thin lines keep their peak."""
    picture = (data.astronaut() / 255).astype(np.float32)
    for draw in (canny, soft_edge):
        hint = torch.from_numpy(draw(picture))[None, None]
        small, averaged = resize_hint(hint, 128, 128), torch.nn.functional.adaptive_avg_pool2d(hint, 128)
        assert small.mean() > 1.5 * averaged.mean()


@pytest.mark.parametrize("size", [(100, 130), (700, 900)], ids=str)
def test_segmentation_maps_get_no_new_colours(size: tuple):
    colours = torch.tensor(list(ADE20K_COLOURS.values()))[:12] / 255
    index = torch.randint(12, (1, 8, 8), generator=torch.Generator().manual_seed(1))
    blocks = index.repeat_interleave(32, 1).repeat_interleave(32, 2)
    hint = colours[blocks].movedim(-1, 1)
    resized = resize_hint(hint, *size)
    known = {tuple(colour) for colour in colours.tolist()}
    assert {tuple(colour) for colour in resized[0].flatten(1).T.unique(dim=0).tolist()} <= known
    nearest = resize_nearest(hint[0].movedim(0, -1).numpy(), *size)
    assert np.array_equal(nearest, resized[0].movedim(0, -1).numpy())


def test_single_pixels():
    for size in ((1, 1), (3, 5)):
        for hint in (torch.zeros(1, 1, 1, 1), torch.ones(2, 3, 1, 1), torch.rand(1, 3, 2, 1)):
            assert resize_hint(hint, *size).shape == (*hint.shape[:2], *size)


@pytest.mark.parametrize(
    ("hint", "size", "message"),
    [
        (torch.rand(3, 8, 8), (4, 4), r"The hint has the shape \(3, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), (4, 4), "The hint has the shape"),
        (torch.rand(1, 3, 8, 8), (0, 4), "cannot be resized to 4 x 0 pixels"),
    ],
)
def test_hints_that_are_refused(hint, size: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        resize_hint(hint, *size)
