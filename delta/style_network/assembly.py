"""Putting a style network together from its convolutions, and checking that they fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from .network import StyleNetwork
from .strips import Layer

Convs = dict[str, tuple[Tensor, Tensor | None]]


def stage_of(layers: Iterable[Layer], stage: str) -> list[Layer]:
    """The layers of a stage: contract, res or expand."""
    return [layer for layer in layers if layer.name.startswith(f"{stage}.")]


def build_layers(
    convs: Convs,
    normalised: Iterable[str],
    strides: Sequence[int],
    upsample: Sequence[int],
    transposed: Iterable[str] = (),
) -> tuple[tuple[Layer, ...], list[str]]:
    """The layers in running order, and the names of the normalised ones in the order of their channels.

    convs: by the names of our layout, weights [out, in, k, k]. strides, upsample: of the layers `contract.<n>` and
    `expand.<n>`. transposed: the names of the layers that spread pixels instead of repeating them.
    Raises ValueError for a name without a convolution, IndexError for a layer without a stride.
    """
    order = {"contract": 0, "res": 1, "expand": 2}
    names = sorted(convs, key=lambda name: (order[name.split(".")[0]], *map(int, name.split(".")[1:])))
    normalised, transposed = set(normalised), set(transposed)
    if unknown := (normalised | transposed) - convs.keys():
        raise ValueError(f"there is no layer {', '.join(sorted(unknown))}")
    layers, norm_names, channel = [], [], 0
    for name in names:
        weight, bias = convs[name]
        stage, number = name.split(".")[0], int(name.split(".")[1])
        norm = None
        if name in normalised:
            norm = slice(channel, channel + weight.shape[0])
            channel = norm.stop
            norm_names.append(name)
        second_of_block = stage == "res" and name.endswith(".1")
        layers.append(
            Layer(
                name,
                weight.float(),
                None if bias is None else bias.float(),
                stride=strides[number] if stage == "contract" else 1,
                upsample=upsample[number] if stage == "expand" else 1,
                transposed=name in transposed,
                norm=norm,
                relu=not second_of_block and name != names[-1],
                residual=second_of_block,
            )
        )
    return tuple(layers), norm_names


def side_by_side(columns: Mapping[str, Tensor]) -> Tensor:
    """The gammas or betas [styles, out] of all layers as one table, [styles, channels]."""
    return torch.cat(list(columns.values()), dim=1)


def check_network(network: StyleNetwork) -> None:
    """Raise ValueError unless the layers follow each other and the styles have a number for each channel."""
    channels = 3
    for layer in network.layers:
        out, inp, height, width = layer.weight.shape
        if inp != channels or height != width or height % 2 == 0:
            raise ValueError(f"{layer.name} is {tuple(layer.weight.shape)} after {channels} channels")
        if layer.bias is not None and layer.bias.shape != (out,):
            raise ValueError(f"the bias of {layer.name} is {tuple(layer.bias.shape)} for {out} channels")
        channels = out
    if channels != 3 or network.layers[-1].residual:
        raise ValueError(f"its last layer outputs {channels} channels instead of a picture's 3")
    blocks = [layer.name for layer in stage_of(network.layers, "res")]
    if blocks != [f"res.{block}.{half}" for block in range(len(blocks) // 2) for half in (0, 1)]:
        raise ValueError("its residual blocks are not complete")
    upsample = math.prod(layer.upsample for layer in network.layers)
    if min(layer.stride for layer in network.layers) < 1 or network.stride != upsample:
        raise ValueError(f"it shrinks the picture {network.stride} times and enlarges it {upsample} times")
    normalised = sum(layer.weight.shape[0] for layer in network.layers if layer.norm is not None)
    shapes = {network.gamma.shape, network.beta.shape}
    if shapes != {(len(network.style_names), normalised)}:
        raise ValueError(f"its tables are {sorted(map(tuple, shapes))} for {normalised} normalised channels")
