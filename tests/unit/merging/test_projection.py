from __future__ import annotations

import pytest
import torch

from delta.linear_algebra.factors import zeros
from delta.merging import merge


def projector(columns: torch.Tensor) -> torch.Tensor:
    return columns @ torch.linalg.pinv(columns, rtol=1e-8)


def test_np_lora_by_hand(part_of) -> None:
    # The style's only input direction is the first one. mu = 1 halves what the content has there.
    content, style = part_of([[2, 4], [6, 8]]), part_of([[5, 0], [0, 0]])
    merged = merge("np_lora", [content, style], [1.0, 2.0], {"mu": 1.0}).to_dense()
    assert torch.allclose(merged, torch.tensor([[11.0, 4], [3, 8]]), atol=1e-5)
    hard = merge("np_lora", [content, style], [1.0, 2.0], {"mu": float("inf")}).to_dense()
    assert torch.allclose(hard, torch.tensor([[10.0, 4], [0, 8]]), atol=1e-5)


@pytest.mark.parametrize("mu", [0.0, 0.5, 3.0])
def test_np_lora_equals_the_dense_formula(mu: float, pair) -> None:
    parts, weights, (content, style) = pair
    identity = torch.eye(14, dtype=torch.float64)
    expected = style + content @ (identity - mu / (1 + mu) * projector(style.T))
    assert torch.allclose(merge("np_lora", parts, weights, {"mu": mu}).to_dense().double(), expected, atol=1e-5)


def test_np_lora_has_roles(pair) -> None:
    parts, weights, _ = pair
    one = merge("np_lora", parts, weights, {}).to_dense()
    assert not torch.allclose(one, merge("np_lora", parts[::-1], weights[::-1], {}).to_dense(), atol=1e-2)


@pytest.mark.parametrize("absent", ["content", "style"])
def test_np_lora_of_one_part(absent: str, random_part) -> None:
    part = random_part(1, 3)
    parts = [zeros(part.shape), part] if absent == "content" else [part, zeros(part.shape)]
    assert torch.allclose(merge("np_lora", parts, [1.5, 1.5], {}).to_dense(), 1.5 * part.to_dense(), atol=1e-5)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        # Outputs: row 1 goes. Inputs: column 2 goes.
        ({"column_space": 1.0, "row_space": 0.0}, [[0, 0], [6, 8]]),
        ({"column_space": 0.0, "row_space": 1.0}, [[2, 0], [6, 0]]),
        ({}, [[0, 0], [6, 0]]),
        ({"column_space": 0.5, "row_space": 0.25}, [[1, 1.5], [6, 6]]),
    ],
)
def test_removal_by_hand(amounts: dict, expected: list, part_of) -> None:
    merged = merge("remove_subspace", [part_of([[2, 4], [6, 8]]), part_of([[0, 7], [0, 0]])], [1.0, 1.0], amounts)
    assert torch.allclose(merged.to_dense(), torch.tensor(expected, dtype=torch.float32), atol=1e-5)


def test_removal_equals_the_dense_formula(pair, random_part) -> None:
    parts, weights, (target, other) = pair
    third = random_part(9, 2)
    others = [other, third.up.double() @ third.down.double()]
    outputs, inputs = projector(torch.cat(others, dim=1)), projector(torch.cat(others, dim=0).T)
    expected = target - 0.7 * outputs @ target
    expected = expected - 0.4 * expected @ inputs
    amounts = {"column_space": 0.7, "row_space": 0.4}
    merged = merge("remove_subspace", [*parts, third], [*weights, 1.0], amounts).to_dense().double()
    assert torch.allclose(merged, expected, atol=1e-5)


def test_removal_ignores_how_strong_the_others_are(random_part) -> None:
    target, other, weak = random_part(1, 6), random_part(2, 2), random_part(3, 2).scale(1e-5)
    merged = merge("remove_subspace", [target, other, weak], [1.0, -9.0, 1e-3], {}).to_dense()
    assert (other.to_dense().T @ merged).abs().max() < 1e-4
    assert (weak.to_dense().T @ merged).abs().max() < 1e-9
    assert torch.allclose(
        merge("remove_subspace", [target, other, weak], [1.0, 1.0, 0.0], {}).to_dense(),
        merge("remove_subspace", [target, other], [1.0, 1.0], {}).to_dense(),
        atol=1e-5,
    )


def test_removal_of_nothing_and_from_nothing(random_part) -> None:
    part, empty = random_part(1, 3), zeros((20, 14))
    assert torch.allclose(
        merge("remove_subspace", [part, empty], [2.0, 1.0], {}).to_dense(), 2.0 * part.to_dense(), atol=1e-5
    )
    assert not merge("remove_subspace", [empty, part], [2.0, 1.0], {}).to_dense().any()
    assert merge("remove_subspace", [part, part], [1.0, 1.0], {}).to_dense().abs().max() < 1e-5
