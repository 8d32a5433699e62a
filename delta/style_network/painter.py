"""Painting with gradients: whole pictures through the layers of a style network at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .network import StyleNetwork
from .strips import EPS, Layer


def layers_on(network: StyleNetwork, device: torch.device | str) -> list[Layer]:
    """Copies of the layers on a device. Outside of inference mode gradients pass them, whatever mode they were loaded in."""
    return [
        replace(
            layer,
            weight=layer.weight.to(device, copy=True),
            bias=None if layer.bias is None else layer.bias.to(device, copy=True),
        )
        for layer in network.layers
    ]


def paint_through(
    network: StyleNetwork, layers: Sequence[Layer], planes: Tensor, gamma: Tensor, beta: Tensor
) -> Tensor:
    """Paint planes [batch, 3, height, width] in 0..1 as `stylize` does, with gradients to everything that has them.

    layers: those of the network, or others in their place. gamma, beta: [channels]. Sides are multiples of the stride.
    """
    x, before = planes * network.value_range, None
    for layer in layers:
        padded = layer.padded(layer.enlarged(x), (layer.weight.shape[-1] // 2,) * 4)
        y = F.conv2d(padded, layer.weight, layer.bias, stride=layer.stride)
        if layer.norm is not None:
            y = F.instance_norm(y, weight=gamma[layer.norm], bias=beta[layer.norm], eps=EPS)
        if layer.relu:
            y = F.relu(y)
        before, x = x, y + before if layer.residual else y
    return torch.sigmoid(x) if network.sigmoid else (x / network.value_range).clamp(0, 1)
