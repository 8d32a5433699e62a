"""The bytes that are kept for a way back, counted by hand."""

import pytest
import torch

from delta.training.memory import Memory, kept_features, size

WEIGHT = torch.ones(10, 10)


def counted(forward) -> int:
    return kept_features(forward, [WEIGHT])


def features() -> torch.Tensor:
    return torch.ones(1, 10, requires_grad=True).clone()


def test_an_operation_keeps_its_input_and_a_weight_is_no_feature():
    assert counted(lambda: features().square()) == 40
    # What a matrix with no gradient keeps is the matrix.
    assert counted(lambda: features() @ WEIGHT) == 0


def test_what_is_kept_twice_counts_once():
    def twice():
        x = features()
        return x.square() + x.sin()

    assert counted(twice) == 40


def test_what_is_changed_in_place_in_between_counts_again():
    def changed():
        x = features()
        y = x.square()
        x += 1
        return y + x.square()

    assert counted(changed) == 80


def test_memory_that_is_freed_and_taken_again_counts_each_time():
    def many():
        x, result = features(), 0
        for _ in range(5):
            result = result + (x * 2).square()
        return result

    assert counted(many) == 5 * 40


def test_nothing_is_kept_without_gradients():
    assert counted(lambda: torch.ones(10).square()) == 0
    with torch.no_grad():
        # The pass that counts has gradients all the same.
        assert counted(lambda: features().square()) == 40


def test_there_is_no_way_back():
    results = []
    kept_features(lambda: results.append(features().square().sum()), [])
    with pytest.raises(RuntimeError, match="no backward pass"):
        results[0].backward()


def test_the_line_tells_all_parts():
    memory = Memory(1_700_000_000, 300_000_000, 12_000_000)
    assert memory.total == 2_012_000_000
    assert memory.line == (
        "memory: about 2.01 GB: model 1.70 GB, features for the backward pass 0.30 GB, trained numbers and optimiser 12.0 MB"
    )
    assert size(99_000_000) == "99.0 MB"
