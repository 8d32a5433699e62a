from __future__ import annotations

import torch

from delta.merging import merge


def test_adds_by_hand(part_of) -> None:
    merged = merge("linear", [part_of([[1, 2], [3, 4]]), part_of([[1, 0], [0, 1]])], [2.0, -1.0], {})
    assert torch.equal(merged.to_dense(), torch.tensor([[1.0, 4.0], [6.0, 7.0]]))


def test_equals_the_dense_sum(pair) -> None:
    parts, weights, deltas = pair
    merged = merge("linear", parts, weights, {})
    assert merged.rank == 8
    assert torch.allclose(merged.to_dense().double(), sum(deltas), atol=1e-5)
