"""Moments of features, against numbers by hand, and distances between them."""

import pytest
import torch

from delta.feature_networks.bundled import predictor_features
from delta.perceptual.moments import COLOURS, Moments, distance, mixed, moments, picture_moments, read_layers, scale_of
from delta.style_network.files import PICTURE_NETWORK, load_bundled

# Two channels at four positions.
FEATURES = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 2.0], [2.0, 4.0]]]])


def test_moments_are_mean_and_covariance():
    found = moments(FEATURES)
    assert found.mean.flatten().tolist() == [4.0, 2.0]
    assert found.covariance[0].tolist() == [[5.0, 3.0], [3.0, 2.0]]


def test_a_weight_chooses_positions():
    weight = torch.tensor([[[[2.0, 2.0], [0.0, 0.0]]]])
    found = moments(FEATURES, weight)
    assert found.mean.flatten().tolist() == [2.0, 1.0]
    assert found.covariance[0].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_mix_of_moments_has_the_mean_of_the_losses_but_for_a_constant():
    """So that several styles are one target."""
    first, second = ({"a": moments(torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(n)))} for n in (1, 2))
    mix = mixed([first, second], [3.0, 1.0])
    unit = Moments(torch.ones(1), torch.ones(1))
    found = [moments(torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(n)), None) for n in (3, 4)]
    both = [0.75 * distance(each, first["a"], unit) + 0.25 * distance(each, second["a"], unit) for each in found]
    alone = [distance(each, mix["a"], unit) for each in found]
    torch.testing.assert_close(both[0] - both[1], alone[0] - alone[1])


def test_equal_moments_are_0_apart_and_a_distance_of_1_is_their_size():
    found = moments(FEATURES)
    nothing = Moments(torch.zeros_like(found.mean), torch.zeros_like(found.covariance))
    assert float(distance(found, found, scale_of("a", found))) == 0
    # The squared mean is 20, so covariances count as 2 at least; the covariance's own squared size is 47.
    scale = scale_of("a", found)
    assert [float(part) for part in scale] == pytest.approx([20, 47 + 4], rel=1e-5)
    assert float(distance(found, nothing, scale)) == pytest.approx(1 + 47 / 51, rel=1e-5)
    # Between two flat pictures nothing is divided by 0.
    assert float(distance(nothing, nothing, scale_of("a", nothing, nothing))) == 0


def test_a_shift_of_colours_counts_whatever_their_size():
    dark, light = (moments(torch.full((1, 3, 2, 2), value)) for value in (0.1, 0.9))
    for colour in (dark, light):
        shifted = Moments(colour.mean + 0.1, colour.covariance)
        assert float(distance(shifted, colour, scale_of(COLOURS, colour))) == pytest.approx(1.5, rel=1e-4)


def test_borders_are_continued_and_cut_off_again():
    network = predictor_features(load_bundled(PICTURE_NETWORK))
    grey = torch.full((1, 3, 64, 48), 0.4)
    found = read_layers(network, grey, [COLOURS, *network.style_layers])
    assert list(found) == [COLOURS, *network.style_layers] and found[COLOURS] is grey
    for layer in network.layers:
        if layer.name in found:
            assert found[layer.name].shape == (1, layer.channels, 64 // layer.stride, 48 // layer.stride)
    # A plain picture has no texture, at its borders neither; without the margin the stem alone varies by 1 and more.
    flat = picture_moments(network, grey, ["stem"])["stem"]
    assert float(flat.covariance.abs().max()) < 1e-6
