"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015, arXiv 1409.1556) as feature networks, from files of their weights.

Two layouts are read, both state dicts:

- torchvision's (`features.N.weight`), which takes pictures less ImageNet's mean by its standard deviation, pads with
  zeros and drops an odd last row when it halves. timm names its copies alike, and so does github.com/jcjohnson/pytorch-vgg
  name the original weights from Caffe, which neural-style-pt uses: those want blue first, 0 to 255, less a mean. Nothing
  but the name of their files tells them apart.
- the "normalised" VGG-19 of AdaIN and WCT (`N.weight`; github.com/naoto0804/pytorch-AdaIN, irasin/Pytorch_WCT,
  pietrocarbo/deep-transfer), which begins with a 1x1 convolution that takes colours, pads by reflection and keeps an odd
  last row.

A file may stop after any convolution: the layers that it has can be used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.pickles import WholePickle
from ..files.tensor_files import read_tensors
from ..style_network.one_style import export_lines
from .features import FeatureLayer, OnLayer

Conv = tuple[Tensor, Tensor]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of the original weights, blue first, and what their files are called by: vgg19-d01eb7cb.pth, vgg16-00b39a1b.pth.
CAFFE_MEAN, CAFFE_FILES = (103.939, 116.779, 123.68), ("d01eb7cb", "00b39a1b")
# Convolutions of each block; a block after the first begins by halving the picture.
VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
# The layers of Gatys et al. 2016 (arXiv 1508.06576).
STYLE_LAYERS, CONTENT_LAYER = tuple(f"relu{block}_1" for block in range(1, 6)), "relu4_2"
# What files have behind the features, to tell classes apart.
CLASSIFIERS = ("classifier.", "pre_logits.", "head.")


@dataclass(frozen=True)
class Layout:
    """How a kind of file names the convolutions: the modules of one, of which its weights are the one at `offset`."""

    title: str
    prefix: str
    blocks: tuple[int, ...]
    first: int
    modules: int
    offset: int
    entry: str | None = None

    def convs(self) -> dict[str, str]:
        """The name of each convolution in the file by that of its layer, in running order."""
        found, index = {}, self.first
        for block, count in enumerate(self.blocks, 1):
            for number in range(1, count + 1):
                found[f"relu{block}_{number}"] = f"{self.prefix}{index + self.offset}"
                index += self.modules
            index += 1
        return found


TORCHVISION = tuple(Layout(f"torchvision's VGG-{n}", "features.", b, 0, 2, 0) for n, b in ((19, VGG19), (16, VGG16)))
NORMALISED = Layout("the normalised VGG-19 of AdaIN and WCT", "", VGG19, 1, 3, 1, entry="0")


@dataclass(frozen=True)
class VggFeatures:
    """The convolutions of a VGG after their ReLU, `relu1_1` to `relu5_4`. See `FeatureNetwork`.

    entry: what colours go through first, a 1x1 convolution. convs: by the name of the layer, in running order. reflects:
    borders are reflected, and an odd last row is kept when the picture is halved; else borders are zeros and it is dropped.
    """

    name: str
    entry: Conv
    convs: dict[str, Conv]
    reflects: bool
    layers: tuple[FeatureLayer, ...] = field(init=False)

    def __post_init__(self) -> None:
        layers = [FeatureLayer(name, len(conv[0]), 2 ** (block_of(name) - 1)) for name, conv in self.convs.items()]
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def style_layers(self) -> tuple[str, ...]:
        return tuple(name for name in STYLE_LAYERS if name in self.convs)

    @property
    def content_layers(self) -> tuple[str, ...]:
        return (CONTENT_LAYER if CONTENT_LAYER in self.convs else self.layers[-1].name,)

    @property
    def min_side(self) -> int:
        """Two positions are the least that can be reflected, one is the least that there can be."""
        return self.layers[-1].stride + self.reflects

    def __call__(self, planes: Tensor, wanted: Collection[str], on_layer: OnLayer = lambda: None) -> dict[str, Tensor]:
        wanted = set(wanted)
        if unknown := sorted(wanted - self.convs.keys()):
            raise KeyError(f"{self.name} has no layer {', '.join(unknown)}")
        found, block = {}, 1
        x = F.conv2d(planes, *self.entry)
        for name, conv in self.convs.items():
            if len(found) == len(wanted):
                break
            if block_of(name) > block:
                block = block_of(name)
                x = F.max_pool2d(x, 2, ceil_mode=self.reflects)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect" if self.reflects else "constant"), *conv).relu()
            on_layer()
            if name in wanted:
                found[name] = x
        return found

    def to(self, device: torch.device | str) -> VggFeatures:
        convs = {name: _plain(conv, device) for name, conv in self.convs.items()}
        return VggFeatures(self.name, _plain(self.entry, device), convs, self.reflects)


@torch.inference_mode(False)
def _plain(conv: Conv, device: torch.device | str = "cpu") -> Conv:
    """A convolution in float32 on a device. ComfyUI runs nodes in inference mode, whose tensors no gradient passes."""
    weight, bias = (part.clone() if part.is_inference() else part for part in conv)
    return weight.to(device, torch.float32), bias.to(device, torch.float32)


