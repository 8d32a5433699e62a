"""The perceptual loss of Gatys et al. 2016 (arXiv 1508.06576) and Johnson et al. 2016 (arXiv 1603.08155): moments of a style,
features of a photo, and smoothness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..feature_networks.features import FeatureNetwork, OnLayer
from .moments import Moments, distance, moments, read_layers, resized_weight, scale_of

# Total variation, in units of which 1 is a picture of noise: as much as keeps pixels from flickering.
SMOOTHNESS = 1.0


class Region(NamedTuple):
    """A style and where it holds. targets: its moments by layer; mask: [1, 1, height, width] in 0..1, None for all."""

    targets: Mapping[str, Moments]
    mask: Tensor | None = None


class Terms(NamedTuple):
    """The parts of a loss, each already weighted."""

    style: Tensor
    content: Tensor
    smoothness: Tensor

    @property
    def total(self) -> Tensor:
        return self.style + self.content + self.smoothness


@dataclass(frozen=True)
class PerceptualLoss:
    """The loss of pictures [batch, 3, height, width] in 0..1 beside photos of the same size.

    regions: what each region's texture is to be; scales: by region and layer, the size that a distance of 1 stands for;
    content: the photos' own features by layer. on_layer() is called within a step, as `read_layers` does, and may raise to cancel.
    """

    network: FeatureNetwork
    regions: Sequence[Region]
    scales: Sequence[Mapping[str, Moments]]
    content: Mapping[str, Tensor]
    style_weight: float
    content_weight: float
    on_layer: OnLayer = lambda: None

    def __call__(self, planes: Tensor) -> Terms:
        layers = {name for region in self.regions for name in region.targets}
        found = read_layers(self.network, planes, sorted(layers | self.content.keys()), self.on_layer)
        style = sum(_style(found, region, scale) for region, scale in zip(self.regions, self.scales)) / len(
            self.regions
        )
        content = sum(
            (found[name] - own).square().mean() / own.square().mean().clamp(min=1e-12)
            for name, own in self.content.items()
        ) / len(self.content)
        return Terms(self.style_weight * style, self.content_weight * content, SMOOTHNESS * total_variation(planes))


def loss_beside(
    network: FeatureNetwork,
    photos: Tensor,
    regions: Sequence[Region],
    style_weight: float,
    content_weight: float,
    on_layer: OnLayer = lambda: None,
) -> PerceptualLoss:
    """The loss for pictures that show what photos [batch, 3, height, width] in 0..1 show, in the styles of regions."""
    layers = {name for region in regions for name in region.targets}
    found = read_layers(network, photos, sorted(layers | set(network.content_layers)), on_layer)
    scales = [
        {
            name: scale_of(name, target, moments(found[name], _at(region.mask, found[name])))
            for name, target in region.targets.items()
        }
        for region in regions
    ]
    content = {name: found[name] for name in network.content_layers}
    return PerceptualLoss(network, regions, scales, content, style_weight, content_weight, on_layer)


def total_variation(planes: Tensor) -> Tensor:
    """The mean step between neighbouring pixels, along rows and along columns."""
    return (planes[..., 1:] - planes[..., :-1]).abs().mean() + (planes[..., 1:, :] - planes[..., :-1, :]).abs().mean()


def _style(found: Mapping[str, Tensor], region: Region, scale: Mapping[str, Moments]) -> Tensor:
    """The sum over layers of the distances of a region, the mean of the batch."""
    return sum(
        distance(moments(found[name], _at(region.mask, found[name])), target, scale[name]).mean()
        for name, target in region.targets.items()
    )


def _at(mask: Tensor | None, features: Tensor) -> Tensor | None:
    return None if mask is None else resized_weight(mask, features)
