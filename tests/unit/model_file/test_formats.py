"""Formats against numbers worked out by hand, and against what torch does."""

import pytest
import torch

from delta.model_file.formats import MAIN, Plain, Rounding, Scaled, encoded, refuse_not_finite, rounding_lines

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def test_plain_numbers_are_rounded_to_the_nearest():
    # Beside 1, the steps of bfloat16 are 1/128, of e4m3 1/8.
    value = torch.tensor([1.0 + 0.6 / 128, 1.0 + 0.4 / 128])
    assert Plain(torch.bfloat16).encode(value)[MAIN].tolist() == [1 + 1 / 128, 1.0]
    assert Plain(E4M3).encode(torch.tensor([1.07, 1.05]))[MAIN].float().tolist() == [1.125, 1.0]


def test_a_scale_makes_the_largest_value_the_largest_number():
    value = torch.tensor([[8.96, -4.48], [0.0, 2.24]])
    stored = Scaled(E4M3, "weight_scale", torch.ones(1)).encode(value)
    assert stored["weight_scale"].tolist() == pytest.approx([0.02])
    assert stored[MAIN].float().tolist() == [[448.0, -224.0], [0.0, 112.0]]
    assert torch.allclose(Scaled(E4M3, "weight_scale", torch.ones(1)).decode(stored), value)


def test_scales_of_rows_are_kept_apart_and_in_their_shape():
    value = torch.tensor([[44.8, 0.0], [0.0, 0.0], [0.448, -0.448]])
    stored = Scaled(E4M3, "weight_scale", torch.ones(3, 1)).encode(value)
    assert stored["weight_scale"].shape == (3, 1)
    assert stored["weight_scale"].flatten().tolist() == pytest.approx([0.1, 1.0, 0.001])
    assert stored[MAIN].float().tolist() == [[448.0, 0.0], [0.0, 0.0], [448.0, -448.0]]


def test_the_cost_of_rounding_is_that_of_the_numbers():
    value, before = torch.tensor([3.0, 1.07]), torch.tensor([3.0, 1.0])
    tensors, rounding = encoded("a.weight", Plain(E4M3), value, before)
    assert tensors[MAIN].float().tolist() == [3.0, 1.125]
    assert rounding.error == pytest.approx(0.055) and rounding.change == pytest.approx(0.07)
    assert rounding.value == pytest.approx((9 + 1.07**2) ** 0.5)


@pytest.mark.parametrize(("dtype", "fits", "too_large"), [(torch.float16, 65519.0, 65521.0), (E4M3, 463.0, 465.0)])
def test_values_that_do_not_fit_are_named(dtype, fits, too_large):
    assert float(encoded("a.weight", Plain(dtype), torch.tensor([fits]))[0][MAIN]) == torch.finfo(dtype).max
    with pytest.raises(ValueError, match="a.weight holds values up to .*, too large for float"):
        encoded("a.weight", Plain(dtype), torch.tensor([-too_large]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, E5M2])
def test_numbers_that_are_none_are_named(bad, dtype):
    with pytest.raises(ValueError, match="x.weight holds NaN or infinite values"):
        refuse_not_finite("x.weight", torch.tensor([0.0, bad]).to(dtype))


def test_the_report_tells_the_whole_and_the_worst():
    rows = [Rounding("one", "float16", 3.0, 0.3, 0.6), Rounding("two", "float16", 4.0, 0.4, 0.0)]
    lines = rounding_lines(rows)
    # sqrt(0.3^2 + 0.4^2) / sqrt(3^2 + 4^2), and 0.3 / 0.6.
    assert lines[0] == "rounded to float16: 2 weights, relative error 0.1"
    assert "1 of them changed; the rounding is 50 % of the change" in lines[1]
    assert "most at one: 50 %" in lines[2]
