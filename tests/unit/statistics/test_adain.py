"""AdaIN against numbers computed by hand and by brute force."""

import pytest
import torch

from delta.statistics.adain import FLATTEST, adain, match, statistics


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_statistics_by_hand():
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 10.0]]]])
    mean, std = statistics(features, (2, 3))
    assert mean.flatten().tolist() == [2.0, 6.0] and std.flatten().tolist() == [1.0, 4.0]
    assert mean.shape == std.shape == (1, 2, 1, 1)


def test_statistics_weighted_by_a_mask():
    features = torch.tensor([[[[1.0, 5.0, 100.0]]]])
    mean, std = statistics(features, (2, 3), torch.tensor([[[[0.75, 0.25, 0.0]]]]))
    assert mean.item() == 2.0 and std.item() == pytest.approx(3**0.5)


def test_statistics_of_an_empty_mask_are_zero():
    mean, std = statistics(random(1, 2, 4, 4), (2, 3), torch.zeros(1, 1, 4, 4))
    assert not mean.any() and not std.any()


def test_statistics_of_half_precision_are_float32():
    # The sum of squares is beyond the largest float16.
    features = torch.tensor([300.0, -300.0], dtype=torch.float16).expand(1, 1, 64, 2)
    mean, std = statistics(features, (2, 3))
    assert mean.dtype == std.dtype == torch.float32
    assert mean.item() == 0 and std.item() == 300


def test_match_by_hand():
    features = torch.tensor([[[1.0, 3.0]]])
    matched = match(features, torch.tensor(2.0), torch.tensor(1.0), torch.tensor(5.0), torch.tensor(3.0))
    assert matched.tolist() == [[[2.0, 8.0]]]


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_constant_channel_is_only_shifted(value: float, dtype: torch.dtype):
    features = torch.full((1, 1, 37, 53), value).to(dtype)
    matched = match(features, *statistics(features, (2, 3)), torch.tensor(5.0), torch.tensor(3.0))
    assert matched.dtype == dtype
    torch.testing.assert_close(matched, torch.full_like(matched, 5.0), rtol=0, atol=1e-3)


def clip(*shape: int, seed: int = 1) -> torch.Tensor:
    """[B, C, T, H, W] whose channels have different means and spreads."""
    channels = torch.arange(1.0, shape[1] + 1)[:, None, None, None]
    return channels * random(*shape, seed=seed) + 3 * channels


def assert_statistics(result: torch.Tensor, reference: torch.Tensor, dims: tuple[int, ...]) -> None:
    for found, wanted in zip(statistics(result, dims), statistics(reference, dims)):
        torch.testing.assert_close(found, wanted.expand_as(found), rtol=1e-5, atol=1e-5)


def test_adain_by_hand():
    content = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 1, 2)
    reference = torch.tensor([2.0, 8.0, 2.0, 8.0]).reshape(1, 1, 1, 2, 2)
    assert adain(content, reference).flatten().tolist() == [2.0, 8.0]


def test_adain_takes_the_statistics_of_each_reference():
    content, reference = clip(2, 4, 1, 12, 9), clip(2, 4, 1, 7, 20, seed=2) * 2 - 5
    assert_statistics(adain(content, reference), reference, (2, 3, 4))
    assert_statistics(adain(content, reference[:1]), reference[:1], (2, 3, 4))


def test_frames_are_pooled_or_matched_one_by_one():
    content, reference = clip(1, 2, 3, 8, 8), clip(1, 2, 3, 5, 6, seed=2)
    content[:, :, 1] += 4
    pooled = adain(content, reference)
    assert_statistics(pooled, reference, (2, 3, 4))
    # One change for all frames leaves the second one brighter.
    assert (pooled[:, :, 1].mean((2, 3)) > pooled[:, :, 0].mean((2, 3)) + 1).all()
    assert_statistics(adain(content, reference, per_frame=True), reference, (3, 4))


def test_frames_meet_the_whole_of_a_reference_with_other_frames():
    content, reference = clip(1, 2, 3, 8, 8), clip(1, 2, 2, 5, 6, seed=2)
    result = adain(content, reference, per_frame=True)
    for frame in range(3):
        assert_statistics(result[:, :, frame : frame + 1], reference, (2, 3, 4))


