"""Colours that stay, stroke size, and one look for a batch."""

import pytest
import torch
from skimage import data
from torch import Tensor

from delta.statistics.colour import srgb_to_oklab
from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled
from delta.style_network.finish import at_paint_size, back_to_size, dithered
from delta.style_network.network import Strength, StyleNetwork, stylize
from delta.style_network.params import StyleParams, extend


@pytest.fixture(scope="module")
def table() -> StyleNetwork:
    return load_bundled(TABLE_NETWORK)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(data.astronaut()[40:200, 150:350].copy()).float()[None] / 255


def pick(network: StyleNetwork, index: int) -> StyleParams:
    return extend(None, network.style(index), network.fingerprint)


def test_a_painting_in_the_photos_colours(table, photo):
    painted = stylize(table, photo, pick(table, 19))
    kept = stylize(table, photo, pick(table, 19), keep_colours=1.0)
    lab, of_painting, of_photo = srgb_to_oklab(kept), srgb_to_oklab(painted), srgb_to_oklab(photo)
    assert (lab - of_painting)[..., 0].abs().max() < 5e-3
    assert (lab - of_photo)[..., 1:].abs().mean() < 0.1 * (of_painting - of_photo)[..., 1:].abs().mean()
    half = srgb_to_oklab(stylize(table, photo, pick(table, 19), keep_colours=0.5))
    assert ((half - (lab + of_painting) / 2)[..., 1:].abs() < 0.02).float().mean() > 0.9
    assert torch.equal(stylize(table, photo, pick(table, 19), keep_colours=0.0), painted)


def test_colours_stay_within_a_mask_and_under_a_blend(table, photo):
    mask = torch.zeros(1, *photo.shape[1:3])
    mask[..., :100] = 1
    part = stylize(table, photo, pick(table, 19), mask=mask, keep_colours=1.0)
    assert torch.equal(part[:, :, 100:], photo[:, :, 100:])
    blended = stylize(table, photo, pick(table, 19), mask=mask, keep_colours=1.0, image_blend=0.5)
    assert torch.allclose(blended, (part + photo) / 2, atol=1e-6)


def test_strokes_grow_with_a_smaller_paint_size(table, photo):
    """Half the size is twice the stroke: there is less of fine detail, and the painting is that of the small picture."""

    def fine(picture: Tensor) -> float:
        return float((picture[:, 1:] - picture[:, :-1]).abs().mean())

    whole, large = (stylize(table, photo, pick(table, 5), paint_size=size) for size in (0, 100))
    assert large.shape == photo.shape and fine(large) < 0.6 * fine(whole)
    assert torch.equal(stylize(table, photo, pick(table, 5), paint_size=200), whole)
    small = at_paint_size(photo.movedim(-1, 1), 100, 8).movedim(1, -1)
    again = at_paint_size(large.movedim(-1, 1), 100, 8).movedim(1, -1)
    assert small.shape == (1, 80, 100, 3)
    assert (again - stylize(table, small, pick(table, 5))).abs().mean() < 0.05


def test_painting_larger_than_the_picture_gives_finer_strokes(table, photo):
    fine = stylize(table, photo, pick(table, 19), paint_size=400)
    assert fine.shape == photo.shape and torch.isfinite(fine).all()
    assert (fine - stylize(table, photo, pick(table, 19))).abs().mean() > 0.05


def test_a_thin_picture_is_not_made_thinner_than_the_network_can_paint(table):
    assert stylize(table, torch.rand(1, 10, 400, 3), pick(table, 5), paint_size=64).shape == (1, 10, 400, 3)


def test_bringing_back_keeps_edges_and_loses_the_grid_of_pixels():
    edge = torch.zeros(1, 3, 24, 24)
    edge[..., 12:] = 0.8
    large = back_to_size(edge, 72, 72)
    assert large[..., 32].max() < 0.05 and large[..., 39].min() > 0.75
    grid = 0.5 + 0.04 * ((torch.arange(24)[:, None] + torch.arange(24)) % 2 * 2.0 - 1).expand(1, 3, 24, 24)
    plain = torch.nn.functional.interpolate(grid, (72, 72), mode="bicubic")
    assert back_to_size(grid, 72, 72)[..., 9:-9, 9:-9].std() < 0.5 * plain[..., 9:-9, 9:-9].std()
    assert torch.equal(back_to_size(edge, 24, 24), edge)
    flat = torch.full((1, 3, 5, 7), 0.3)
    assert torch.allclose(back_to_size(flat, 9, 13), torch.full((1, 3, 9, 13), 0.3), atol=1e-4)


def test_two_styles_at_a_paint_size(table, photo):
    mask = torch.zeros(1, *photo.shape[1:3])
    mask[..., :100] = 1
    both = stylize(table, photo, pick(table, 19), mask=mask, second=pick(table, 3), paint_size=100)
    right = stylize(table, photo[:, :, 100:], pick(table, 3), paint_size=80)
    left = stylize(table, photo[:, :, :100], pick(table, 19), paint_size=80)
    assert (both[:, :, 140:] - right[:, :, 40:]).abs().mean() < 0.5 * (
        both[:, :, 40:100] - right[:, :, :60]
    ).abs().mean()
    assert (both[:, :, :60] - left[:, :, :60]).abs().mean() < 0.5 * (both[:, :, 140:] - left[:, :, 40:]).abs().mean()


