from __future__ import annotations

import math

import pytest
import torch

from delta.linear_algebra.factors import zeros
from delta.merging import merge


def test_a_third_of_a_right_angle(part_of) -> None:
    # a and b are orthogonal: at t = 1/3 the shares are sin 60 and sin 30 degrees.
    merged = merge("slerp", [part_of([[2, 0], [0, 0]]), part_of([[0, 0], [0, 4]])], [1.0, 1.0], {"t": 1 / 3})
    expected = torch.diag(torch.tensor([2.0 * math.sqrt(3) / 2, 4.0 * 0.5]))
    assert torch.allclose(merged.to_dense(), expected, atol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_equals_the_dense_formula(t: float, pair) -> None:
    parts, weights, (first, second) = pair
    angle = torch.arccos((first * second).sum() / (first.norm() * second.norm()))
    expected = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * second) / torch.sin(angle)
    merged = merge("slerp", parts, weights, {"t": t}).to_dense().double()
    assert torch.allclose(merged, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0])
def test_takes_the_line_where_there_is_no_arc(factor: float, random_part) -> None:
    part = random_part(1, 3)
    merged = merge("slerp", [part, part.scale(factor)], [1.0, 1.0], {"t": 0.25}).to_dense()
    assert torch.allclose(merged, (0.75 + 0.25 * factor) * part.to_dense(), atol=1e-5)


def test_an_absent_part_is_the_end_of_the_line(random_part) -> None:
    part = random_part(1, 3)
    merged = merge("slerp", [part, zeros(part.shape)], [2.0, 1.0], {"t": 0.75}).to_dense()
    assert torch.allclose(merged, 0.5 * part.to_dense(), atol=1e-6)
