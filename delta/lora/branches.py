"""What a LoRA adds to the output of a layer, computed beside the layer, whose weight stays as it is stored.

(W + s B A) x = W x + s B (A x): nothing is rounded to the format of W. A branch is a module, so that whoever holds it can
move its factors between devices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .adapters import LOHA_NAMES, LOKR_NAMES, LORA_NAMES, kronecker_factors, read_layer, same_weight, scale_of, unfolded

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Kernel(NamedTuple):
    """How a convolution slides over its input."""

    stride: tuple[int, ...] = (1,)
    padding: tuple[int, ...] = (0,)
    dilation: tuple[int, ...] = (1,)


POINTWISE = Kernel()


class Part(NamedTuple):
    """The part of a fused weight that an adapter is for: `length` of its outputs (dim 0) or inputs (dim 1) from `start`."""

    dim: int
    start: int
    length: int


class Branch(torch.nn.Module):
    """The change of a layer's output. factor: by which it is multiplied; axis: of the channels."""

    axis = -1

    def __init__(self, tensors: Mapping[str, Tensor], factor: float, part: Part | None):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
        self.factor, self.part = factor, part

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The outputs of the layer with the change, in place; both have their channels at `axis`."""
        place = outputs
        if self.part is not None:
            narrowed = inputs if self.part.dim else outputs
            narrowed = narrowed.narrow(self.axis, self.part.start, self.part.length)
            inputs, place = (narrowed, outputs) if self.part.dim else (inputs, narrowed)
        place.add_(self.change(inputs.to(outputs.dtype)), alpha=self.factor)
        return outputs

    def change(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def at_hand(self, name: str, inputs: Tensor) -> Tensor:
        """A factor where the inputs are, in their precision."""
        return getattr(self, name).to(device=inputs.device, dtype=inputs.dtype)


class LowRankBranch(Branch):
    """up (down x): [m, r] and [r, n]. down [r, n, *kernel] slides as the layer does, and up takes each place by itself."""

    def __init__(self, up: Tensor, down: Tensor, factor: float, kernel: Kernel = POINTWISE, part: Part | None = None):
        super().__init__({"up": up, "down": down}, factor, part)
        self.kernel = kernel
        self.axis = 1 if down.ndim > 2 else -1

    def change(self, inputs: Tensor) -> Tensor:
        up, down = self.at_hand("up", inputs), self.at_hand("down", inputs)
        if down.ndim == 2:
            return F.linear(F.linear(inputs, down), up)
        convolve = CONVOLUTIONS[down.ndim - 2]
        return convolve(convolve(inputs, down, None, *self.kernel), up.reshape(*up.shape, *[1] * (down.ndim - 2)))


class KroneckerBranch(Branch):
    """(left (x) right) x without the product: left [a, b] and right [c, d] of a linear weight [a c, b d]."""

    def __init__(self, left: Tensor, right: Tensor, factor: float, part: Part | None = None):
        super().__init__({"left": left, "right": right}, factor, part)

    def change(self, inputs: Tensor) -> Tensor:
        left, right = self.at_hand("left", inputs), self.at_hand("right", inputs)
        grid = inputs.unflatten(-1, (left.shape[1], right.shape[1]))
        return F.linear(F.linear(grid, right).transpose(-1, -2), left).transpose(-1, -2).flatten(-2)


def branch_of(
    tensors: Mapping[str, Tensor],
    strength: float,
    shape: tuple[int, ...],
    kernel: Kernel = POINTWISE,
    part: Part | None = None,
) -> Branch | None:
    """The branch of an adapter, given as its tensors by their endings, or None for one that needs the weight: an adapter
    whose change depends on it, one that is stored whole, a LoHa of too high a rank, and what does not fit the shape.

    shape: of the weight, or of the part that the adapter is for. Raises ValueError for an adapter that lacks a factor.
    """
    if part is not None and part.dim and len(shape) > 2:
        return None
    endings = tensors.keys() - {"alpha"}
    for up, down, mid in LORA_NAMES:
        if {up, down} <= endings <= {up, down, mid}:
            return _low_rank(
                tensors[up], unfolded(tensors[down], tensors.get(mid)), tensors, strength, shape, kernel, part
            )
    if endings <= {*LOKR_NAMES}:
        left, right, scale = kronecker_factors("A LoKr", tensors)
        sides = tuple(one * other for one, other in zip(left.shape, right.shape))
        return KroneckerBranch(left, right, strength * scale, part) if right.ndim == 2 and sides == shape else None
    if endings <= {*LOHA_NAMES}:
        update = read_layer("A LoHa", tensors).low_rank
        if update.rank * sum(update.shape[:1] + update.down.shape[1:]) < math.prod(shape):
            return _low_rank(update.up, update.down, {}, strength, shape, kernel, part)
    return None


def _low_rank(
    up: Tensor,
    down: Tensor,
    tensors: Mapping[str, Tensor],
    strength: float,
    shape: tuple[int, ...],
    kernel: Kernel,
    part: Part | None,
) -> LowRankBranch | None:
    rank = len(down)
    if not same_weight((len(up), down[0].numel()), shape) or up[0].numel() != rank:
        return None
    factor = strength * scale_of(tensors, rank)
    return LowRankBranch(up.flatten(1), down.reshape(rank, *shape[1:]), factor, kernel, part)