def block_of(name: str) -> int:
    """The block of a layer: 3 of `relu3_1`."""
    return int(name[len("relu") : name.index("_")])


def read_vgg(path: str | Path) -> VggFeatures:
    """A VGG-16 or VGG-19 from a file in one of the two layouts; float32 on the CPU, without gradients to its weights.

    Raises FileNotFoundError, or ValueError that names the file, the tensor and the remedy.
    """
    path = Path(path)
    try:
        tensors, _ = read_tensors(path)
    except WholePickle as error:
        raise ValueError(f"{error}\n{export_lines(path.name)}") from error
    return vgg_of(path, tensors)


def vgg_of(path: Path, tensors: Mapping[str, Tensor]) -> VggFeatures:
    """The VGG of a state dict. Raises ValueError as `read_vgg` does."""
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    layout = layout_of(tensors)
    if layout is None:
        examples = ", ".join(sorted(tensors)[:3])
        raise ValueError(
            f"{path.name} is not a VGG: none of its {len(tensors)} tensors, such as {examples}, begins one. Expected the "
            "state dict of torchvision's vgg16 or vgg19, or of vgg_normalised.pth from pytorch-AdaIN."
        )
    sources = layout.convs()
    last = max((n for n, source in enumerate(sources.values()) if f"{source}.weight" in tensors), default=0)
    sources = dict(list(sources.items())[: last + 1])
    _check_names(path, layout, sources, tensors)
    from_caffe = layout.entry is None and any(mark in path.stem for mark in CAFFE_FILES)
    if layout.entry is not None:
        entry = _conv(layout.entry, tensors)
    else:
        entry = _caffe_entry() if from_caffe else _imagenet_entry()
    convs = {name: _conv(source, tensors) for name, source in sources.items()}
    _check_shapes(path, layout, sources, entry, convs)
    title = layout.title.replace("torchvision", "Caffe") if from_caffe else layout.title
    return VggFeatures(f"{title} ({path.name})", entry, convs, reflects=layout.entry is not None)


def layout_of(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout that a state dict has the names of, or None where it is of neither. Decoders have names alike, but no
    1x1 convolution at their beginning."""
    if "features.0.weight" in tensors:
        numbered = {name for name in tensors if name.startswith("features.") and name.endswith(".weight")}
        return min(TORCHVISION, key=lambda each: len(numbered - {f"{conv}.weight" for conv in each.convs().values()}))
    if "0.weight" in tensors and tensors["0.weight"].shape == (3, 3, 1, 1):
        return NORMALISED
    return None


def _imagenet_entry() -> Conv:
    """(colour - mean) / standard deviation, as a 1x1 convolution."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return _plain((torch.diag(1 / std)[:, :, None, None], -mean / std))


def _caffe_entry() -> Conv:
    """255 * colour - mean with blue first, as a 1x1 convolution."""
    return _plain((255 * torch.eye(3).flip(0)[:, :, None, None], -torch.tensor(CAFFE_MEAN)))


def _conv(source: str, tensors: Mapping[str, Tensor]) -> Conv:
    return _plain((tensors[f"{source}.weight"], tensors[f"{source}.bias"]))


def _check_names(path: Path, layout: Layout, sources: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are all that the layers up to the last one need, and no others."""
    modules = [layout.entry, *sources.values()] if layout.entry else list(sources.values())
    wanted = [f"{module}.{part}" for module in modules for part in ("weight", "bias")]
    if averaged := [name for name in tensors if name.endswith(".running_mean")]:
        raise ValueError(
            f"{path.name} has batch normalisation ({averaged[0]} and {len(averaged) - 1} more). Use the VGG without it: "
            "vgg16 or vgg19 in place of vgg16_bn or vgg19_bn."
        )
    missing = [name for name in wanted if name not in tensors]
    left = [name for name in tensors if name not in wanted and not name.startswith(CLASSIFIERS)]
    faults = [f"it lacks {', '.join(missing)}"] * bool(missing) + [f"nothing uses {', '.join(left)}"] * bool(left)
    if faults:
        raise ValueError(
            f"{path.name} has the names of {layout.title}, but {' and '.join(faults)}. Use another copy of the file; "
            "modified networks cannot be read."
        )


def _check_shapes(
    path: Path, layout: Layout, sources: Mapping[str, str], entry: Conv, convs: Mapping[str, Conv]
) -> None:
    """Raise ValueError that names the first tensor that does not fit to the ones before it."""
    if entry[1].shape != (3,):
        raise _misfit(path, f"{layout.entry}.bias", entry[1], "a picture has 3 channels")
    channels = 3
    for name, source in sources.items():
        weight, bias = convs[name]
        if weight.dim() != 4 or weight.shape[1:] != (channels, 3, 3):
            raise _misfit(
                path, f"{source}.weight", weight, f"{name} reads {channels} channels, 3 by 3 positions of them"
            )
        channels = len(weight)
        if bias.shape != (channels,):
            raise _misfit(path, f"{source}.bias", bias, f"{source}.weight has {channels} channels")


def _misfit(path: Path, name: str, tensor: Tensor, reason: str) -> ValueError:
    return ValueError(
        f"{path.name}: the tensor {name} has the shape {tuple(tensor.shape)}; {reason}. The file is damaged or from a "
        "modified network. Use another copy of it."
    )
