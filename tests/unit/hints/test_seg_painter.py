"""The segmentation painter: the published colours, exactly, and nothing in between."""

import pytest
import torch

from delta.hints.ade20k import ADE20K_COLOURS
from delta.hints.seg_painter import UNLABELLED, paint_class


def left_half(height: int = 6, width: int = 8) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def bytes_of(picture: torch.Tensor) -> torch.Tensor:
    """8 bits as the host's Save Image makes them, which cuts off instead of rounding."""
    return (picture.numpy() * 255.0).clip(0, 255).astype("uint8")


def test_the_palette_is_the_published_one():
    assert len(ADE20K_COLOURS) == 150
    names = list(ADE20K_COLOURS)
    known = {0: "wall", 1: "building", 2: "sky", 3: "floor", 4: "tree", 12: "person", 75: "swivel chair", 149: "flag"}
    assert {index: names[index] for index in known} == known
    for name, colour in {
        "wall": (120, 120, 120),
        "building": (180, 120, 120),
        "sky": (6, 230, 230),
        "floor": (80, 50, 50),
        "tree": (4, 200, 3),
        "person": (150, 5, 61),
        "grass": (4, 250, 7),
        "swimming pool": (0, 184, 255),
        "flag": (92, 0, 255),
    }.items():
        assert ADE20K_COLOURS[name] == colour
    assert all(0 <= value <= 255 for colour in ADE20K_COLOURS.values() for value in colour)


def test_only_road_and_skyscraper_share_a_colour():
    names: dict[tuple, list[str]] = {}
    for name, colour in ADE20K_COLOURS.items():
        names.setdefault(colour, []).append(name)
    assert [group for group in names.values() if len(group) > 1] == [["road", "skyscraper"]]
    assert (0, 0, 0) not in names


@pytest.mark.parametrize("name", ADE20K_COLOURS)
def test_the_colour_is_exact_after_saving(name: str):
    painted = paint_class(torch.ones(1, 2, 2), name)
    assert tuple(bytes_of(painted)[0, 0, 0]) == ADE20K_COLOURS[name]


def test_a_chain_of_masks_and_a_background():
    sky = paint_class(left_half(), "sky", background="wall")
    assert sky.shape == (1, 6, 8, 3)
    top = torch.zeros(1, 6, 8)
    top[:, :3] = 1
    result = bytes_of(paint_class(top, "tree", previous=sky))[0]
    assert tuple(result[0, 0]) == tuple(result[0, 7]) == ADE20K_COLOURS["tree"]
    assert tuple(result[5, 0]) == ADE20K_COLOURS["sky"] and tuple(result[5, 7]) == ADE20K_COLOURS["wall"]
    assert not paint_class(left_half(), "sky", background=UNLABELLED)[0, :, 4:].any()


def test_masks_are_cut_at_half_and_resized_without_blending():
    grey = torch.tensor([[0.0, 0.5, 0.50001, 1.0]])
    assert paint_class(grey, "sky")[0, 0, :, 1].gt(0).tolist() == [False, False, True, True]
    soft = torch.rand(1, 37, 53, generator=torch.Generator().manual_seed(1))
    painted = paint_class(soft, "sky", width=200, height=90, background="tree")
    assert painted.shape == (1, 90, 200, 3) and len(painted.reshape(-1, 3).unique(dim=0)) == 2


def test_the_size_is_that_of_the_mask_unless_given():
    assert paint_class(left_half(), "sky", width=16).shape == (1, 6, 16, 3)
    previous = torch.zeros(1, 20, 30, 3)
    assert paint_class(left_half(), "sky", previous, width=5, height=5).shape == (1, 20, 30, 3)


def test_batches_of_masks_and_maps_with_progress():
    masks = torch.stack([torch.zeros(6, 8), torch.ones(6, 8)])
    steps = []
    painted = paint_class(masks, "sky", on_step=lambda *step: steps.append(step))
    assert painted.shape == (2, 6, 8, 3) and not painted[0].any() and painted[1].all()
    assert steps == [(1, 2), (2, 2)]
    maps = paint_class(masks, "tree")
    before = maps.clone()
    both = paint_class(left_half(), "sky", maps)
    assert torch.equal(maps, before) and both.shape == (2, 6, 8, 3)
    assert torch.equal(both[0, :, :4], both[1, :, :4]) and not torch.equal(both[0, :, 4:], both[1, :, 4:])
    assert torch.equal(paint_class(masks, "sky", maps)[1], painted[1])


def test_a_map_with_transparency_or_of_one_channel():
    assert paint_class(left_half(), "sky", torch.zeros(1, 6, 8, 4)).shape == (1, 6, 8, 3)
    assert paint_class(left_half(), "sky", torch.zeros(1, 6, 8, 1)).shape == (1, 6, 8, 3)
    assert paint_class(torch.ones(6, 8), "sky").shape == (1, 6, 8, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((left_half(), "dragon"), "no class 'dragon'. Choose one of: wall, building"),
        ((left_half(), "sky", None, 0, 0, "dragon"), "no class 'dragon'"),
        ((left_half() / 0, "sky"), "The mask holds NaN"),
        ((torch.zeros(0, 6, 8), "sky"), "The mask is empty"),
        ((left_half(), "sky", torch.full((1, 6, 8, 3), torch.nan)), "The previous map holds NaN"),
        ((left_half(), "sky", torch.zeros(6, 8, 3)), "The previous map has the shape"),
        ((torch.ones(2, 6, 8), "sky", torch.zeros(3, 6, 8, 3)), "2 masks for a batch of 3"),
    ],
)
def test_what_is_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        paint_class(*arguments)
