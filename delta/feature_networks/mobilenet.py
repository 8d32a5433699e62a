"""The features of the bundled style predictor, a MobileNet v2 (arXiv 1801.04381) that Ghiasi et al. 2017 (arXiv
1705.06830) trained to tell paintings apart.

What it was trained for makes it a judge of style without the weights of a VGG: Gram matrices of its stem and of the
expanded layers of its blocks hold the strokes of a painting.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..style_network.predictor import BLOCK_STRIDES, StylePredictor
from .features import FeatureLayer, OnLayer

# Blocks that are never read are never run: this is the first that shrinks the picture 32 times.
BLOCKS = BLOCK_STRIDES[:14]


@dataclass(frozen=True)
class PredictorFeatures:
    """The stem and the expanded layers of a predictor's blocks, after their ReLU6. See `FeatureNetwork`."""

    predictor: StylePredictor
    name: str = "the bundled style predictor"
    style_layers: tuple[str, ...] = ("stem", "block.1.expand", "block.3.expand", "block.5.expand")
    content_layers: tuple[str, ...] = ("block.5.expand",)
    min_side: int = 32
    layers: tuple[FeatureLayer, ...] = field(init=False)

    def __post_init__(self) -> None:
        convs, stride = self.predictor.convs, 2
        layers = [FeatureLayer("stem", len(convs["stem"][0]), stride)]
        for index, step in enumerate(BLOCKS):
            name = f"block.{index}.expand"
            if name in convs:
                layers.append(FeatureLayer(name, len(convs[name][0]), stride))
            stride *= step
        object.__setattr__(self, "layers", tuple(layers))

    def __call__(self, planes: Tensor, wanted: Collection[str], on_layer: OnLayer = lambda: None) -> dict[str, Tensor]:
        return self.predictor.features(planes, wanted, on_layer)

    def to(self, device: torch.device | str) -> PredictorFeatures:
        return PredictorFeatures(self.predictor.to(device))
