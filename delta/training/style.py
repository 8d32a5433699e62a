"""A style while it is trained: differences of whole parameters, and factors of weights, from zero on.

The factors act on the input of their layer, so that no update is ever formed as a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..linear_algebra.factors import LowRank
from ..lora.file import LoraModel
from ..norms.difference import Deltas, to_lora
from .plan import Plan

# Settings of a convolution that its update has too.
CONVOLUTION = ("stride", "padding", "dilation")


@dataclass(frozen=True)
class Style:
    """plain: differences of parameters; factors: updates of weights; both by the model's names, float32."""

    plain: Deltas = field(default_factory=dict)
    factors: Mapping[str, LowRank] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [*self.plain, *self.factors]

    def tensors_of(self, name: str) -> list[Tensor]:
        """What is trained for one parameter: its difference, or both factors."""
        return [self.plain[name]] if name in self.plain else [self.factors[name].up, self.factors[name].down]

    def copy(self, without: Iterable[str] = ()) -> Style:
        """A copy on the CPU that no further step changes, without some names."""
        left_out = set(without)
        return Style(
            {name: _copy(delta) for name, delta in self.plain.items() if name not in left_out},
            {
                name: LowRank(_copy(part.up), _copy(part.down), part.shape)
                for name, part in self.factors.items()
                if name not in left_out
            },
        )


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


@torch.inference_mode(False)
def first_style(plan: Plan, seed: int, device: torch.device, given: Style | None = None) -> Style:
    """The style that training begins with, as leaves with gradients on a device.

    It changes nothing where nothing is given: `up` is zero, and the rows of `down` have a length of about 1. given: a style to
    go on from, which fits the plan; what it lacks in rank is filled up so that it stays the same. Where the caller is in
    inference mode, as hosts run nodes, the leaves are none of it.
    """
    given, generator = given or Style(), torch.Generator().manual_seed(seed)
    plain = {name: given.plain.get(name, torch.zeros(shape)) for name, shape in plan.plain.items()}
    factors = {}
    for name, shape in plan.factors.items():
        rank, columns = plan.rank_of(name), math.prod(shape[1:])
        up, down = torch.zeros(shape[0], rank), torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
        if (part := given.factors.get(name)) is not None:
            up[:, : part.rank], down[: part.rank] = part.up, part.down
        factors[name] = LowRank(_leaf(up, device), _leaf(down, device), tuple(shape))
    return Style({name: _leaf(delta, device) for name, delta in plain.items()}, factors)


def _leaf(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device, torch.float32, copy=True).requires_grad_()


def added(part: LowRank, features: Tensor, layer: Any) -> Tensor:
    """What a LoRA adds to the result of its layer, for the layer's input, in the type of the input.

    features: [..., n] for a matrix, [batch, channels, height, width] for a convolution, whose stride, padding and dilation
    `layer` tells.
    """
    up, down = (factor.to(features.device, features.dtype) for factor in (part.up, part.down))
    if len(part.shape) == 2:
        return functional.linear(functional.linear(features, down), up)
    options = {name: getattr(layer, name) for name in CONVOLUTION}
    hidden = functional.conv2d(features, down.reshape(part.rank, *part.shape[1:]), **options)
    return functional.conv2d(hidden, up[:, :, None, None])


def as_lora(style: Style, shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str], name: str) -> LoraModel:
    """A style as a LoRA that any loader applies, float32. shapes: of all weights of the model."""
    return to_lora(style.plain, shapes, metadata, name, style.factors)
