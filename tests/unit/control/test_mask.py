"""Masks over the outputs of control nets: maps of features, tokens, odd sizes, batches, frames and other aspects."""

import pytest
import torch

from delta.control.mask import EffectMask, crop_box, pad_box, resize_mask

HALVES = torch.cat([torch.ones(1, 64, 32), torch.zeros(1, 64, 32)], dim=2)


def effect(masks: torch.Tensor, latent: tuple = (1, 8, 8), fit: str = "crop") -> EffectMask:
    return EffectMask(masks, fit, latent)


def test_maps_of_every_level_get_the_mask():
    mask = effect(HALVES)
    for side in (8, 4, 2):
        level = mask.like(torch.zeros(3, 5, side, side), 3, 1)
        assert level.shape == (1, 1, side, side)
        assert (level[..., : side // 2] == 1).all() and (level[..., side // 2 :] == 0).all()


def test_areas_of_1_stay_exactly_1_at_every_size():
    mask = effect(torch.ones(1, 77, 51), (1, 13, 9), "stretch")
    for size in ((13, 9), (7, 5), (4, 3), (1, 1)):
        assert (mask.like(torch.zeros(1, 1, *size), 1, 1) == 1).all()
    assert (mask.like(torch.zeros(1, 7 * 5, 8), 1, 1) == 1).all()


def test_tokens_stand_in_rows_and_odd_latents_are_padded_at_the_end():
    columns = torch.zeros(1, 70, 90)
    columns[..., 80:] = 1
    level = effect(columns, (1, 7, 9), "stretch").like(torch.zeros(2, 4 * 5, 6), 2, 1)
    assert level.shape == (1, 20, 1)
    # The last column of the latent is white; its token is made of it and of padding.
    assert torch.equal(level.reshape(4, 5), torch.tensor([0.0, 0, 0, 0, 1]).expand(4, 5))


def test_one_mask_for_each_picture_of_every_conditioning():
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    level = effect(masks).like(torch.zeros(6, 4, 8, 8), 6, 2)
    assert level.amax((1, 2, 3)).tolist() == [0, 1, 0, 0, 1, 0]
    level = effect(masks).like(torch.zeros(4, 16, 3), 4, 2)
    assert level.amax((1, 2)).tolist() == [0, 1, 0, 1]


def test_one_mask_for_each_frame_of_a_video_of_tokens():
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8), torch.full((8, 8), 0.5)])
    level = effect(masks, (3, 8, 8)).like(torch.zeros(2, 3 * 16, 4), 2, 2)
    assert level.shape == (1, 48, 1) and level.reshape(3, 16).mean(1).tolist() == [0, 1, 0.5]
    level = effect(masks[1:2], (3, 8, 8)).like(torch.zeros(2, 48, 4), 2, 2)
    assert (level == 1).all()


def test_a_mask_of_another_aspect_is_fitted_as_the_hint_is():
    wide = torch.cat([torch.zeros(1, 8, 4), torch.ones(1, 8, 8), torch.zeros(1, 8, 4)], dim=2)
    output = torch.zeros(1, 1, 8, 8)
    assert (effect(wide, fit="crop").like(output, 1, 1) == 1).all()
    stretched = effect(wide, fit="stretch").like(output, 1, 1)[0, 0, 0]
    assert stretched.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    padded = effect(wide, fit="pad").like(output, 1, 1)[0, 0]
    assert padded[:2].sum() == 0 and padded[6:].sum() == 0 and padded[3].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    high = wide.transpose(1, 2)
    assert torch.equal(effect(high, fit="pad").like(output, 1, 1)[0, 0], padded.T)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 500)])
def test_masks_of_any_size_are_taken(fit, size):
    level = effect(torch.ones(1, *size), fit=fit).like(torch.zeros(1, 2, 8, 8), 1, 1)
    assert level.shape == (1, 1, 8, 8) and 0 < level.max() <= 1


def test_cropping_takes_one_pixel_and_refuses_to_leave_nothing():
    assert (effect(torch.ones(1, 1, 1)).like(torch.zeros(1, 2, 8, 8), 1, 1) == 1).all()
    for size in ((1, 40), (40, 1)):
        with pytest.raises(ValueError, match="cannot be cropped .* Set fit to pad or stretch"):
            effect(torch.ones(1, *size))


def test_a_larger_mask_is_smooth_and_within_its_range():
    level = resize_mask(HALVES[:, None, ::8, ::8], 64, 64)
    assert level.min() == 0 and level.max() == 1 and len(level.unique()) > 2


def test_other_outputs_and_other_masks_are_refused():
    with pytest.raises(ValueError, match="15 tokens for a latent of 1 x 8 x 8"):
        effect(HALVES).like(torch.zeros(1, 15, 2), 1, 1)
    with pytest.raises(ValueError, match="cannot be laid over"):
        effect(HALVES).like(torch.zeros(1, 15), 1, 1)


def test_boxes():
    assert crop_box(200, 100, 1.0) == (50, 0, 100, 100) and crop_box(100, 200, 2.0) == (0, 75, 100, 50)
    assert pad_box(200, 100, 64, 64) == (0, 16, 64, 32) and pad_box(1, 500, 64, 64) == (31, 0, 1, 64)
