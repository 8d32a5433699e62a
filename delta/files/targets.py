"""What a tensor of a model file holds: a weight of ComfyUI's, or a part of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Target(NamedTuple):
    """The weight that a tensor holds, or the part of it; third: which third of the tensor's rows it takes; change: what is
    done to the weight when all its parts are together."""

    name: str
    part: int = 0
    parts: int = 1
    third: int | None = None
    change: Callable[[Tensor], Tensor] | None = None


def transpose(value: Tensor) -> Tensor:
    return value.T.contiguous()


def swap_halves(value: Tensor) -> Tensor:
    return torch.cat(value.chunk(2)[::-1])
