"""Networks that paint by changing the statistics of features between an encoder and its decoder.

AdaIN (Huang and Belongie 2017, arXiv 1703.06868) does it once. WCT (Li et al. 2017, arXiv 1705.08086) does it from the
coarsest layer to the finest, each time with the picture that the layer before gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .decoder import Decoder
from .features import FeatureNetwork, OnLayer
from .transfer_style import StyleTensors
from .transforms import Statistics, Transform

# Maps as large as the widest that live at once, of 4 bytes: measured.
LIVE_BYTES = 5 * 4


class Region(NamedTuple):
    """A style and where it applies: weights [1, 1, height, width] in 0..1 that sum to 1 over all regions, None for all."""

    style: StyleTensors
    mask: Tensor | None = None

    def mask_at(self, features: Tensor) -> Tensor | None:
        """The weights at the size of features, on their device."""
        if self.mask is None:
            return None
        size = features.shape[-2:]
        return F.interpolate(self.mask.to(features), size, mode="bilinear", antialias=True)


def padded(plane: Tensor, stride: int) -> Tensor:
    """A picture or a mask with sides that are multiples of the stride, reflected at the bottom and the right."""
    height, width = plane.shape[-2:]
    pad = (0, -width % stride, 0, -height % stride)
    return F.pad(plane, pad, mode="reflect") if any(pad) else plane


class Level(NamedTuple):
    """A layer of the encoder and what makes a picture of it."""

    layer: str
    decoder: Decoder


@dataclass(frozen=True)
class FeatureTransfer:
    """An encoder, and its decoders from the coarsest layer to the finest. See `TransferNetwork`."""

    name: str
    encoder: FeatureNetwork
    levels: tuple[Level, ...]
    transform: Transform
    fingerprint: str

    @property
    def stride(self) -> int:
        return max(level.decoder.scale for level in self.levels)

    @property
    def min_side(self) -> int:
        """Padded to the stride this is two positions of the coarsest layer, the least that can be reflected."""
        return self.stride + 1

    @property
    def bytes_per_pixel(self) -> int:
        layers = self.encoder.layers[: max(self._depth(level.layer) for level in self.levels)]
        return int(LIVE_BYTES * max(layer.channels / layer.stride**2 for layer in layers))

    @property
    def style_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = {}
        for layer, decoder in self.levels:
            shapes |= {f"{layer}.mean": (decoder.channels,), f"{layer}.spread": self.transform.spread(decoder.channels)}
        return shapes

    @property
    def measuring_steps(self) -> int:
        return max(self._depth(level.layer) for level in self.levels) + len(self.levels)

    @property
    def painting_steps(self) -> int:
        return sum(self._depth(layer) + 1 + len(decoder.convs) for layer, decoder in self.levels)

    def measure(self, plane: Tensor, on_layer: OnLayer = lambda: None) -> StyleTensors:
        features = self.encoder(plane, [level.layer for level in self.levels], on_layer)
        style = {}
        for layer, _ in self.levels:
            found = self.transform.measure(features[layer])
            style |= {f"{layer}.mean": found.mean, f"{layer}.spread": found.spread}
            on_layer()
        return style

    def paint(
        self, plane: Tensor, regions: Sequence[Region], amount: float = 1.0, on_layer: OnLayer = lambda: None
    ) -> Tensor:
        for layer, decoder in self.levels:
            features = self.encoder(plane, [layer], on_layer)[layer]
            changed = self._changed(features, layer, regions)
            on_layer()
            plane = decoder(changed if amount == 1 else torch.lerp(features, changed, amount), on_layer)
        return plane

    def to(self, device: torch.device | str) -> FeatureTransfer:
        levels = tuple(Level(layer, decoder.to(device)) for layer, decoder in self.levels)
        return replace(self, encoder=self.encoder.to(device), levels=levels)

    def _changed(self, features: Tensor, layer: str, regions: Sequence[Region]) -> Tensor:
        """The features with the statistics of each region's style, laid side by side by the weights of the regions."""
        total = 0
        for region in regions:
            style = Statistics(region.style[f"{layer}.mean"], region.style[f"{layer}.spread"])
            mask = region.mask_at(features)
            changed = self.transform.apply(features, mask, style)
            total = total + (changed if mask is None else changed * mask)
        return total

    def _depth(self, layer: str) -> int:
        """How many layers of the encoder are run for one."""
        return 1 + [each.name for each in self.encoder.layers].index(layer)


def check_levels(path: Path, encoder: FeatureNetwork, levels: Sequence[Level]) -> None:
    """Raise ValueError unless an encoder has the layers that these decoders read. path: of the decoders."""
    layers = {layer.name: layer for layer in encoder.layers}
    for layer, decoder in levels:
        if layer not in layers:
            raise ValueError(
                f"{path.name} makes pictures of {layer}, but {encoder.name} ends at {encoder.layers[-1].name}. Choose an "
                f"encoder that reaches {layer}, such as vgg_normalised.pth."
            )
        found = layers[layer]
        if (found.channels, found.stride) != (decoder.channels, decoder.scale):
            raise ValueError(
                f"{path.name} reads {decoder.channels} channels and enlarges {decoder.scale} times, but {layer} of "
                f"{encoder.name} has {found.channels} and {found.stride}. Choose the encoder and the decoder of one network."
            )
