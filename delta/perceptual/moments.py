"""The style of a picture as Gatys et al. 2016 (arXiv 1508.06576) take it: how often features occur together.

Their Gram matrix is that of the raw features; here mean and covariance stand apart, which is the same information with
the brightness of the features told from their texture.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..feature_networks.features import FeatureNetwork, OnLayer
from ..style_network.finish import at_paint_size

# The pixels themselves, as a layer: what keeps the colours of a style true, which features of a clipped stem do not.
COLOURS = "colours"
# Pixels by which pictures are continued beyond their borders, so that the zeros around them are in no statistics.
MARGIN = 16
# What covariances count as at least, as a share of the squared mean, and what both parts of moments count as at least: pictures
# without contrast have none, and a loss that is divided by it would see nothing but its noise.
CONTRAST, FLOOR = 0.1, 1e-6
# A shift of all colours by 0.1 is a distance of 1.5: beside their own size it would be next to nothing, and it is what is seen first.
COLOUR_SHIFT = 0.02


class Moments(NamedTuple):
    """mean: [batch, channels, 1]; covariance: [batch, channels, channels]; of features over their positions."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor, weight: Tensor | None = None) -> Moments:
    """The moments of features [batch, channels, height, width]. weight: [1, 1, height, width], >= 0 and not all 0."""
    flat = features.flatten(2)
    if weight is None:
        mean = flat.mean(2, keepdim=True)
        centred = flat - mean
        return Moments(mean, centred @ centred.mT / flat.shape[2])
    share = (weight / weight.sum()).flatten(2)
    mean = (flat * share).sum(2, keepdim=True)
    centred = flat - mean
    return Moments(mean, (centred * share) @ centred.mT)


def read_layers(
    network: FeatureNetwork, planes: Tensor, layers: Collection[str], on_layer: OnLayer = lambda: None
) -> dict[str, Tensor]:
    """The features of a network by layer, `COLOURS` among them, of pictures with sides of more than 16 pixels.

    on_layer() is called after each layer of the network, on the way back after those that are read, and may raise to cancel.
    """
    of_network = [name for name in layers if name != COLOURS]
    found = network(F.pad(planes, (MARGIN,) * 4, mode="reflect"), of_network, on_layer)
    for features in found.values():
        if features.requires_grad:
            features.register_hook(lambda gradient: on_layer())
    strides = {layer.name: layer.stride for layer in network.layers}
    cropped = {name: _within(found[name], MARGIN // strides[name]) for name in of_network}
    return {name: planes if name == COLOURS else cropped[name] for name in layers}


def shortest_side(network: FeatureNetwork) -> int:
    """The shortest side, in pixels, that `read_layers` takes."""
    return max(network.min_side, MARGIN + 1)


def _within(features: Tensor, margin: int) -> Tensor:
    """Features without so many rows and columns on each side."""
    return features[..., margin : features.shape[-2] - margin, margin : features.shape[-1] - margin]


def picture_moments(
    network: FeatureNetwork, planes: Tensor, layers: Collection[str], on_layer: OnLayer = lambda: None
) -> dict[str, Moments]:
    """The moments of one picture or batch [batch, 3, height, width] in 0..1, by layer."""
    return {name: moments(features) for name, features in read_layers(network, planes, layers, on_layer).items()}


def mixed(parts: Sequence[Mapping[str, Moments]], weights: Sequence[float]) -> dict[str, Moments]:
    """The weighted mean of moments. A loss against it is, but for a constant, the weighted mean of the losses."""
    total = sum(weights)
    return {
        name: Moments(*(sum(w * part[name][n] for w, part in zip(weights, parts)) / total for n in range(2)))
        for name in parts[0]
    }


def style_moments(
    network: FeatureNetwork,
    pictures: Tensor,
    side: int,
    layers: Collection[str],
    device: torch.device | str,
    on_layer: OnLayer = lambda: None,
) -> dict[str, Moments]:
    """The mean of the moments of pictures [batch, 3, height, width] in 0..1, each with `side` pixels on the longer side, or as
    small as the network can look at."""
    height, width = pictures.shape[-2:]
    side = max(side, math.ceil(shortest_side(network) * max(height, width) / min(height, width)))
    sized = [at_paint_size(picture.clone(), side, 1).to(device) for picture in pictures.split(1)]
    found = [picture_moments(network, picture, layers, on_layer) for picture in sized]
    return mixed(found, [1.0] * len(found))


def resized_weight(weight: Tensor, features: Tensor) -> Tensor:
    """A weight [1, 1, height, width] at the size of features, by the area that each position covers."""
    return F.interpolate(weight, features.shape[-2:], mode="area")


def squared(part: Tensor) -> Tensor:
    """The squared Frobenius norm of each of a batch, [batch]."""
    return part.square().sum((1, 2))


def distance(found: Moments, target: Moments, scale: Moments) -> Tensor:
    """How far moments are from others, 0 for equal ones, [batch]. scale: the squared size of each part, [1] or [batch]."""
    return sum(squared(a - b) / size for a, b, size in zip(found, target, scale))


def scale_of(layer: str, *parts: Moments) -> Moments:
    """The squared size that a distance of 1 stands for: the mean of those of several moments of a layer, the picture's own among
    them."""
    mean, covariance = (sum(squared(part[n]) for part in parts).mean() / len(parts) for n in range(2))
    covariance = covariance + (CONTRAST * mean).square() + FLOOR
    return Moments(torch.full_like(mean, COLOUR_SHIFT) if layer == COLOURS else mean + FLOOR, covariance)
