"""The whitening and colouring transform: the covariance of the result is that of the reference."""

import pytest
import torch

from delta.statistics.wct import wct


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(batch: int, channels: int, *size: int, seed: int = 1) -> torch.Tensor:
    """[B, C, T, H, W] with correlations and a mean, other ones for each seed."""
    mix = random(channels, channels, seed=seed + 100)
    values = torch.einsum("dc,bcthw->bdthw", mix, random(batch, channels, *size, seed=seed))
    return values + random(channels, 1, 1, 1, seed=seed + 200)


def moments(clip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = clip.double().movedim(1, 0).flatten(1)
    return rows.mean(1), torch.cov(rows, correction=0)


def assert_moments(result: torch.Tensor, reference: torch.Tensor) -> None:
    for found, wanted in zip(moments(result), moments(reference)):
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_wct_by_hand():
    # Uncorrelated channels of deviations 1 and 2; the reference has 3 and 1, so the factors are 3 and a half.
    content = torch.tensor([[1.0, 1.0, -1.0, -1.0], [2.0, -2.0, 2.0, -2.0]]).reshape(1, 2, 1, 2, 2)
    reference = torch.tensor([[3.0, 3.0, -3.0, -3.0], [1.0, -1.0, 1.0, -1.0]]).reshape(1, 2, 1, 1, 4) + 7
    expected = torch.tensor([[3.0, 3.0, -3.0, -3.0], [1.0, -1.0, 1.0, -1.0]]).reshape(1, 2, 1, 2, 2) + 7
    torch.testing.assert_close(wct(content, reference), expected)


@pytest.mark.parametrize("channels", [3, 4, 16, 128])
def test_mean_and_covariance_become_those_of_the_reference(channels: int):
    content, reference = correlated(2, channels, 1, 24, 20), correlated(2, channels, 3, 16, 18, seed=2)
    result = wct(content, reference)
    for index in range(2):
        assert_moments(result[index : index + 1], reference[index : index + 1])
    assert_moments(wct(content, reference[:1])[1:], reference[:1])


def test_the_reference_itself_changes_nothing():
    content = correlated(1, 4, 1, 16, 16)
    torch.testing.assert_close(wct(content, content), content, rtol=1e-4, atol=1e-4)


def test_frames_are_pooled_or_matched_one_by_one():
    content, reference = correlated(1, 4, 3, 12, 12), correlated(1, 4, 3, 10, 14, seed=2)
    content[:, :, 1] *= 3
    assert_moments(wct(content, reference), reference)
    each = wct(content, reference, per_frame=True)
    for frame in range(3):
        assert_moments(each[:, :, frame : frame + 1], reference[:, :, frame : frame + 1])
    whole = wct(content, reference[:, :, :2], per_frame=True)
    assert_moments(whole[:, :, 1:2], reference[:, :, :2])


@pytest.mark.parametrize("per_frame", [False, True])
def test_the_statistics_of_the_content_come_from_inside_the_mask(per_frame: bool):
    content, reference = correlated(1, 4, 2, 8, 20), correlated(1, 4, 1, 16, 16, seed=2)
    content[..., 10:] *= 5
    mask = torch.zeros(1, 1, 1, 8, 20)
    mask[..., :10] = 1
    result = wct(content, reference, mask, per_frame=per_frame)[..., :10]
    assert_moments(result[:, :, :1] if per_frame else result, reference)


def test_a_mask_without_white_gives_finite_numbers():
    assert torch.isfinite(
        wct(correlated(1, 4, 1, 8, 8), correlated(1, 4, 1, 8, 8, seed=2), torch.zeros(1, 1, 1, 8, 8))
    ).all()


def test_fewer_positions_than_channels():
    content, reference = correlated(1, 32, 1, 3, 4), correlated(1, 32, 1, 16, 16, seed=2)
    result = wct(content, reference)
    # 12 positions span 11 directions around their mean, none of which may exceed what the reference has at most.
    largest = torch.linalg.eigvalsh(moments(reference)[1])[-1]
    assert torch.linalg.eigvalsh(moments(result)[1])[-1] <= 1.001 * largest
    assert_moments(wct(reference, content), content)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_constant_channels_stay_constant(dtype: torch.dtype):
    content, reference = correlated(1, 4, 1, 16, 16), correlated(1, 4, 1, 16, 16, seed=2)
    content[:, 2] = 0.1
    result = wct(content.to(dtype), reference.to(dtype))
    assert torch.isfinite(result).all() and result.abs().max() < 100
    constant = torch.full_like(content, 0.1).to(dtype)
    flat = wct(constant, reference)
    torch.testing.assert_close(flat, moments(reference)[0].float()[:, None, None, None].expand_as(flat[0])[None])
    torch.testing.assert_close(wct(content, constant).to(dtype), constant)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_rounding_of_half_precision_is_no_structure(dtype: torch.dtype):
    # The third channel is the sum of the first two but for rounding.
    content, reference = correlated(1, 3, 1, 32, 32), correlated(1, 3, 1, 32, 32, seed=2)
    content[:, 2] = content[:, 0] + content[:, 1]
    exact, rounded = wct(content, reference), wct(content.to(dtype), reference)
    assert (exact - rounded).std() < 0.1 * reference.std()


def test_small_deviations_count_as_the_floor():
    content = random(1, 1, 1, 64, 64) * torch.tensor([1.0, 0.01])[:, None, None, None].expand(1, 2, 1, 1, 1)
    reference = random(1, 2, 1, 64, 64, seed=2)
    content[:, 1] = 0.01 * random(1, 1, 64, 64, seed=3)
    weak = wct(content, reference, floor=0.1)[:, 1].std()
    assert 0.09 < weak < 0.11
