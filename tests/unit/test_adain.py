"""AdaIN against numbers computed by hand and by brute force."""

import pytest
import torch

from delta.adain import match, statistics


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
