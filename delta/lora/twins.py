"""Layers of one file that mean the same weight under two names, of which loaders apply one only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor

from .adapters import read_layer, split_name
from .file import group, write_layers
from .fused import add


def join_twins(file: str, tensors: Mapping[str, Tensor], targets: Mapping[str, Hashable]) -> dict[str, Tensor]:
    """The tensors with layers of one target added up under the first of their names, in float32; others as they are.

    targets: what each name of a layer means, where that is known. Raises ValueError that names both for layers that cannot be
    added up, such as a replaced weight.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if parts := split_name(name):
            layers.setdefault(parts[0], {})[name] = tensor
    twins: dict[Hashable, list[str]] = {}
    for name in layers:
        if name in targets:
            twins.setdefault(targets[name], []).append(name)
    joined = dict(tensors)
    for target, names in twins.items():
        if len(names) == 1:
            continue
        try:
            total = add([read_layer(name, group(layers[name])[0][name]) for name in names])
        except ValueError as error:
            raise ValueError(
                f"{file} has {' and '.join(names)}, which are the same weight of the model ({_weight(target)}) and "
                f"cannot be added up: {error}. Use a file with only one."
            ) from error
        for tensor in (tensor for name in names for tensor in layers[name]):
            del joined[tensor]
        joined |= write_layers({names[0]: total}, torch.float32)
    return joined


def _weight(target: Hashable) -> Hashable:
    """The weight of a target, which may be some rows of it."""
    return target[0] if isinstance(target, tuple) else target