def test_the_statistics_of_the_content_come_from_inside_the_mask():
    content, reference = clip(1, 2, 1, 6, 8), clip(1, 2, 1, 6, 8, seed=2)
    mask = torch.zeros(1, 1, 1, 6, 8)
    mask[..., :3] = 1
    assert_statistics(adain(content, reference, mask)[..., :3], reference, (2, 3, 4))


def brute_force(plane: torch.Tensor, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every window of a reflected plane [H, W]."""
    padded = torch.nn.functional.pad(plane[None, None], [window // 2] * 4, mode="reflect")[0, 0]
    windows = padded.unfold(0, window, 1).unfold(1, window, 1)
    return windows.mean((2, 3)), windows.std((2, 3), correction=0)


@pytest.mark.parametrize("window", [3, 7])
def test_a_window_against_brute_force(window: int):
    content, reference = clip(1, 1, 1, 9, 11), clip(1, 1, 1, 9, 11, seed=2) * 2 + 40
    mean, std = brute_force(content[0, 0, 0], window)
    to_mean, to_std = brute_force(reference[0, 0, 0], window)
    assert std.min() > FLATTEST * content.std()
    expected = (content[0, 0, 0] - mean) / std * to_std + to_mean
    torch.testing.assert_close(adain(content, reference, window=window)[0, 0, 0], expected, rtol=1e-4, atol=1e-4)


def test_a_window_of_a_reference_of_another_size_is_resized():
    # Dark on the left and bright on the right, in whichever size.
    reference = torch.tensor([0.0, 10.0]).repeat_interleave(8).expand(1, 2, 1, 10, 16) + 0.1 * clip(1, 2, 1, 10, 16)
    result = adain(clip(1, 2, 1, 24, 40), reference, window=5)
    left, right = result[..., :10].mean((2, 3, 4)), result[..., -10:].mean((2, 3, 4))
    assert ((right - left - 10).abs() < 1).all()


def test_a_window_over_all_frames_is_that_of_the_pooled_frames():
    content, reference = clip(1, 2, 1, 9, 9), clip(1, 2, 1, 9, 9, seed=2)
    once = adain(content, reference, window=3)
    thrice = adain(content.expand(-1, -1, 3, -1, -1), reference.expand(-1, -1, 2, -1, -1), window=3)
    torch.testing.assert_close(thrice, once.expand_as(thrice))
    each = adain(torch.cat([content, content + 5], 2), reference, window=3, per_frame=True)
    torch.testing.assert_close(each, once.expand_as(each), rtol=1e-4, atol=1e-4)


def test_a_flat_window_does_not_blow_up_noise():
    content, reference = clip(1, 1, 1, 32, 32), clip(1, 1, 1, 32, 32, seed=2)
    content[..., :16] = 3 + 1e-4 * random(1, 1, 1, 32, 16)
    flat = adain(content, reference, window=5)[..., 3:10]
    to_mean, _ = brute_force(reference[0, 0, 0], 5)
    assert (flat - to_mean[..., 3:10]).abs().max() < 0.02


def test_a_window_looks_only_inside_the_mask():
    content, reference = clip(1, 1, 1, 9, 12), clip(1, 1, 1, 9, 12, seed=2)
    mask = torch.zeros(1, 1, 1, 9, 12)
    mask[..., :6] = 1
    other = content.clone()
    other[..., 6:] = 1000
    inside, unseen = (adain(values, reference, mask, window=5)[..., :6] for values in (content, other))
    torch.testing.assert_close(inside, unseen)


@pytest.mark.parametrize("window", [0, 5])
def test_constant_latents_give_no_nan(window: int):
    constant, reference = torch.full((1, 2, 1, 8, 8), 0.1), clip(1, 2, 1, 8, 8)
    both = torch.cat([constant[:, :1], reference[:, :1]], 1)
    for content in (constant, both):
        assert torch.isfinite(adain(content, reference, window=window)).all()
    flat = adain(reference, constant, window=window)
    torch.testing.assert_close(flat, constant, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (8, "A window of 8 has no centre"),
        (1, "A window of 1 has no centre"),
        (17, "too wide for the reference latent of 12x8 positions. Use at most 15"),
        (41, "too wide for the latent of 30x20 positions. Use at most 39"),
    ],
)
def test_windows_that_cannot_be(window: int, message: str):
    with pytest.raises(ValueError, match=message):
        adain(clip(1, 2, 1, 20, 30), clip(1, 2, 1, 8, 12), window=window)
