import pytest
import torch

from delta.pictures import ANY, COLOURS, check_image, check_latent, read_mask


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (torch.zeros(8, 8, 3), ANY, r"shape \(8, 8, 3\). Connect an IMAGE: .*, with 1 or more channels."),
        (torch.zeros(1, 8, 8, 2), "1, 3 or 4", "with 1, 3 or 4 channels"),
        (torch.zeros(1, 8, 8, 1), COLOURS, "with 3 or more channels"),
        (torch.zeros(1, 0, 8, 3), ANY, "A photo is empty"),
        (
            torch.full((1, 8, 8, 3), 200.0),
            ANY,
            "A photo has values up to 200, most of them above 1. .* Divide it by 255",
        ),
        (
            torch.arange(48, dtype=torch.uint8).view(1, 4, 4, 3),
            ANY,
            "A photo has values up to 47, most of them above 1",
        ),
        (255.0 * torch.eye(9)[None, ..., None], ANY, "A photo has values up to 255"),
        (torch.full((1, 8, 8, 3), torch.inf), ANY, "A photo holds NaN or infinite values. The node before it failed"),
    ],
)
def test_images_that_are_none_are_refused(image, channels, message):
    with pytest.raises(ValueError, match=message):
        check_image(image, "A photo", channels)


@pytest.mark.parametrize(("count", "channels"), [(1, "1, 3 or 4"), (4, "1, 3 or 4"), (5, COLOURS), (2, ANY)])
def test_images_are_let_through(count, channels):
    check_image(torch.zeros(2, 4, 4, count), "A photo", channels)


def test_highlights_and_rounding_are_no_bytes():
    picture = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    check_image(torch.where(picture > 0.8, 100.0, picture), "A photo")
    check_image(torch.full((1, 4, 4, 3), 1.01), "A photo")


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        (torch.zeros(1, 64, 8), r"shape \(1, 64, 8\). Connect a LATENT"),
        (torch.full((1, 4, 8, 8), torch.nan), "The latent holds NaN"),
        (torch.zeros(1, 4, 0, 8), "The latent is empty"),
        ([torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 4)], "holds several streams"),
    ],
)
def test_latents_that_are_none_are_refused(latent, message):
    with pytest.raises(ValueError, match=message):
        check_latent(latent, "The latent")


def test_a_mask_is_read_as_a_batch_in_0_to_1():
    assert read_mask(torch.tensor([[2.0, -1.0]])).tolist() == [[[1, 0]]]
    assert read_mask(torch.zeros(2, 1, 3, 4, dtype=torch.float16)).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(4), r"The mask has the shape \(4,\). Connect a MASK"),
        (torch.zeros(0, 4, 4), "The mask is empty"),
        (torch.full((1, 4, 4), torch.nan), "The mask holds NaN"),
    ],
)
def test_masks_that_are_none_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        read_mask(mask)
