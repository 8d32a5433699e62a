"""AesFA (Kwon, Kim et al. 2024, arXiv 2312.05928), from its authors' checkpoint (github.com/Sooyyoungg/AesFA, `main.pth`).

Pictures are taken apart into high and low frequencies, at full and at half the size, by octave convolutions. A style is
3 by 3 positions of each, and filters are predicted of it. The checkpoint holds three state dicts: `netE` reads the
picture, `netS` the style, `netG` paints. Sides here are padded to multiples of 8, where the authors cut pictures square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.tensor_files import all_finite
from ..statistics.adain import statistics
from .feature_transfer import LIVE_BYTES, Region, padded
from .features import OnLayer
from .transfer_style import StyleTensors, fingerprint_of
from .vgg import IMAGENET_MEAN, IMAGENET_STD

CONTENT, STYLE, PAINTER = PARTS = ("netE", "netS", "netG")
# Of the style, positions a side.
STYLE_SIDE = 3
# How many filters of each group the painter predicts, by stage.
GROUP_WIDTHS = (1, 2, 4)
# Of PyTorch's leaky ReLU and instance norm.
SLOPE, EPSILON = 0.01, 1e-5
BANDS = ("h", "l")

Bands = tuple[Tensor, Tensor]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Aesfa:
    """parts: by the checkpoint's names the tensors of the three networks. See `TransferNetwork`."""

    name: str
    parts: dict[str, dict[str, Tensor]]
    fingerprint: str
    stride: int = 8
    # Padded to the stride these are two positions of the coarsest layer, the least that can be reflected.
    min_side: int = 9
    measuring_steps: int = 7
    painting_steps: int = 16

    @property
    def bytes_per_pixel(self) -> int:
        return LIVE_BYTES * len(self.parts[CONTENT]["conv.weight"])

    @property
    def style_shapes(self) -> dict[str, tuple[int, ...]]:
        channels = 2 * len(self.parts[CONTENT]["conv.weight"])
        return {band: (channels, STYLE_SIDE, STYLE_SIDE) for band in BANDS}

    def measure(self, plane: Tensor, on_layer: OnLayer = lambda: None) -> StyleTensors:
        bands = _encoded(self.parts[STYLE], padded(plane, self.stride), on_layer)
        return {name: F.adaptive_avg_pool2d(band, STYLE_SIDE)[0].cpu() for name, band in zip(BANDS, bands)}

    def paint(
        self, plane: Tensor, regions: Sequence[Region], amount: float = 1.0, on_layer: OnLayer = lambda: None
    ) -> Tensor:
        """amount: how far the style goes from the picture's own one, which the authors do not have."""
        if amount != 1:
            own = self.measure(plane)
            styles = [{name: torch.lerp(own[name], part, amount) for name, part in r.style.items()} for r in regions]
            regions = [region._replace(style=style) for region, style in zip(regions, styles)]
        x = _encoded(self.parts[CONTENT], plane, on_layer)
        painter = self.parts[PAINTER]
        for stage in (1, 2, 3):
            x = _styled(painter, f"AdaOctConv{stage}_1", x, regions)
            on_layer()
            if stage < 3:
                x = _octave(painter, f"OctConv{stage}_2", x)
                on_layer()
                x = tuple(
                    _conv(painter, f"oct_conv_aftup_{stage}.conv_{name}", _doubled(band))
                    for name, band in zip(BANDS, x)
                )
                on_layer()
        y = _conv(painter, "OctConv3_2.convh", x[0]) + _conv(painter, "OctConv3_2.convl", _doubled(x[1]))
        on_layer()
        y = _conv(painter, "conv4", y)
        on_layer()
        return y * _colours(IMAGENET_STD, y) + _colours(IMAGENET_MEAN, y)

    def to(self, device: torch.device | str) -> Aesfa:
        moved = {part: {name: tensor.to(device) for name, tensor in t.items()} for part, t in self.parts.items()}
        return replace(self, parts=moved)


def is_aesfa(content: object) -> bool:
    """Whether the content of a pickle is a checkpoint of AesFA."""
    return isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in PARTS)


def aesfa_of(path: Path, content: Mapping[str, Tensors]) -> Aesfa:
    """The network of a checkpoint's content. Raises ValueError that names the file, the tensor and the remedy."""
    parts = {part: {name: content[part][name] for name in content[part]} for part in PARTS}
    width = parts[CONTENT].get("conv.weight", torch.empty(0))
    for part in PARTS:
        wanted = _painter_shapes(len(width)) if part == PAINTER else _encoder_shapes(len(width))
        for name in [*wanted, *parts[part]]:
            found = parts[part].get(name)
            shape = tuple(found.shape) if isinstance(found, Tensor) else None
            if shape != wanted.get(name):
                raise ValueError(
                    f"{path.name} is like AesFA's main.pth, but its tensor {name} of {part} "
                    f"{'is missing' if shape is None else f'has the shape {shape}'}; it should "
                    f"{f'have {wanted[name]}' if name in wanted else 'not be there'}. Use another copy of the file."
                )
            if not all_finite(found):
                raise ValueError(
                    f"{path.name}: the tensor {name} of {part} holds NaN or infinite values. Use another copy."
                )
        parts[part] = {name: tensor.detach().float() for name, tensor in parts[part].items()}
    return Aesfa(f"AesFA ({path.name})", parts, fingerprint_of("AesFA", parts[STYLE].values()))


