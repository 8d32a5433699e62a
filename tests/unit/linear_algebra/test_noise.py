"""The predicted rounding against numbers computed by hand and against real rounding."""

import math

import pytest
import torch

from delta.linear_algebra.noise import (
    NVFP4,
    block_rounding_variance,
    edge,
    floor,
    noise_floor,
    rounding_variance,
    signal_to_noise,
    stored_variance,
)
from delta.linear_algebra.svd import compress


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kind", "values", "steps"),
    [
        (torch.float16, [1.25, -1.5], [2**-10, 2**-10]),
        (torch.float16, [3.0, 2**-20], [2**-9, 2**-24]),
        (torch.bfloat16, [1.5, 3.0], [2**-7, 2**-6]),
        (torch.bfloat16, [-0.75, 100.0], [2**-8, 2**-1]),
        (torch.float8_e4m3fn, [1.25, -448.0, 2**-6, 2**-8], [2**-3, 2**5, 2**-9, 2**-9]),
        (torch.float8_e5m2, [1.25, 5.0, 2**-16], [2**-2, 1.0, 2**-16]),
        (torch.float32, [1.0 + 2**-23, 5.0], [2**-23, 2**-21]),
        (torch.int8, [5.0, -100.0], [1.0, 1.0]),
    ],
    ids=str,
)
def test_rounding_by_hand(kind: torch.dtype, values: list[float], steps: list[float]) -> None:
    stored = torch.tensor(values, dtype=torch.float64).to(kind)
    expected = sum(step**2 for step in steps) / len(steps) / 12
    assert rounding_variance(stored, kind) == pytest.approx(expected, rel=1e-12)


def test_below_a_power_of_two_steps_are_half_as_wide() -> None:
    # What is stored as 1 was 1 - 1/16 to 1 + 1/8 in steps of 1/8 below and 1/4 above.
    expected = ((1 / 8) ** 3 + (1 / 16) ** 3) / 3 / (1 / 8 + 1 / 16)
    for value in (1.0, -1.0):
        assert rounding_variance(torch.tensor([value]), torch.float8_e5m2) == pytest.approx(expected)


def test_the_numbers_of_nvfp4_by_hand() -> None:
    values = torch.tensor([0.0, 0.5, 1.0, 1.5, -2.0, 3.0, 4.0, 6.0])
    errors = [0.25 / 12, 0.25 / 12, 0.25 / 12, 0.25 / 12, 1 / 16, 1 / 12, 4 / 16, 4 / 12]
    assert rounding_variance(values, NVFP4) == pytest.approx(sum(errors) / 8)


def test_the_blocks_of_nvfp4_by_hand() -> None:
    numbers = torch.tensor([6.0, -3.0, 1.0, 0.5] + 12 * [0.0])
    # The 6 is what the scale was made from.
    expected = (1**2 + 14 * 0.5**2) / 16 / 12
    weight = torch.stack([torch.cat([numbers, 4 * numbers])] * 3) / 4
    assert block_rounding_variance(weight) == pytest.approx(expected * (1 / 16 + 1) / 2)
    assert stored_variance(torch.zeros(3, 16), weight) == block_rounding_variance(weight)
    assert block_rounding_variance(torch.zeros(2, 32)) < 1e-70


def test_a_scale_of_stored_numbers_counts() -> None:
    stored = random(40, 30).to(torch.float8_e4m3fn)
    expected = rounding_variance(stored, torch.float8_e4m3fn) / 64
    assert stored_variance(stored, stored.float() / 8) == pytest.approx(expected)


def test_the_padding_of_mxfp8_and_nvfp4_does_not_count() -> None:
    stored = random(20, 40).to(torch.float8_e4m3fn)
    padded = torch.zeros(32, 64).to(torch.float8_e4m3fn)
    padded[:20, :40] = stored
    weight = stored.float() / 8
    assert stored_variance(padded, weight) == stored_variance(stored, weight)
    # Half a block at the end of a row is no more uncertain than one that is whole.
    halves = random(6, 24)
    whole, half = block_rounding_variance(halves[:, :16].clone()), block_rounding_variance(halves[:, 16:].clone())
    assert stored_variance(torch.zeros(16, 16, dtype=torch.uint8), halves) == pytest.approx((2 * whole + half) / 3)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_float32_that_holds_coarser_numbers_is_as_coarse(kind: torch.dtype) -> None:
    coarse = random(30, 20).to(kind)
    assert rounding_variance(coarse.float(), torch.float32) == rounding_variance(coarse, kind)
    finer = coarse.float() + 1e-5
    assert rounding_variance(finer, torch.float32) < 1e-6 * rounding_variance(coarse, kind)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_zeros_are_stored_as_finely_as_the_format_can(kind: torch.dtype) -> None:
    least = torch.finfo(kind).smallest_normal * torch.finfo(kind).eps
    assert rounding_variance(torch.zeros(4).to(kind), kind) == pytest.approx(least**2 / 12)


def test_types_without_known_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        rounding_variance(torch.ones(2).double(), torch.float64)


