"""What a network that looks at pictures must offer, so that losses, AdaIN and WCT can be told of its layers by name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Called after each layer; may raise to cancel.
OnLayer = Callable[[], None]


class FeatureLayer(NamedTuple):
    """A layer that can be read: its channels, and how many pixels of the picture a position of it stands for, a side."""

    name: str
    channels: int
    stride: int


class FeatureNetwork(Protocol):
    """A frozen network from pictures to features.

    layers: in running order. style_layers, content_layers: the names of those that describe texture and what is where,
    as the method of Gatys et al. 2016 (arXiv 1508.06576) asks of them by default. min_side: pixels, the shortest side
    with which every layer is defined.
    """

    name: str
    layers: tuple[FeatureLayer, ...]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    min_side: int

    def __call__(self, planes: Tensor, wanted: Collection[str], on_layer: OnLayer = lambda: None) -> dict[str, Tensor]:
        """The features [batch, channels, height, width] of pictures [batch, 3, height, width] in 0..1, by layer.

        Nothing after the last wanted layer is run. Gradients reach the pictures. on_layer() is called after each of
        `layers` and may raise to cancel.
        """
        ...

    def to(self, device: torch.device | str) -> FeatureNetwork:
        """The same network on a device."""
        ...
