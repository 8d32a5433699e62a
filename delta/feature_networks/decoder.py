"""Decoders: what makes a picture of features again.

Those of AdaIN (github.com/naoto0804/pytorch-AdaIN, `decoder.pth`) and of WCT (irasin/Pytorch_WCT, `decoder_relu5_1.pth`;
pietrocarbo/deep-transfer, `feature_invertor_conv5_1.pth`) are the VGG-19 backwards, from its layer reluN_1, and their files
are alike: state dicts of an nn.Sequential, `1.weight`, `1.bias`, `5.weight` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .features import OnLayer
from .vgg import VGG19, Conv

# Modules of a convolution: padding, convolution, ReLU.
MODULES = 3


@dataclass(frozen=True)
class Decoder:
    """Convolutions 3 by 3 with reflected borders, and a ReLU after each but the last.

    doubled: the numbers of the convolutions before which each position becomes two by two.
    """

    convs: tuple[Conv, ...]
    doubled: frozenset[int]

    @property
    def channels(self) -> int:
        """Of the features that it reads."""
        return self.convs[0][0].shape[1]

    @property
    def scale(self) -> int:
        """How many pixels a position becomes, a side."""
        return 2 ** len(self.doubled)

    def __call__(self, features: Tensor, on_layer: OnLayer = lambda: None) -> Tensor:
        """The picture [batch, 3, scale * height, scale * width] of features [batch, channels, height, width], both at
        least 2 wide and high; about 0..1, not bounded. on_layer() is called after each convolution."""
        x = features
        for number, conv in enumerate(self.convs):
            if number in self.doubled:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), *conv)
            x = x if number == len(self.convs) - 1 else x.relu()
            on_layer()
        return x

    def to(self, device: torch.device | str) -> Decoder:
        """The same decoder on a device."""
        return Decoder(tuple((weight.to(device), bias.to(device)) for weight, bias in self.convs), self.doubled)


def mirrored(level: int) -> tuple[list[str], frozenset[int]]:
    """Of the decoder from relu`level`_1, the convolutions' names in a file, and the numbers of those that are doubled."""
    names, doubled, index = ["1"], set(), MODULES
    for count in reversed(VGG19[: level - 1]):
        doubled.add(len(names))
        index += 1
        names += [str(index + number * MODULES + 1) for number in range(count)]
        index += count * MODULES
    return names, frozenset(doubled)


LEVELS = {len(mirrored(level)[0]): level for level in range(1, 6)}


def is_decoder(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of a decoder, and not those of the encoder, which are alike."""
    return "1.weight" in tensors and all(re.fullmatch(r"\d+\.(weight|bias)", name) for name in tensors)


def decoder_of(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, Decoder]:
    """(level, decoder) of a state dict: 4 reads relu4_1.

    Raises ValueError that names the file, the tensor and the remedy, for a state dict of another network, one that is
    incomplete, and for shapes that do not fit together.
    """
    level = LEVELS.get(sum(name.endswith(".weight") for name in tensors))
    if not is_decoder(tensors) or level is None:
        examples = ", ".join(sorted(tensors)[:3])
        raise ValueError(
            f"{path.name} is not a decoder of AdaIN or WCT: its {len(tensors)} tensors, such as {examples}, are others. "
            "Expected decoder.pth of pytorch-AdaIN, or decoder_relu5_1.pth and the like of Pytorch_WCT or deep-transfer."
        )
    names, doubled = mirrored(level)
    if lacking := [f"{n}.{part}" for n in names for part in ("weight", "bias") if f"{n}.{part}" not in tensors]:
        raise ValueError(
            f"{path.name} has as many convolutions as the decoder from relu{level}_1, but lacks {', '.join(lacking)}. Use "
            "another copy of the file; modified networks cannot be read."
        )
    convs = tuple((tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()) for name in names)
    check_convs(path, names, convs)
    return level, Decoder(convs, doubled)


def check_convs(path: Path, names: list[str], convs: tuple[Conv, ...]) -> None:
    """Raise ValueError that names the first tensor of a decoder that does not fit to the ones before it."""
    channels = convs[0][0].shape[1] if convs[0][0].dim() == 4 else 0
    for name, (weight, bias) in zip(names, convs):
        out = 3 if name == names[-1] else len(weight)
        for part, tensor, wanted in (("weight", weight, (out, channels, 3, 3)), ("bias", bias, (out,))):
            if tensor.shape != wanted:
                raise ValueError(
                    f"{path.name}: the tensor {name}.{part} has the shape {tuple(tensor.shape)}, not {wanted} as the "
                    "convolution before it asks. The file is damaged or from a modified network. Use another copy of it."
                )
        channels = out