def test_the_floor_by_hand() -> None:
    assert floor(0.5, (4, 9)) == floor(0.5, (4, 1, 3, 3)) == 2.5
    values = torch.tensor([4.0, 2.6, 2.5, 1.0], dtype=torch.float64)
    assert noise_floor(2.5)(values, (4, 9)) == 2
    assert noise_floor(0.0)(values, (4, 9)) == 4


def test_the_floor_asks_for_more_only_where_all_stand_above_it() -> None:
    values = torch.tensor([4.0, 2.6], dtype=torch.float64)
    assert noise_floor(2.5)(values, (4, 9), 9.0) == 3
    assert noise_floor(3.0)(values, (4, 9), 9.0) == 1


def test_the_edge_of_even_noise_is_the_floor() -> None:
    """But for what a matrix of finite size goes beyond it, which vanishes."""
    for side, beyond in ((64, 0.05), (1000, 0.008), (20000, 0.001)):
        ends = edge(torch.full((side,), 0.25), torch.full((2 * side,), 0.25))
        assert floor(0.5, (side, 2 * side)) < ends < (1 + beyond) * floor(0.5, (side, 2 * side))
    assert edge(torch.zeros(3), torch.zeros(4)) == 0.0


@pytest.mark.parametrize("shape", [(64, 256), (320, 640), (512, 128)], ids=str)
@pytest.mark.parametrize("spread", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (1.0, 0.3)], ids=str)
def test_no_noise_goes_beyond_its_edge_and_most_comes_near(shape: tuple[int, int], spread: tuple[float, float]) -> None:
    """Of 20 matrices whose rows and columns are rounded more or less coarsely."""
    ratios = []
    for seed in range(20):
        rows, columns = (torch.exp(part * random(side, seed=100 * seed + side)) for part, side in zip(spread, shape))
        noise = 0.1 * random(*shape, seed=seed) * rows[:, None] * columns
        known = edge(0.01 * rows.square() * columns.square().mean(), 0.01 * columns.square() * rows.square().mean())
        ratios.append(float(torch.linalg.matrix_norm(noise, 2)) / known)
    assert max(ratios) < 1.1 and sorted(ratios)[10] > 0.8 and sorted(ratios)[17] < 1


def test_signal_to_noise_by_hand() -> None:
    assert signal_to_noise(4 * 9 * 0.25 + 36.0, 0.5, (4, 9)) == pytest.approx(2.0)
    assert signal_to_noise(8.0, 0.5, (4, 9)) == 0.0
    assert signal_to_noise(8.0, 0.0, (4, 9)) == math.inf


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("shape", [(256, 256), (64, 512)], ids=str)
def test_real_rounding_is_as_predicted(kind: torch.dtype, shape: tuple[int, int]) -> None:
    one, two = 0.03 * random(*shape, seed=2), 0.05 * random(*shape, seed=3)
    stored = [weight.to(kind) for weight in (one, two)]
    deviation = math.sqrt(sum(rounding_variance(weight, kind) for weight in stored))
    noise = (stored[0].double() - stored[1].double()) - (one.double() - two.double())
    assert float(noise.square().mean()) ** 0.5 == pytest.approx(deviation, rel=0.03)
    assert float(torch.linalg.matrix_norm(noise, 2)) < 1.02 * floor(deviation, shape)


def test_real_rounding_to_nvfp4_is_as_predicted() -> None:
    weight = 0.03 * random(256, 512, seed=7)
    blocks = weight.reshape(-1, 16)
    scales = blocks.abs().amax(1, keepdim=True) / 6
    scales = (scales / scales.max() * 448).to(torch.float8_e4m3fn).float() * scales.max() / 448
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    nearest = ((blocks / scales).abs()[..., None] - numbers).abs().argmin(-1)
    stored = (numbers[nearest] * blocks.sign() * scales).reshape(weight.shape)
    for dequantised in (stored, stored.bfloat16()):
        deviation = math.sqrt(block_rounding_variance(dequantised))
        noise = dequantised.double() - weight.double()
        assert float(noise.square().mean()) ** 0.5 == pytest.approx(deviation, rel=0.03)
        assert float(torch.linalg.matrix_norm(noise, 2)) < 1.02 * floor(deviation, weight.shape)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_the_floor_finds_the_directions_of_a_change_and_no_others(kind: torch.dtype) -> None:
    shape, rank = (256, 320), 5
    # Two weights that differ everywhere, so that they are rounded independently of each other.
    one, two = 0.03 * random(*shape, seed=4), 0.03 * random(*shape, seed=5)
    deviation = math.sqrt(sum(rounding_variance(weight.to(kind), kind) for weight in (one, two)))
    left, right = (torch.linalg.qr(random(size, rank, seed=6))[0] for size in shape)
    change = 2 * floor(deviation, shape) * left @ right.T
    rounding = (two.to(kind).float() - two) - (one.to(kind).float() - one)
    for start in (2, 8):
        assert compress(change + rounding, noise_floor(floor(deviation, shape)), start).low_rank.rank == rank
    assert compress(rounding, noise_floor(floor(deviation, shape))).low_rank.rank == 0
