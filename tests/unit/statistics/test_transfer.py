"""Around AdaIN and WCT: shapes, masks, amounts and refusals, for latents and for pictures."""

from functools import partial

import pytest
import torch
from skimage import data

from delta.statistics.adain import adain, statistics
from delta.statistics.colour import srgb_to_oklab
from delta.statistics.transfer import EIGHT_BITS, transfer_colours, transfer_latent
from delta.statistics.wct import wct

METHODS = {"adain": adain, "wct": wct}
COLOUR_METHODS = {name: partial(method, floor=EIGHT_BITS) for name, method in METHODS.items()}
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
colour_methods = pytest.mark.parametrize("method", COLOUR_METHODS.values(), ids=COLOUR_METHODS)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latents(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A content of this shape and a reference with another mean and spread."""
    return random(*shape), 3 * random(*shape, seed=2) + 5


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)()[None, ::4, ::4] / 255).float()


def test_the_amount_is_a_line_through_content_and_result():
    content, reference = latents(2, 4, 8, 8)
    full = transfer_latent(content, reference, adain)
    torch.testing.assert_close(statistics(full, (2, 3)), statistics(reference, (2, 3)), rtol=1e-5, atol=1e-5)
    for amount in (-0.5, 0.25, 1.5):
        expected = content + amount * (full - content)
        torch.testing.assert_close(transfer_latent(content, reference, adain, amount), expected, rtol=1e-5, atol=1e-5)


@methods
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_amount_0_is_the_content_bit_for_bit_in_its_dtype(method, dtype: torch.dtype):
    content, reference = (latent.to(dtype) for latent in latents(1, 4, 8, 8))
    same = transfer_latent(content, reference, method, 0.0)
    assert torch.equal(same, content) and same.data_ptr() != content.data_ptr()
    assert transfer_latent(content, reference, method).dtype == dtype


@methods
def test_the_inputs_stay_as_they_are(method):
    inputs = [*latents(1, 4, 3, 8, 8), torch.rand(5, 20, 20)]
    before = [values.clone() for values in inputs]
    transfer_latent(inputs[0], inputs[1], method, mask=inputs[2])
    assert all(torch.equal(values, old) for values, old in zip(inputs, before))


@methods
@pytest.mark.parametrize(
    ("content", "reference"),
    [
        ((1, 4, 8, 8), (1, 4, 5, 13)),
        ((3, 4, 8, 8), (1, 4, 16, 8)),
        ((3, 4, 8, 8), (3, 4, 16, 8)),
        ((1, 16, 5, 8, 8), (1, 16, 2, 4, 6)),
        ((2, 16, 5, 8, 8), (1, 16, 6, 8)),
        ((1, 16, 8, 8), (1, 16, 1, 6, 8)),
    ],
    ids=str,
)
def test_references_of_other_sizes(method, content: tuple, reference: tuple):
    reference = 3 * random(*reference, seed=2) + 5
    result = transfer_latent(random(*content), reference, method)
    assert result.shape == content
    found, wanted = (values.transpose(0, 1).flatten(1) for values in (result, reference))
    torch.testing.assert_close(found.mean(1), wanted.mean(1), rtol=0, atol=1e-4)


def test_a_batch_is_matched_one_by_one():
    content, reference = latents(2, 4, 8, 8)
    reference[1] *= 4
    both = transfer_latent(content, reference, adain)
    for index in range(2):
        alone = transfer_latent(content[index : index + 1], reference[index : index + 1], adain)
        torch.testing.assert_close(both[index : index + 1], alone)


@methods
def test_a_mask_of_another_size_is_resized_and_keeps_what_is_black(method):
    content, reference = latents(2, 4, 8, 16)
    mask = torch.zeros(1, 64, 128)
    mask[..., :64] = 1
    result = transfer_latent(content, reference, method, mask=mask)
    assert torch.equal(result[..., 9:], content[..., 9:])
    alone = transfer_latent(content[..., :8], reference, method)
    torch.testing.assert_close(result[..., :7], alone[..., :7], rtol=0, atol=0.5)
    assert torch.equal(transfer_latent(content, reference, method, mask=torch.zeros(8, 16)), content)


def test_a_grey_mask_mixes():
    content, reference = latents(1, 4, 8, 8)
    grey = transfer_latent(content, reference, adain, mask=torch.full((1, 8, 8), 0.25))
    torch.testing.assert_close(grey, transfer_latent(content, reference, adain, 0.25))


def test_a_mask_for_each_latent_or_over_the_frames():
    content, reference = latents(2, 4, 8, 8)
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    result = transfer_latent(content, reference, adain, mask=masks)
    assert torch.equal(result[0], content[0]) and not torch.equal(result[1], content[1])
    clip, reference = latents(1, 4, 5, 8, 8)
    # 17 frames of the video are 5 of the latent: the last two fifths change.
    over_time = (torch.arange(17) >= 10).float()[:, None, None].expand(17, 32, 32)
    result = transfer_latent(clip, reference, adain, mask=over_time)
    assert torch.equal(result[:, :, :2], clip[:, :, :2])
    assert ((result - clip)[:, :, 3:].abs() > 0.01).all(dim=1).float().mean() > 0.9


@methods
def test_constant_latents_give_no_nan(method):
    content, constant = random(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.3)
    for pair in ((content, constant), (constant, content), (constant, constant)):
        assert torch.isfinite(transfer_latent(*pair, method)).all()


class Packed:
    is_nested = True


@pytest.mark.parametrize(
    ("content", "reference", "mask", "message"),
    [
        (random(1, 4, 8, 8), random(1, 16, 8, 8), None, "has 4 channels and the reference latent 16.*same VAE"),
        (random(3, 4, 8, 8), random(2, 4, 8, 8), None, "2 references for 3 latents. Give one"),
        (random(1, 64, 8), random(1, 64, 8), None, r"latent has the shape \(1, 64, 8\)"),
        (random(1, 4, 8, 8), random(4, 8, 8), None, r"reference latent has the shape \(4, 8, 8\)"),
        (Packed(), random(1, 4, 8, 8), None, "latent holds several streams, such as video and sound. Separate them"),
        (random(1, 4, 0, 8), random(1, 4, 8, 8), None, "latent is empty"),
        (random(1, 4, 8, 8) / 0, random(1, 4, 8, 8), None, "The latent holds NaN or infinite values"),
        (random(1, 4, 8, 8), torch.full((1, 4, 8, 8), torch.nan), None, "The reference latent holds NaN"),
        (random(1, 4, 8, 8), random(1, 4, 8, 8), torch.full((8, 8), torch.nan), "The mask holds NaN"),
        (random(3, 4, 8, 8), random(1, 4, 8, 8), torch.ones(2, 8, 8), "2 masks for a batch of 3. Give one"),
    ],
)
def test_latents_that_are_refused(content, reference, mask, message: str):
    with pytest.raises(ValueError, match=message):
        transfer_latent(content, reference, adain, mask=mask)


@colour_methods
def test_a_photo_takes_the_colours_of_another(method):
    content, reference = photo("astronaut"), photo("chelsea")
    before = content.clone()
    result = transfer_colours(content, reference, method)
    assert result.shape == content.shape and torch.equal(content, before)
    found, wanted = (statistics(srgb_to_oklab(pictures), (1, 2)) for pictures in (result, reference))
    # No colour of this result lies outside sRGB, where it would be clamped.
    assert 0 < result.min() and result.max() < 1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_the_correlations_of_colours_come_only_by_wct():
    content, reference = photo("astronaut"), photo("chelsea")

    def covariance(pictures: torch.Tensor) -> torch.Tensor:
        return torch.cov(srgb_to_oklab(pictures).reshape(-1, 3).T.double())

    wanted = covariance(reference)
    distances = {
        name: (covariance(transfer_colours(content, reference, method)) - wanted).norm() / wanted.norm()
        for name, method in COLOUR_METHODS.items()
    }
    assert distances["wct"] < 1e-3 < 0.02 < distances["adain"]


@colour_methods
def test_the_rounding_of_an_almost_grey_photo_does_not_become_colour(method):
    reference = photo("coffee")
    grey = photo("astronaut").mean(-1, keepdim=True) * torch.tensor([1.0, 0.99, 0.97])
    exact, rounded = (
        srgb_to_oklab(transfer_colours(content, reference, method)) for content in (grey, (grey * 255).round() / 255)
    )
    assert (exact - rounded)[..., 1:].std() < 0.2 * srgb_to_oklab(reference)[..., 1:].std()
    without_floor = srgb_to_oklab(transfer_colours((grey * 255).round() / 255, reference, method.func))
    assert (rounded - without_floor)[..., 1:].std() > 0.5 * srgb_to_oklab(reference)[..., 1:].std()


@colour_methods
def test_pixels_outside_the_mask_and_transparency_stay_bit_for_bit(method):
    content = torch.cat([photo("astronaut"), torch.rand(1, 128, 128, 1)], -1)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :20] = 1
    result = transfer_colours(content, photo("coffee"), method, mask=mask)
    assert torch.equal(result[:, :, 42:], content[:, :, 42:]) and torch.equal(result[..., 3], content[..., 3])
    assert (result - content)[:, :, :38, :3].abs().mean() > 0.02
    assert torch.equal(transfer_colours(content, photo("coffee"), method, 0.0), content)


def test_pictures_of_a_batch_are_matched_one_by_one_with_progress():
    content = torch.cat([photo("astronaut"), photo("astronaut") * 0.3])
    reference = torch.cat([photo("astronaut") * 0.5, photo("astronaut") ** 2])
    steps = []
    both = transfer_colours(content, reference, COLOUR_METHODS["wct"], on_step=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    for index in range(2):
        one = slice(index, index + 1)
        assert torch.equal(both[one], transfer_colours(content[one], reference[one], COLOUR_METHODS["wct"]))


@pytest.mark.parametrize(
    ("content", "reference", "mask", "message"),
    [
        (torch.rand(1, 8, 8, 1), torch.rand(1, 8, 8, 3), None, r"picture has the shape \(1, 8, 8, 1\)"),
        (torch.rand(1, 8, 8, 3), torch.rand(8, 8, 3), None, r"reference picture has the shape \(8, 8, 3\)"),
        (torch.rand(3, 8, 8, 3), torch.rand(2, 8, 8, 3), None, "2 references for 3 pictures"),
        (torch.full((1, 8, 8, 3), torch.nan), torch.rand(1, 8, 8, 3), None, "The picture holds NaN"),
        (torch.rand(3, 8, 8, 3), torch.rand(1, 8, 8, 3), torch.ones(2, 8, 8), "2 masks for a batch of 3"),
    ],
)
def test_pictures_that_are_refused(content, reference, mask, message: str):
    with pytest.raises(ValueError, match=message):
        transfer_colours(content, reference, adain, mask=mask)
