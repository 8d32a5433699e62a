"""Reading transfer networks. Which kind one is shows in its files.

- `styledelta.adain_network` (`own_networks`), which needs no encoder.
- AesFA's checkpoint (`aesfa`), which needs none either.
- A decoder and the file of its encoder, a VGG-19: AdaIN, or WCT where the decoder's name tells its level as Pytorch_WCT's
  and deep-transfer's do (`decoder_relu5_1.pth`, `vgg19_5/feature_invertor_conv5_1.pth`). The other levels of WCT are then
  found beside it, under the same name with another number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..files.file_errors import missing
from ..files.pickles import load_pickle
from ..files.tensor_files import SAFETENSORS, read_tensors
from . import own_networks
from .aesfa import aesfa_of, is_aesfa
from .decoder import decoder_of
from .feature_transfer import FeatureTransfer, Level, check_levels
from .transfer import TransferNetwork
from .transfer_style import fingerprint_of
from .transforms import ADAIN, WCT, Transform
from .vgg import VggFeatures, layout_of, read_vgg

COARSEST = 5


def load_transfer_network(path: str | Path, encoder: str | Path | None = None) -> TransferNetwork:
    """A transfer network from its file, or from the file of a decoder and that of its encoder.

    Raises FileNotFoundError, or ValueError that names the file and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path)
    if path.suffix.lower() not in SAFETENSORS and is_aesfa(content := load_pickle(path)):
        return aesfa_of(path, content)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == own_networks.FORMAT:
        return own_networks.adain_network_of(path, tensors, metadata)
    if layout_of(tensors) is not None:
        raise ValueError(
            f"{path.name} is a VGG, which only reads pictures. Choose it as the encoder, and its decoder as the network."
        )
    level, decoder = decoder_of(path, tensors)
    if encoder is None:
        raise ValueError(
            f"{path.name} is a decoder, which makes pictures of the features of relu{level}_1. Choose its encoder too, such "
            "as vgg_normalised.pth."
        )
    if told_level(path) is None:
        return _with_encoder(path, Path(encoder), [Level(f"relu{level}_1", decoder)], ADAIN)
    levels = []
    for file in needed_files(path):
        level, decoder = decoder_of(file, read_tensors(file)[0])
        if level != told_level(file):
            raise ValueError(f"{file.name} is a decoder from relu{level}_1. Give its name the number that it has.")
        levels.append(Level(f"relu{level}_1", decoder))
    return _with_encoder(path, Path(encoder), levels, WCT)


def told_level(path: Path) -> int | None:
    """The level that the name of a decoder's file tells, 5 of `decoder_relu5_1.pth`; None where it tells none."""
    found = re.search(r"(?:relu|conv)([1-5])_1", path.stem)
    return int(found[1]) if found else None


def needed_files(path: str | Path) -> list[Path]:
    """The files of a network, by their names alone: those of all levels where the name tells one, from the coarsest. They
    lie in its folder, or in one beside it whose name ends with the other number."""
    path, found = Path(path), []
    level = told_level(path)
    if level is None:
        return [path]
    for other in range(COARSEST, 0, -1):
        name = re.sub(rf"(relu|conv){level}_1", rf"\g<1>{other}_1", path.name)
        beside = path.parent.with_name(re.sub(rf"_{level}$", f"_{other}", path.parent.name))
        found += [folder / name for folder in dict.fromkeys((path.parent, beside)) if (folder / name).is_file()][:1]
    return found


def _with_encoder(path: Path, encoder: Path, levels: Sequence[Level], transform: Transform) -> FeatureTransfer:
    vgg = read_vgg(encoder)
    if not vgg.reflects:
        raise ValueError(
            f"{encoder.name} is {vgg.name.partition(' (')[0]}, but {path.name} was trained with the normalised VGG-19, whose features "
            "are others. Choose vgg_normalised.pth or vgg_normalised_conv5_1.pth as the encoder."
        )
    check_levels(path, vgg, levels)
    layers = [level.layer for level in levels]
    fingerprint = fingerprint_of(f"{transform.title} {' '.join(layers)}", _weights(vgg, layers))
    name = f"{transform.title} ({path.name}, {', '.join(layers)})"
    return FeatureTransfer(name, vgg, tuple(levels), transform, fingerprint)


def _weights(vgg: VggFeatures, layers: Sequence[str]) -> list[Tensor]:
    """Of the convolutions that these layers need: files may hold more of them."""
    names = list(vgg.convs)
    deepest = 1 + max(names.index(layer) for layer in layers)
    return [*vgg.entry, *(part for conv in list(vgg.convs.values())[:deepest] for part in conv)]
