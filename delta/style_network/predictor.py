"""The style predictor of Ghiasi et al. 2017 (arXiv 1705.06830): any picture to a style vector of 100 numbers.

A MobileNet v2 (arXiv 1801.04381) without its classifier, averaged over the picture, then one linear map. It is fully
convolutional, so the picture keeps its shape; it was trained at 256 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TRAINED_SIDE = 256
# A thin strip of a picture is not enlarged beyond this.
LONGEST_SIDE = 1024
# (stride of the depthwise convolution) for the 17 inverted residual blocks.
BLOCK_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)

Conv = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class StylePredictor:
    """`convs` maps a name (`stem`, `block.3.expand`, `block.3.depthwise`, `block.3.project`, `head`, `bottleneck`)
    to its (weight, bias)."""

    convs: dict[str, Conv]

    def __call__(self, picture: Tensor) -> Tensor:
        """Style vector [100] of a picture [1, 3, height, width] in 0..1. The short side is resized to 256, the long one
        to 1024 at most."""
        x = _resize_short_side(picture)
        x = self._conv("stem", x, stride=2, clip=True)
        for index, stride in enumerate(BLOCK_STRIDES):
            x = self._block(index, x, stride)
        x = self._conv("head", x, clip=True)
        return self._conv("bottleneck", x.mean((2, 3), keepdim=True)).flatten()

    def features(
        self, planes: Tensor, wanted: Collection[str], on_layer: Callable[[], None] = lambda: None
    ) -> dict[str, Tensor]:
        """The stem and the expanded layers of blocks that are wanted, after their ReLU6, of pictures [batch, 3, height,
        width] in 0..1 as they are. Nothing after the last of them is run, and gradients pass. on_layer() is called after
        each of them, wanted or not, and may raise to cancel.

        Raises KeyError for a name that is none of them.
        """
        found = {}
        x = self._conv("stem", planes, stride=2, clip=True)
        on_layer()
        if "stem" in wanted:
            found["stem"] = x
        for index, stride in enumerate(BLOCK_STRIDES):
            if len(found) == len(wanted):
                return found
            name = f"block.{index}.expand"
            y = self._expanded(index, x)
            if name in self.convs:
                on_layer()
            if name in wanted:
                found[name] = y
                if len(found) == len(wanted):
                    return found
            x = self._projected(index, x, y, stride)
        raise KeyError(f"there is no layer {', '.join(sorted(set(wanted) - found.keys()))}")

    def to(self, device: torch.device | str) -> StylePredictor:
        """The same predictor on a device."""
        return StylePredictor(
            {name: (weight.to(device), bias.to(device)) for name, (weight, bias) in self.convs.items()}
        )

    def _block(self, index: int, x: Tensor, stride: int) -> Tensor:
        return self._projected(index, x, self._expanded(index, x), stride)

    def _expanded(self, index: int, x: Tensor) -> Tensor:
        name = f"block.{index}.expand"
        return self._conv(name, x, clip=True) if name in self.convs else x

    def _projected(self, index: int, x: Tensor, expanded: Tensor, stride: int) -> Tensor:
        name = f"block.{index}"
        y = self._conv(f"{name}.depthwise", expanded, stride=stride, clip=True)
        y = self._conv(f"{name}.project", y)
        return x + y if stride == 1 and x.shape == y.shape else y

    def _conv(self, name: str, x: Tensor, stride: int = 1, clip: bool = False) -> Tensor:
        weight, bias = self.convs[name]
        groups = x.shape[1] // weight.shape[1]
        y = F.conv2d(_pad_same(x, weight.shape[-1], stride), weight, bias, stride=stride, groups=groups)
        return y.clamp(0, 6) if clip else y


def _resize_short_side(picture: Tensor) -> Tensor:
    height, width = picture.shape[-2:]
    scale = min(TRAINED_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return picture
    return F.interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding as the network was trained with it: odd pixels go to the bottom and the right."""
    pads = []
    for side in (x.shape[-1], x.shape[-2]):
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x
