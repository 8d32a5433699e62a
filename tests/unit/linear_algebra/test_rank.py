import pytest
import torch

from delta.linear_algebra.rank import Spectrum, allocate, energy, error, fixed, full, knee

VALUES = torch.tensor([4.0, 2.0, 1.0, 1.0, 0.0], dtype=torch.float64)  # squares 16, 4, 1, 1, 0; their sum is 22
SHAPE = (5, 5)


@pytest.mark.parametrize(
    ("policy", "rank"),
    [
        (fixed(0), 0),
        (fixed(3), 3),
        (fixed(99), 5),
        (energy(0.0), 0),
        (energy(16 / 22), 1),
        (energy(16.1 / 22), 2),
        (energy(21 / 22), 3),
        (energy(1.0), 4),
        (error(1.0), 0),
        (error((6 / 22) ** 0.5 + 1e-9), 1),
        (error((6 / 22) ** 0.5 - 1e-6), 2),
        (error(0.0), 4),
    ],
)
def test_policies_by_hand(policy, rank):
    assert policy(VALUES, SHAPE) == rank


@pytest.mark.parametrize(
    ("policy", "rank"),
    [
        (full(), 4),
        (fixed(0), 0),
        (fixed(2), 2),
        (fixed(99), 99),
        (knee(), 4),
        (energy(0.0), 0),
        (energy(16 / 23), 1),
        (energy(20 / 23), 2),
        (energy(20.1 / 23), 3),
        (energy(21.1 / 23), 4),
        (energy(1.0), 4),
        (error(1.0), 0),
        (error((7 / 23) ** 0.5), 1),
        (error((3 / 23) ** 0.5), 2),
        (error((2 / 23) ** 0.5), 3),
        (error((1.9 / 23) ** 0.5), 4),
        (error(0.0), 4),
    ],
)
def test_policies_count_the_energy_of_values_that_are_not_given(policy, rank):
    # Of the squares 16, 4, 1 and 2 more; a rank of 4 asks for more values.
    assert policy(VALUES[:3], SHAPE, 2.0) == rank


def test_the_lower_of_two_policies_asks_for_more_only_where_both_do():
    both = [energy(21.1 / 23), fixed(2)]
    assert min(policy(VALUES[:3], SHAPE, 2.0) for policy in both) == 2
    both = [energy(21.1 / 23), fixed(5)]
    assert min(policy(VALUES[:3], SHAPE, 2.0) for policy in both) == 4


def test_without_a_rest_nothing_more_is_asked_for():
    for policy in (full(), fixed(9), knee(), energy(1.0), error(0.0)):
        assert policy(VALUES, SHAPE, 0.0) == policy(VALUES, SHAPE) <= len(VALUES)


def test_the_knee_is_where_the_spectrum_bends():
    assert knee()(torch.tensor([100.0, 90.0, 80.0, 3.0, 2.0, 1.0], dtype=torch.float64), SHAPE) == 4
    assert knee()(torch.tensor([5.0], dtype=torch.float64), SHAPE) == 1
    assert knee()(torch.zeros(6, dtype=torch.float64), SHAPE) == 0


@pytest.mark.parametrize("policy", [energy, error])
@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_outside_0_to_1_are_refused(policy, share):
    with pytest.raises(ValueError, match="from 0 to 1"):
        policy(share)


def test_a_budget_takes_the_most_energy_per_number_first():
    # 10 numbers per rank against 40: 16/40 comes after 9/10 and 4/10 but before 1/10.
    spectra = {
        "small": Spectrum(torch.tensor([3.0, 2.0, 1.0]), (5, 5)),
        "large": Spectrum(torch.tensor([4.0, 1.0]), (20, 20)),
    }
    everything = allocate(spectra, 1e9, 2)
    assert everything.ranks == {"small": 3, "large": 2} and everything.error == 0 and everything.bytes == 220
    chosen = allocate(spectra, 120, 2)
    assert chosen.ranks == {"small": 2, "large": 1} and chosen.bytes == 120
    assert chosen.error == pytest.approx(2**0.5)
    assert allocate(spectra, 19, 2).ranks == {"small": 0, "large": 0}


def test_the_greedy_choice_is_best_to_within_one_vector():
    from itertools import product

    generator = torch.Generator().manual_seed(3)
    spectra = {
        str(i): Spectrum(torch.rand(4, generator=generator).sort(descending=True).values * (i + 1), (3 * i + 2, 4))
        for i in range(4)
    }
    numbers = [spectrum.parameters_per_rank for spectrum in spectra.values()]
    for budget in (20, 55, 90, 130):
        fitting = [r for r in product(range(5), repeat=4) if sum(a * b for a, b in zip(r, numbers)) <= budget]
        cut = min(
            sum(float(s.values[rank:].double().square().sum()) for s, rank in zip(spectra.values(), ranks))
            for ranks in fitting
        )
        allocation = allocate(spectra, budget, 1)
        assert allocation.bytes <= budget
        largest = max(float(s.values[0]) ** 2 for s in spectra.values())
        assert allocation.error**2 <= cut + largest + 1e-9


def test_values_of_zero_are_never_bought():
    assert allocate({"a": Spectrum(torch.tensor([1.0, 0.0]), (2, 2))}, 1e6, 4).ranks == {"a": 1}


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="Give a size above 0"):
        allocate({"a": Spectrum(torch.ones(1), (2, 2))}, 0, 2)
