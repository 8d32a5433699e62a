import pytest
import torch

from delta.style_network.params import StyleComponent, StyleParams, extend, interpolate


def component(value: float, weight: float, vector: bool = False) -> StyleComponent:
    gamma = torch.tensor([value, 2 * value])
    return StyleComponent(f"style {value:g}", gamma, -gamma, weight, torch.full((100,), value) if vector else None)


def test_weights_are_normalised_on_request():
    mix = extend(extend(None, component(1, 1.0), "net"), component(5, 3.0), "net", normalise=True)
    assert torch.equal(mix.vectors()[0], torch.tensor([4.0, 8.0]))
    raw = extend(extend(None, component(1, 1.0), "net"), component(5, 3.0), "net", normalise=False)
    assert torch.equal(raw.vectors()[0], torch.tensor([16.0, 32.0]))
    assert torch.equal(raw.vectors()[1], torch.tensor([-16.0, -32.0]))


def test_three_equal_picks_are_thirds():
    mix = None
    for value in (0, 3, 6):
        mix = extend(mix, component(value, 1.0), "net", normalise=True)
    assert torch.allclose(mix.vectors()[0], torch.tensor([3.0, 6.0]))
    assert mix.describe() == "0.33 style 0 + 0.33 style 3 + 0.33 style 6"


def test_extending_leaves_the_earlier_mix_alone():
    first = extend(None, component(1, 1.0), "net")
    extend(first, component(2, 1.0), "net", normalise=False)
    assert len(first.components) == 1 and first.normalise


def test_weights_that_cancel_are_refused():
    with pytest.raises(ValueError, match="add up to zero"):
        extend(extend(None, component(1, 1.0), "net"), component(2, -1.0), "net").vectors()


def test_styles_of_two_networks_are_refused():
    with pytest.raises(ValueError, match="another style network"):
        extend(extend(None, component(1, 1.0), "net"), component(2, 1.0), "other")


def test_the_style_vector_needs_every_component_to_have_one():
    both = StyleParams("net", (component(1, 1.0, True), component(3, 1.0, True)))
    assert torch.equal(both.style_vector(), torch.full((100,), 2.0))
    assert StyleParams("net", (component(1, 1.0, True), component(3, 1.0))).style_vector() is None


def test_interpolation_by_channel():
    gamma, beta = interpolate(
        (torch.zeros(2), torch.ones(2)), (torch.tensor([2.0, 4.0]), torch.zeros(2)), torch.tensor([1.5, 0.0])
    )
    assert torch.equal(gamma, torch.tensor([3.0, 0.0])) and torch.equal(beta, torch.tensor([-0.5, 1.0]))
