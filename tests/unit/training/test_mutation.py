"""Ways back through tensors that were changed in place, with gradients worked out by hand."""

import pytest
import torch

from delta.training.mutation import changes_allowed


def leaf(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, requires_grad=True)


def test_a_tensor_that_is_changed_after_it_was_saved():
    x = leaf(2.0, 3.0)
    with changes_allowed():
        features = x.clone()
        result = features.square().sum()
        features += 100
        result.backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_each_version_is_kept():
    x = leaf(1.0)
    with changes_allowed():
        features, result = x.clone(), 0
        for _ in range(3):
            result = result + features.square().sum()
            features += 1
        result.backward()
    # 2 (1 + 2 + 3)
    assert x.grad.tolist() == [12.0]


def test_a_change_through_a_view_that_begins_elsewhere():
    x = leaf(1.0, 2.0, 3.0)
    with changes_allowed():
        features = x.clone()
        result = features.square().sum()
        features[1:] += 100
        result.backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]


def test_a_change_of_what_a_saved_view_looks_at():
    x = leaf(1.0, 2.0, 3.0)
    with changes_allowed():
        features = x.clone()
        result = features[1:].square().sum()
        features.mul_(100)
        result.backward()
    assert x.grad.tolist() == [0.0, 4.0, 6.0]


def test_lists_of_tensors_and_outputs_that_are_given():
    x, y = leaf(2.0), leaf(3.0)
    with changes_allowed():
        one, two = x.clone(), y.clone()
        result = one.square().sum() + two.square().sum()
        torch._foreach_add_([one, two], 1.0)
        with torch.no_grad():
            torch.add(one, 1, out=two)
        result.backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([4.0], [6.0])


def test_tensors_that_get_the_address_of_earlier_ones_are_not_mistaken_for_them():
    """With torch's own context, of 2.13, the gradient of this is wrong."""
    x = torch.ones(1000, requires_grad=True)
    with changes_allowed():
        result = 0
        for step in range(1, 21):
            features = x * float(step)
            squares = features.square()
            features.add_(1)
            del features
            result = result + squares.sum()
        result.backward()
    # 2 (1 + 4 + 9 + ... + 400)
    assert torch.equal(x.grad, torch.full((1000,), 5740.0))


def test_nothing_stays_saved_after_the_way_back():
    import gc
    import weakref

    x = leaf(1.0)
    with changes_allowed():
        features = x.clone()
        alive = weakref.ref(features)
        features.square().sum().backward()
        del features
        gc.collect()
        assert alive() is None


def test_changes_outside_are_errors_as_ever():
    x = leaf(1.0)
    features = x.clone()
    result = features.square().sum()
    features += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()