def _encoder_shapes(width: int) -> dict[str, tuple[int, ...]]:
    half, full, double = width // 2, width, 2 * width
    shapes = {"conv.weight": (width, 3, 7, 7), "conv.bias": (width,)}
    shapes |= {f"OctConv1_1.conv{band}.weight": (half, width, 3, 3) for band in BANDS}
    for name, out, inp, side in (
        ("1_2", full, half, 1),
        ("1_3", full, full, 3),
        ("2_2", double, full, 1),
        ("2_3", double, double, 3),
    ):
        shapes |= {f"OctConv{name}.{way}.weight": (out, inp, side, side) for way in ("L2L", "L2H", "H2L", "H2H")}
    return shapes | {f"OctConv2_1.{way}.weight": (full, 1, 3, 3) for way in ("L2L", "H2H")}


def _painter_shapes(width: int) -> dict[str, tuple[int, ...]]:
    shapes = {"conv4.weight": (3, width // 2, 1, 1), "conv4.bias": (3,)}
    for stage, (half, group) in enumerate(zip((2 * width, width, width // 2), GROUP_WIDTHS), 1):
        name, quarter, style = f"AdaOctConv{stage}_1", half // 2, 2 * width
        shapes |= {f"{name}.OctConv.{way}.weight": (half, 1, 3, 3) for way in ("L2L", "H2H")}
        for band in BANDS:
            predictor, after = f"{name}.kernelPredictor_{band}", f"oct_conv_aftup_{stage}.conv_{band}"
            shapes |= _with_bias(f"{predictor}.spatial", half * group, style, STYLE_SIDE)
            shapes |= _with_bias(f"{predictor}.pointwise.1", half * group, style, 1)
            shapes |= _with_bias(f"{predictor}.bias.1", half, style, 1)
            shapes |= _with_bias(f"{name}.AdaConv_{band}.conv", half, half, 3)
            if stage < 3:
                shapes |= _with_bias(after, quarter, quarter, 3)
            else:
                shapes[f"OctConv3_2.conv{band}.weight"] = (half, half, 1, 1)
        if stage < 3:
            ways = ("L2L", "L2H", "H2L", "H2H")
            shapes |= {f"OctConv{stage}_2.{way}.weight": (quarter, half, 1, 1) for way in ways}
    return shapes


def _with_bias(name: str, out: int, inp: int, side: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inp, side, side), f"{name}.bias": (out,)}


def _encoded(tensors: Tensors, plane: Tensor, on_layer: OnLayer) -> Bands:
    """The bands of a picture [1, 3, height, width] in 0..1, at a fourth and an eighth of its size."""
    plane = (plane - _colours(IMAGENET_MEAN, plane)) / _colours(IMAGENET_STD, plane)
    whole = F.conv2d(plane, tensors["conv.weight"], tensors["conv.bias"], padding=3)
    on_layer()
    high = _conv(tensors, "OctConv1_1.convh", whole, stride=2)
    x = _rectified((high, _conv(tensors, "OctConv1_1.convl", _halved(whole), stride=2)))
    on_layer()
    for name in ("1_2", "1_3", "2_1", "2_2", "2_3"):
        x = _rectified(_octave(tensors, f"OctConv{name}", x, stride=2 if name == "2_1" else 1))
        on_layer()
    return x


def _octave(tensors: Tensors, name: str, x: Bands, stride: int = 1) -> Bands:
    """An octave convolution (Chen et al. 2019, arXiv 1904.05049). Depthwise ones do not mix the bands."""
    high, low = x
    to_high, to_low = _conv(tensors, f"{name}.H2H", high, stride), _conv(tensors, f"{name}.L2L", low, stride)
    if f"{name}.L2H.weight" not in tensors:
        return to_high, to_low
    return to_high + _conv(tensors, f"{name}.L2H", _doubled(low)), to_low + _conv(tensors, f"{name}.H2L", _halved(high))


def _styled(tensors: Tensors, name: str, x: Bands, regions: Sequence[Region]) -> Bands:
    """Each band through the filters that are predicted of the styles, then a depthwise octave convolution."""
    bands = []
    for letter, band in zip(BANDS, x):
        total = 0
        for region in regions:
            mask = region.mask_at(band)
            mean, std = statistics(band, (2, 3), mask)
            normal = (band - mean) / (std.square() + EPSILON).sqrt()
            style = region.style[letter][None].to(band)
            styled = _filtered(tensors, f"{name}.kernelPredictor_{letter}", normal, style)
            total = total + (styled if mask is None else styled * mask)
        bands.append(_conv(tensors, f"{name}.AdaConv_{letter}.conv", total))
    return _rectified(_octave(tensors, f"{name}.OctConv", _rectified((bands[0], bands[1]))))


def _filtered(tensors: Tensors, name: str, x: Tensor, style: Tensor) -> Tensor:
    """x through two convolutions in groups, whose weights are predicted of a style [1, channels, 3, 3]."""
    mean = style.mean((2, 3), keepdim=True)
    channels, side = x.shape[1], style.shape[-1]
    spatial = _conv(tensors, f"{name}.spatial", style).reshape(channels, -1, side, side)
    pointwise = _conv(tensors, f"{name}.pointwise.1", mean).reshape(channels, -1, 1, 1)
    groups = channels // spatial.shape[1]
    x = F.conv2d(_reflected(x, side // 2), spatial, groups=groups)
    return F.conv2d(x, pointwise, _conv(tensors, f"{name}.bias.1", mean).flatten(), groups=groups)


def _conv(tensors: Tensors, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = tensors[f"{name}.weight"]
    groups = x.shape[1] // weight.shape[1]
    x = _reflected(x, weight.shape[-1] // 2)
    return F.conv2d(x, weight, tensors.get(f"{name}.bias"), stride=stride, groups=groups)


def _reflected(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (width,) * 4, mode="reflect") if width else x


def _rectified(x: Bands) -> Bands:
    return F.leaky_relu(x[0], SLOPE), F.leaky_relu(x[1], SLOPE)


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _colours(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like)[:, None, None]
