from __future__ import annotations

import pytest
import torch

from delta.merging import merge


def test_ties_by_hand(part_of) -> None:
    # Trimmed to the 3 largest of 4: [5, -2, 0, 3], [-4, -6, 2, 0], [1, 0, 4, 2].
    parts = [part_of([[5, -2], [1, 3]]), part_of([[-4, -6], [2, 1]]), part_of([[1, 0.5], [4, 2]])]
    # Masses +2, -8, +6, +5 elect + - + +; of those signs the means are 6/2, -8/2, 6/2, 5/2.
    merged = merge("ties", parts, [1.0, 1.0, 1.0], {"keep": 0.75})
    assert torch.equal(merged, torch.tensor([[3.0, -4.0], [3.0, 2.5]]))


def test_ties_elects_by_mass_not_by_number(part_of) -> None:
    # Two parts say -1, one says 5: the mass is positive, and only the 5 counts.
    parts = [part_of([[-1]]), part_of([[-1]]), part_of([[5]])]
    assert merge("ties", parts, [1.0, 1.0, 1.0], {"keep": 1.0}).item() == 5.0


def test_ties_of_equal_masses_is_zero(part_of) -> None:
    assert merge("ties", [part_of([[3]]), part_of([[-1]])], [1.0, 3.0], {"keep": 1.0}).item() == 0.0


def test_ties_equals_a_loop_over_entries(pair) -> None:
    parts, weights, deltas = pair
    kept = [torch.where(d.abs() >= d.abs().flatten().sort(descending=True).values[139], d, 0.0) for d in deltas]
    expected = torch.zeros_like(deltas[0])
    for row in range(20):
        for column in range(14):
            values = [d[row, column].item() for d in kept]
            agreeing = [value for value in values if value * sum(values) > 0]
            expected[row, column] = sum(agreeing) / len(agreeing) if agreeing else 0.0
    assert torch.allclose(merge("ties", parts, weights, {"keep": 0.5}).double(), expected, atol=1e-5)


def test_dare_drops_or_rescales(pair) -> None:
    parts, weights, deltas = pair
    # At drop = 1/2 an entry of the sum is 0, 2 a, 2 b or 2 a + 2 b.
    merged = merge("dare", parts, weights, {"drop": 0.5}, seed=3).double()
    choices = torch.stack([torch.zeros(20, 14), 2 * deltas[0], 2 * deltas[1], 2 * sum(deltas)])
    assert (merged - choices).abs().amin(dim=0).max() < 1e-5
    assert all((abs(merged - choice) < 1e-5).float().mean() > 0.15 for choice in choices)


def test_dare_without_dropping_is_linear(pair) -> None:
    parts, weights, deltas = pair
    assert torch.allclose(merge("dare", parts, weights, {"drop": 0.0}).double(), sum(deltas), atol=1e-5)


def test_the_mean_of_dare_is_the_linear_merge(pair) -> None:
    parts, weights, deltas = pair
    runs = 2000
    mean = sum(merge("dare", parts, weights, {"drop": 0.5}, seed=seed).double() for seed in range(runs)) / runs
    # An entry has the variance a^2 + b^2 at drop = 1/2.
    deviation = sum(delta.square() for delta in deltas).sqrt() / runs**0.5
    assert ((mean - sum(deltas)).abs() < 5 * deviation + 1e-6).all()


def test_della_drops_small_entries_and_keeps_large_ones(part_of) -> None:
    # drop 1/2, window 1: in a row of three the chances by rank are 1, 1/2 and 0. The smallest always goes, the largest
    # always stays as it is, the middle one goes or doubles. The second part is dropped alike; both agree in sign, so
    # the result is the mean of the survivors: 9 and 3 make 6; 4 and 2, doubled, make 8, 4, (8 + 4) / 2 or nothing.
    parts = [part_of([[1, -4, 9]]), part_of([[1, -2, 3]])]
    runs = [merge("della", parts, [1.0, 1.0], {"drop": 0.5, "window": 1.0}, seed=seed)[0] for seed in range(60)]
    assert all(run[0] == 0.0 and run[2] == 6.0 for run in runs)
    assert {run[1].item() for run in runs} == {0.0, -8.0, -4.0, -6.0}


def test_della_without_a_window_is_dare_and_ties(pair) -> None:
    parts, weights, deltas = pair
    # Nothing dropped: the disjoint mean alone.
    merged = merge("della", parts, weights, {"drop": 0.0, "window": 0.0}).double()
    assert torch.allclose(merged, merge("ties", parts, weights, {"keep": 1.0}).double(), atol=1e-6)
    # Dropped at one rate: an entry is 0, one part rescaled, or both.
    merged = merge("della", parts, weights, {"drop": 0.5, "window": 0.0}, seed=1).double()
    first, second = (2 * delta for delta in deltas)
    stronger = torch.where(first.abs() > second.abs(), first, second)
    both = torch.where(first * second > 0, (first + second) / 2, stronger)
    choices = torch.stack([torch.zeros_like(first), first, second, both])
    assert (merged - choices).abs().amin(dim=0).max() < 1e-5


def test_della_holds_chances_between_0_and_1(pair) -> None:
    parts, weights, _ = pair
    assert merge("della", parts, weights, {"drop": 0.95, "window": 1.0}).isfinite().all()


def test_a_row_of_one_entry_has_the_middle_chance(random_part) -> None:
    parts = [random_part(1, 1, 4000, 1), random_part(1, 1, 4000, 1)]
    merged = merge("della", parts, [1.0, 1.0], {"drop": 0.5, "window": 0.4}, seed=1)
    # An entry is 0 if both parts drop it.
    assert abs((merged == 0).float().mean() - 0.25) < 0.04


def test_breadcrumbs_by_hand(part_of) -> None:
    # Of 10 entries the 3 smallest and the 2 largest go: 4 to 8 stay.
    first = part_of([[1, -2, 3, -4, 5], [-6, 7, -8, 9, -10]])
    second = part_of([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    merged = merge("breadcrumbs", [first, second], [1.0, 2.0], {"drop_smallest": 0.3, "drop_largest": 0.2})
    # Equal entries stay together.
    assert torch.equal(merged, torch.tensor([[0.0, 0, 0, -4, 5], [-6, 7, -8, 0, 0]]) + 2.0)


def test_breadcrumbs_equals_sorting(pair) -> None:
    parts, weights, deltas = pair
    expected = torch.zeros(280, dtype=torch.float64)
    for delta in deltas:
        order = delta.flatten().abs().argsort()[140:-28]
        expected[order] += delta.flatten()[order]
    merged = merge("breadcrumbs", parts, weights, {"drop_smallest": 0.5, "drop_largest": 0.1})
    assert torch.allclose(merged.double(), expected.reshape(20, 14), atol=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [("ties", {"keep": 0.0}), ("breadcrumbs", {"drop_smallest": 1.0})])
def test_keeping_nothing_gives_zero(name: str, parameters: dict, pair) -> None:
    parts, weights, _ = pair
    assert not merge(name, parts, weights, parameters).any()