def test_noise_hides_the_steps_of_8_bits_by_place_alone():
    grey = torch.full((2, 3, 64, 80), 0.5)
    noise = (dithered(grey) - grey) * 255
    assert noise.abs().max() <= 0.5 + 1e-4 and abs(noise.mean()) < 0.01 and abs(noise.std() - 12**-0.5) < 0.01
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(dithered(grey[..., :30, :40]), dithered(grey)[..., :30, :40])
    # Neither along rows or columns nor from channel to channel do neighbours tell each other.
    plane = noise[0].flatten(1)
    assert torch.corrcoef(plane).fill_diagonal_(0).abs().max() < 0.05
    for left, right in ((noise[0, :, :, 1:], noise[0, :, :, :-1]), (noise[0, :, 1:], noise[0, :, :-1])):
        assert abs(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1]) < 0.05


@pytest.mark.parametrize("style", [19, 5])
def test_noise_turns_the_stripes_of_a_sky_into_strokes(table, style):
    """Stripes are alike along each row: with the steps of 8 bits hidden, little of what changes downwards is."""
    sky = torch.tensor([0.35, 0.55, 0.80]) + torch.tensor([0.10, 0.07, 0.04]) * torch.linspace(0, 1, 240).view(
        240, 1, 1
    )
    picture = torch.from_numpy(data.rocket()[:240, 120:360].copy()).float()[None] / 255
    picture[:, :140] = (sky[:140] * 255).round() / 255

    def stripes(painted: Tensor) -> float:
        change = painted[0, 11:80] - painted[0, 10:79]
        return float(change.mean(1).square().mean() / change.square().mean())

    plain, grained = (stylize(table, picture, pick(table, style), dither=dither) for dither in (False, True))
    assert stripes(plain) > 0.9 and stripes(grained) < 0.3


def frames(photo: Tensor) -> Tensor:
    """Four frames of a still scene into which something bright comes from the left."""
    moving = photo.repeat(4, 1, 1, 1)
    for number in range(4):
        moving[number, 100:, : 20 * number] = 1.0
    return moving


def flicker(painted: Tensor) -> float:
    """How much the part of the picture that stands still changes from frame to frame, in steps of 8 bits."""
    still = painted[:, :90, 100:]
    return float((still[1:] - still[:-1]).abs().mean() * 255)


def test_one_look_for_a_batch_flickers_less(table, photo):
    apart = stylize(table, frames(photo), pick(table, 19))
    together = stylize(table, frames(photo), pick(table, 19), same_look=True)
    assert flicker(apart) > 5 and flicker(together) < 0.5 * flicker(apart)


def test_a_frame_looks_the_same_wherever_it_stands_in_its_batch(table, photo):
    order = [2, 0, 3, 1]
    together = stylize(table, frames(photo), pick(table, 19), same_look=True)
    shuffled = stylize(table, frames(photo)[order], pick(table, 19), same_look=True)
    assert (shuffled - together[order]).abs().max() < 1e-4
    apart = stylize(table, frames(photo), pick(table, 19))
    assert (apart - together).abs().max() > 0.05


def test_one_look_is_the_same_within_the_pixel_budget_and_above_it(table, photo, monkeypatch):
    monkeypatch.setattr("delta.style_network.strips.STRIP_PIXELS", 1)
    steps = []
    options = {"same_look": True, "on_step": lambda done, total: steps.append((done, total))}
    whole = stylize(table, frames(photo)[:2], pick(table, 5), **options)
    assert steps[-1][0] == steps[-1][1] == len(steps)
    lean = stylize(table, frames(photo)[:2], pick(table, 5), pixel_budget=1000, same_look=True)
    assert (lean - whole).abs().max() < 1e-4


def test_one_picture_and_equal_pictures_have_one_look_anyway(table, photo):
    alone = stylize(table, photo, pick(table, 19))
    assert torch.equal(stylize(table, photo, pick(table, 19), same_look=True), alone)
    twice = stylize(table, photo.repeat(2, 1, 1, 1), pick(table, 19), same_look=True)
    assert (twice - alone).abs().max() < 1e-4


def test_one_look_with_masks_of_which_some_are_empty(table, photo):
    masks = torch.zeros(4, *photo.shape[1:3])
    masks[1:, :, :100] = 1
    masks[3] = 1
    painted = stylize(table, frames(photo), pick(table, 19), mask=masks, same_look=True)
    assert torch.equal(painted[0], photo[0])
    assert torch.equal(painted[1, :, 100:], frames(photo)[1, :, 100:])
    both = stylize(table, frames(photo), pick(table, 19), mask=masks, second=pick(table, 3), same_look=True)
    assert torch.isfinite(both).all() and (both[0] - both[3]).abs().mean() > 0.1


def test_one_look_moves_away_from_the_style_of_the_whole_batch(photo):
    network = load_bundled(PICTURE_NETWORK)
    style = StyleParams(network.fingerprint, (network.style_from_image(photo.flip(-1), "other"),))
    pair = frames(photo)[2:]
    weak = stylize(network, pair, style, Strength(0.2), same_look=True)
    assert flicker(weak) < flicker(stylize(network, pair, style, Strength(0.2)))
