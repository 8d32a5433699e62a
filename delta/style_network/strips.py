"""Running a chain of normalised convolutions in strips of rows, exactly.

An instance norm needs the statistics of the whole picture, so a picture cannot simply be cut into tiles. Here every
layer first gathers its statistics over all strips and is then evaluated strip by strip, with the rows of overlap its
convolution needs. The result is that of the whole picture at once. Of a large picture the maps with the most numbers
(those at full resolution) are not kept but computed again, strip by strip, from the last map that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..progress import Step

EPS = 1e-5
# A map of more floats per pixel of the picture than this is computed again instead of kept.
KEEP_FLOATS_PER_PIXEL = 16
# About this many pixels of a layer are worked on at once: small enough for caches, large enough for all cores.
STRIP_PIXELS = 131072
MIN_STRIP_ROWS = 32
CHUNK_PIXELS = 8192
FEW_CHANNELS = 4


@dataclass(frozen=True)
class Layer:
    """One convolution: reflect pad k // 2, convolve, normalise, activate.

    `weight` is [out, in, k, k]; `upsample` repeats pixels before the convolution; `transposed` puts zeros between and
    around them instead, which is what a transposed convolution with k // 2 of padding does; `norm` is where this layer's
    channels lie in a style's gamma and beta, None for a layer without norm; `residual` adds the input of the layer
    before.
    """

    name: str
    weight: Tensor
    bias: Tensor | None = None
    stride: int = 1
    upsample: int = 1
    norm: slice | None = None
    relu: bool = True
    residual: bool = False
    transposed: bool = False

    def enlarged(self, rows: Tensor) -> Tensor:
        """A map [1, channels, height, width] at `upsample` times its size, ready for the padding."""
        if self.upsample == 1:
            return rows
        if not self.transposed:
            return F.interpolate(rows, scale_factor=self.upsample, mode="nearest")
        shape = (*rows.shape[:2], *(side * self.upsample for side in rows.shape[2:]))
        spread = torch.empty(shape, device=rows.device, dtype=rows.dtype, memory_format=torch.channels_last).zero_()
        spread[..., :: self.upsample, :: self.upsample] = rows
        return spread

    def padded(self, rows: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
        """The map with so many pixels more on the left, right, top and bottom: reflected, or zeros."""
        return F.pad(rows, sides) if self.transposed else F.pad(rows, sides, mode="reflect")


@dataclass(frozen=True)
class Region:
    """The gamma and beta [channels] of one style, and where it applies: mask [1, 1, height, width] or everywhere."""

    gamma: Tensor
    beta: Tensor
    mask: Tensor | None = None

    def padded(self, pad: tuple[int, int, int, int]) -> Region:
        """The same region of a picture that was reflect-padded by `pad`."""
        if self.mask is None or not any(pad):
            return self
        return Region(self.gamma, self.beta, F.pad(self.mask, pad, mode="reflect"))


class _Moments:
    """Weighted mean and biased variance per channel, from parts of a map; put together in float64 on the CPU."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, Tensor, Tensor]] = []

    def add(self, rows: Tensor, weight: Tensor | None) -> None:
        if weight is None:
            # The CPU kernel adds up plainly in float32, so it is given few pixels at a time.
            for part in rows.split(max(1, CHUNK_PIXELS // rows.shape[-1]), dim=2):
                self.parts.append((part.shape[-2] * part.shape[-1], *_mean_and_variance(part)))
            return
        count = float(weight.sum())
        if count > 0:
            mean = (rows * weight).sum((0, 2, 3)) / count
            variance = ((rows - mean.view(1, -1, 1, 1)).square() * weight).sum((0, 2, 3)) / count
            self.parts.append((count, mean, variance))

    def affine(self, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift) that normalise and then apply gamma and beta."""
        counts, means, variances = zip(*self.parts)
        share = torch.tensor(counts, dtype=torch.float64)[:, None] / sum(counts)
        means, variances = (torch.stack(values).cpu().double() for values in (means, variances))
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        scale = gamma.double() / torch.sqrt(variance + EPS)
        return scale.float(), (beta.double() - mean * scale).float()


def _mean_and_variance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of [1, channels, height, width]."""
    if rows.device.type == "cpu":
        # 20 times faster than var_mean on channels-last maps.
        return torch.batch_norm_update_stats(rows, None, None, 0.0)
    variance, mean = torch.var_mean(rows, dim=(0, 2, 3), correction=0)
    return mean, variance


class _Picture:
    """The start of the chain: the picture itself."""

    def __init__(self, pixels: Tensor):
        self.map = pixels
        self.height, self.width = pixels.shape[-2:]

    def rows(self, low: int, high: int) -> Tensor:
        return self.map[..., low:high, :]


class _Feature:
    """The output of one layer, which hands out any of its rows."""

    def __init__(self, layer: Layer, source: _Picture | _Feature, skip: _Picture | _Feature | None):
        self.layer, self.source, self.skip = layer, source, skip
        self.height = source.height * layer.upsample // layer.stride
        self.width = source.width * layer.upsample // layer.stride
        self.map: Tensor | None = None
        self.styles: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.weights: list[Tensor | None] = []

    def gather(
        self, regions: Sequence[Region], moments: Sequence[_Moments], keep: bool, tick: Callable[[], None]
    ) -> None:
        """Add the statistics of every region to `moments`; keep the map before its norm when `keep`."""
        self.weights = [self._at_this_size(region.mask) for region in regions] if self.layer.norm else []
        for low, high in _strips(self.height, self.width):
            raw = self._convolve(low, high)
            for moment, weight in zip(moments, self.weights):
                moment.add(raw, None if weight is None else weight[..., low:high, :])
            if keep:
                self._store(raw, low, high)
            tick()

    def settle(self, regions: Sequence[Region], moments: Sequence[_Moments]) -> None:
        """Take the statistics for known; a map that was kept is finished."""
        for moment, weight, region in zip(moments, self.weights, regions):
            if moment.parts:
                affine = moment.affine(region.gamma[self.layer.norm], region.beta[self.layer.norm])
                self.styles.append((*(vector.to(self.layer.weight.device) for vector in affine), weight))
        if self.map is not None:
            for low, high in _strips(self.height, self.width):
                self._finish_(self.map[..., low:high, :], low, high)
            self.source = self.skip = None

    def _store(self, raw: Tensor, low: int, high: int) -> None:
        if raw.shape[2] == self.height:
            self.map = raw
            return
        if self.map is None:
            shape = (1, raw.shape[1], self.height, self.width)
            self.map = torch.empty(shape, device=raw.device, memory_format=torch.channels_last)
        self.map[..., low:high, :] = raw

    def rows(self, low: int, high: int) -> Tensor:
        if self.map is not None:
            return self.map[..., low:high, :]
        return self._finish_(self._convolve(low, high), low, high)

    def _at_this_size(self, mask: Tensor | None) -> Tensor | None:
        """A region's mask at this layer's resolution, by the mean over each of its pixels."""
        return None if mask is None else F.adaptive_avg_pool2d(mask, (self.height, self.width))

    def _convolve(self, low: int, high: int) -> Tensor:
        """Rows low..high of the convolution before its norm, reflecting at the borders of the picture."""
        layer, source, half = self.layer, self.source, self.layer.weight.shape[-1] // 2
        first, last = low * layer.stride - half, (high - 1) * layer.stride + half + 1
        limit = source.height * layer.upsample
        top, bottom = max(0, -first), max(0, last - limit)
        first, last = max(0, first), min(limit, last)
        start = first // layer.upsample
        rows = source.rows(start, -(-last // layer.upsample))
        rows = layer.enlarged(rows)[..., first - start * layer.upsample : last - start * layer.upsample, :]
        padded = layer.padded(rows, (half, half, top, bottom))
        if layer.weight.shape[0] <= FEW_CHANNELS and layer.stride == 1 and (high - low) % 2 == self.width % 2 == 0:
            return _convolve_blocks(padded, layer.weight, layer.bias)
        return F.conv2d(padded, layer.weight, layer.bias, stride=layer.stride)

    def _finish_(self, raw: Tensor, low: int, high: int) -> Tensor:
        """In place: normalise with the statistics of the whole picture, activate, add the skip connection."""
        affine = [(scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)) for scale, shift, _ in self.styles]
        if len(affine) == 1:
            scale, shift = affine[0]
            torch.addcmul(shift, raw, scale, out=raw)
        elif affine:
            weights = [weight[..., low:high, :] for _, _, weight in self.styles]
            styled = (torch.addcmul(shift, raw, scale).mul_(weight) for (scale, shift), weight in zip(affine, weights))
            raw.copy_(sum(styled))
        if self.layer.relu:
            raw.relu_()
        if self.skip is not None:
            raw.add_(self.skip.rows(low, high))
        return raw


def _convolve_blocks(padded: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution computed for 2 x 2 pixels at a time, as one of four times the channels and stride 2.

    With 3 or 4 channels most of a vector register would stay empty: 9 x 9 to 3 channels runs 4 times faster so.
    """
    out, inp, side, _ = weight.shape
    blocks = weight.new_zeros(out, 2, 2, inp, side + 1, side + 1)
    for dy in range(2):
        for dx in range(2):
            blocks[:, dy, dx, :, dy : dy + side, dx : dx + side] = weight
    blocks = blocks.view(4 * out, inp, side + 1, side + 1).contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(padded, blocks, bias, stride=2), 2)


def run_layers(
    layers: Sequence[Layer],
    pictures: Sequence[Tensor],
    regions: Sequence[Sequence[Region]],
    pixel_budget: int | None = None,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> list[Tensor]:
    """The output of the last layer for each picture [1, channels, height, width], float32, on the CPU.

    All pictures have one size and the statistics of all of them together. regions: those of each picture, in the same
    order; several share it by their masks. Above `pixel_budget` pixels in all, large maps are not kept in memory.
    on_step(done, total) is called after each strip of each layer and may raise to cancel.
    """
    height, width = pictures[0].shape[-2:]
    keep_all = pixel_budget is None or len(pictures) * height * width <= pixel_budget
    regions = [
        [Region(r.gamma, r.beta, None if r.mask is None else r.mask.to(device)) for r in of_picture]
        for of_picture in regions
    ]
    total, done = len(pictures) * _count_strips(layers, height, width), 0

    def tick() -> None:
        nonlocal done
        done += 1
        on_step(done, total)

    # A residual layer adds what the layer before it was given, so two features back are enough.
    sources = [_Picture(picture.to(device, memory_format=torch.channels_last)) for picture in pictures]
    before = [None] * len(sources)
    for layer in layers:
        layer = _on_device(layer, device)
        features = [
            _Feature(layer, *pair) for pair in zip(sources, before if layer.residual else [None] * len(sources))
        ]
        floats_per_pixel = layer.weight.shape[0] * features[0].height * features[0].width / (height * width)
        keep = keep_all or floats_per_pixel <= KEEP_FLOATS_PER_PIXEL
        moments = [_Moments() for _ in regions[0]] if layer.norm else []
        for feature, of_picture in zip(features, regions):
            feature.gather(of_picture, moments, keep, tick)
        for feature, of_picture in zip(features, regions):
            feature.settle(of_picture, moments)
        before, sources = sources, features
    return [source.rows(0, height).cpu().contiguous() for source in sources]


def _strips(height: int, width: int) -> list[tuple[int, int]]:
    """Ranges of rows of a map, an even number in each but the last."""
    rows = max(MIN_STRIP_ROWS, STRIP_PIXELS // width // 2 * 2)
    return [(low, min(low + rows, height)) for low in range(0, height, rows)]


def _count_strips(layers: Sequence[Layer], height: int, width: int) -> int:
    total = 0
    for layer in layers:
        height, width = (side * layer.upsample // layer.stride for side in (height, width))
        total += len(_strips(height, width))
    return total


def _on_device(layer: Layer, device: torch.device | str) -> Layer:
    """The layer with its weights on the device; channels last is what CPU convolutions run fastest on."""
    return replace(
        layer,
        weight=layer.weight.to(device, memory_format=torch.channels_last),
        bias=None if layer.bias is None else layer.bias.to(device),
    )
