"""What of a style network is trained: its norms, its last layers too, or everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..style_network.network import StyleNetwork
from ..style_network.painter import layers_on, paint_through
from ..style_network.strips import Layer

# Every channel of every norm has a gamma and a beta of its own for each style. Convolutions are shared by the styles.
NORMS, LAST, EVERYTHING = PARTS = ("norms", "norms and last layers", "everything")
LAST_STAGE = "expand."
# What a learning rate of 1 moves: a norm by this share of the size of its layer's gammas, which is how far the styles of the
# 26-style network lie apart, and a weight by this share of the size of its layer's weights.
OF_GAMMAS, OF_WEIGHTS = 0.3, 0.03
# The size of numbers that are all 0.
SMALLEST = 1e-3


@dataclass(frozen=True)
class Moved:
    """Numbers on their way: where they began, how far an offset of 1 takes them, and their offset, which is trained."""

    start: Tensor
    unit: Tensor
    offset: Tensor

    @staticmethod
    def by(start: Tensor, unit: Tensor) -> Moved:
        return Moved(start, unit, torch.zeros_like(start, requires_grad=True))

    def now(self) -> Tensor:
        return self.start + self.unit * self.offset


class TrainedParts:
    """A style network in training. gamma, beta: [styles, channels] of the new styles.

    Everything is made of copies, outside of inference mode.
    """

    def __init__(
        self, network: StyleNetwork, part: str, gamma: Tensor, beta: Tensor, device: torch.device | str
    ) -> None:
        self.network = network
        self.layers = layers_on(network, device)
        unit = gamma_units(network).to(device)
        self.gamma = Moved.by(gamma.to(device, copy=True), unit)
        self.beta = Moved.by(beta.to(device, copy=True), unit)
        self.weights = {
            (index, name): Moved.by(tensor, OF_WEIGHTS * _size(tensor))
            for index, layer in enumerate(self.layers)
            for name, tensor in trained_tensors(layer, part).items()
        }

    @property
    def offsets(self) -> list[Tensor]:
        """What an optimiser moves."""
        return [each.offset for each in (self.gamma, self.beta, *self.weights.values())]

    def paint(self, planes: Tensor, style: int) -> Tensor:
        """Paint planes [batch, 3, height, width] in 0..1 in a style, with gradients."""
        return paint_through(self.network, self.layers_now(), planes, self.gamma.now()[style], self.beta.now()[style])

    def layers_now(self) -> list[Layer]:
        changed: dict[int, dict[str, Tensor]] = {}
        for (index, name), moved in self.weights.items():
            changed.setdefault(index, {})[name] = moved.now()
        return [replace(layer, **changed.get(index, {})) for index, layer in enumerate(self.layers)]

    def as_network(self, name: str, style_names: Sequence[str]) -> StyleNetwork:
        """The network as it is now, on the CPU: with the new styles and no others."""
        with torch.no_grad():
            layers = tuple(
                replace(
                    layer,
                    weight=layer.weight.cpu().clone(),
                    bias=None if layer.bias is None else layer.bias.cpu().clone(),
                )
                for layer in self.layers_now()
            )
            gamma, beta = self.gamma.now().cpu(), self.beta.now().cpu()
        return replace(self.network, name=name, layers=layers, gamma=gamma, beta=beta, style_names=tuple(style_names))


def trained_tensors(layer: Layer, part: str) -> dict[str, Tensor]:
    """Those tensors of a convolution that a part trains, by their field. Before a norm a bias has no effect."""
    if part == NORMS or (part == LAST and not layer.name.startswith(LAST_STAGE)):
        return {}
    bias = {} if layer.bias is None or layer.norm is not None else {"bias": layer.bias}
    return {"weight": layer.weight, **bias}


def trained_numbers(network: StyleNetwork, part: str, styles: int) -> int:
    """How many numbers are trained of a network of so many new styles."""
    shared = sum(tensor.numel() for layer in network.layers for tensor in trained_tensors(layer, part).values())
    return 2 * network.channels * styles + shared


def gamma_units(network: StyleNetwork) -> Tensor:
    """How far a learning rate of 1 moves each gamma and beta, [channels]."""
    units = torch.empty(network.channels)
    for layer in network.layers:
        if layer.norm is not None:
            units[layer.norm] = OF_GAMMAS * _size(network.gamma[:, layer.norm])
    return units


def _size(tensor: Tensor) -> Tensor:
    """The root mean square of numbers."""
    return tensor.square().mean().sqrt().clamp(min=SMALLEST)
