"""Style networks: a feed-forward painter whose style is the gamma and beta of its instance norms.

Conditional instance normalisation: Dumoulin et al. 2017 (arXiv 1610.07629). Any picture as style: Ghiasi et al. 2017
(arXiv 1705.06830). One style per network: Johnson et al. 2016 (arXiv 1603.08155), Ulyanov et al. 2016 (arXiv
1607.08022). All are one shape: convolutions that contract, residual blocks, convolutions that expand; each convolution
reflect-pads, then normalises each channel over the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures import check_image, check_mask_count, read_mask
from ..progress import Step
from .finish import at_paint_size, back_to_size, dithered, keeping_colours
from .params import StyleComponent, StyleParams, check_network, interpolate
from .predictor import StylePredictor
from .strips import Layer, Region, run_layers

STAGES = ("contract", "res", "expand")
# Beyond these the paintings of the 26-style network fall apart into texture.
MIN_STRENGTH, MAX_STRENGTH = -0.5, 1.5


@dataclass(frozen=True)
class StyleNetwork:
    """A style network and the styles it was trained with.

    `gamma` and `beta` are tables [styles, channels]. A network that paints any style has a `predictor`, and
    `projection` [2 * channels, 100] with `projection_bias` turn a style vector into gamma and beta; its tables are
    empty. `value_range` is the value of white at the input (1 or 255); `sigmoid` tells how the output is bounded.
    """

    name: str
    layers: tuple[Layer, ...]
    gamma: Tensor
    beta: Tensor
    style_names: tuple[str, ...]
    value_range: float = 1.0
    sigmoid: bool = True
    projection: Tensor | None = None
    projection_bias: Tensor | None = None
    predictor: StylePredictor | None = None
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        parts = [part for layer in self.layers for part in (layer.weight, layer.bias)]
        for layer in self.layers:
            kind = " transposed" if layer.transposed else ""
            digest.update(f"{layer.name} {layer.stride} {layer.upsample} {layer.norm}{kind}".encode())
        for part in [*parts, self.projection, self.projection_bias]:
            digest.update(b"" if part is None else part.contiguous().numpy().tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest()[:16])

    @property
    def channels(self) -> int:
        """How many channels are normalised: a style is twice as many numbers."""
        return self.gamma.shape[1]

    @property
    def stride(self) -> int:
        """The picture's sides are padded to a multiple of this."""
        stride = 1
        for layer in self.layers:
            stride *= layer.stride
        return stride

    @property
    def min_side(self) -> int:
        """The smallest side, in pixels, on which every reflect padding of the network is defined."""
        side, scale = 1, 1
        for layer in self.layers:
            scale //= layer.upsample
            if not layer.transposed:
                side = max(side, scale * (layer.weight.shape[-1] // 2 + 1))
            scale *= layer.stride
        return side

    def style(self, index: int, weight: float = 1.0) -> StyleComponent:
        """Style `index` of the table. Raises ValueError when the network has no such style."""
        count = len(self.style_names)
        if count == 0:
            raise ValueError(
                f"{self.name} has no built-in styles: it takes its style from a picture. "
                "Use Style From Image, or load a network that has a style table."
            )
        if not 0 <= index < count:
            raise ValueError(f"{self.name} has styles 0 to {count - 1}; there is no style {index}.")
        return StyleComponent(self.style_names[index], self.gamma[index], self.beta[index], weight)

    def style_from_vector(self, vector: Tensor, label: str, weight: float = 1.0) -> StyleComponent:
        """Project a style vector [100] to gamma and beta. Raises ValueError when the network has no projection."""
        if self.projection is None:
            raise ValueError(
                f"{self.name} has only its own styles and cannot take one from a picture or a style vector. "
                "Choose the any-picture network in Load Style Network."
            )
        if vector.shape != self.projection.shape[1:]:
            raise ValueError(
                f"{label} is a style vector of {vector.numel()} numbers; {self.name} expects "
                f"{self.projection.shape[1]}."
            )
        gamma, beta = torch.addmv(self.projection_bias, self.projection, vector.float()).chunk(2)
        return StyleComponent(label, gamma, beta, weight, vector.float())

    def style_from_image(
        self,
        image: Tensor,
        label: str,
        weight: float = 1.0,
        on_step: Step = lambda done, total: None,
    ) -> StyleComponent:
        """The style of a picture [batch, height, width, 3] in 0..1; a batch gives the mean of its style vectors.

        on_step(done, total) is called after each picture and may raise to cancel.
        """
        if self.predictor is None:
            return self.style_from_vector(torch.empty(0), label, weight)
        planes = checked_planes(image, 1, "The style picture")
        vectors = []
        for plane in planes:
            vectors.append(self.predictor(plane[None]))
            on_step(len(vectors), len(planes))
        return self.style_from_vector(torch.stack(vectors).mean(0), label, weight)

    def anchor(self, image: Tensor) -> tuple[Tensor, Tensor] | None:
        """What a strength of 0 means: the mean of the table, or for an any-picture network the picture's own style.

        None for a network of one style, which has nothing to interpolate to.
        """
        if self.predictor is not None:
            own = self.style_from_image(image, "the picture's own style")
            return own.gamma, own.beta
        if len(self.style_names) < 2:
            return None
        return self.gamma.mean(0), self.beta.mean(0)


@dataclass(frozen=True)
class Strength:
    """How far to go from the anchor to the style: 1 is the style, more exaggerates. One factor per stage on top.

    The product is held to the range in which pictures stay pictures.
    """

    style: float = 1.0
    early: float = 1.0
    middle: float = 1.0
    late: float = 1.0

    def per_channel(self, network: StyleNetwork) -> Tensor:
        """The factor of every normalised channel, shape [channels]."""
        factor = dict(zip(STAGES, (self.early, self.middle, self.late)))
        amounts = torch.empty(network.channels)
        for layer in network.layers:
            if layer.norm is not None:
                amounts[layer.norm] = min(
                    max(self.style * factor[layer.name.split(".")[0]], MIN_STRENGTH), MAX_STRENGTH
                )
        return amounts


def checked_planes(image: Tensor, min_side: int, what: str) -> Tensor:
    """A picture [batch, height, width, channels] in 0..1 as RGB planes [batch, 3, height, width].

    Grey is repeated and alpha is dropped. Raises ValueError for a picture that is too small, has another shape, or
    holds NaN or infinite values.
    """
    check_image(image, what)
    height, width = image.shape[1:3]
    if min(height, width) < min_side:
        raise ValueError(
            f"{what} is {width}x{height} pixels; the style network needs at least {min_side} on each side. "
            "Upscale the picture first."
        )
    planes = image[..., :3].movedim(-1, 1).float()
    return planes.expand(-1, 3, -1, -1) if planes.shape[1] == 1 else planes


def stylize(
    network: StyleNetwork,
    image: Tensor,
    style: StyleParams,
    strength: Strength = Strength(),
    mask: Tensor | None = None,
    second: StyleParams | None = None,
    image_blend: float = 1.0,
    pixel_budget: int | None = None,
    keep_colours: float = 0.0,
    paint_size: int = 0,
    same_look: bool = False,
    dither: bool = False,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """Paint every picture of a batch.

    image: [batch, height, width, channels] in 0..1. mask: [masks, height, width] in 0..1, resized to the picture;
    `style` applies where it is 1 and `second` where it is 0, each with the statistics of its own region; without
    `second` the picture itself stays where the mask is 0. image_blend: the share of the painting over the picture.
    pixel_budget: above this many pixels large feature maps are computed again instead of kept; the norms still see the
    whole picture, so there are no seams. keep_colours: 0 to 1, how much of the picture's colours the painting's lightness
    gets. paint_size: the longer side in pixels at which the network paints, 0 for that of the picture; the painting is
    brought back to the picture's size. same_look: the norms take the statistics of the whole batch instead of each
    picture's own, so that the frames of a video are painted alike. dither: hide the steps of 8-bit values from the network.
    on_step(done, total) is called between pieces of work and may raise to cancel.

    Returns [batch, height, width, 3] float32 on the CPU. Raises ValueError for bad input.
    """
    check_network(style, network.fingerprint)
    if second is not None:
        check_network(second, network.fingerprint)
    planes, masks, small, small_masks = prepared(image, mask, second is not None, paint_size, network.min_side)
    empty = [second is None and each is not None and not each.any() for each in masks]
    wanted = [] if image_blend == 0 else [index for index in range(len(planes)) if not empty[index]]
    groups = [wanted] if same_look and wanted else [[index] for index in wanted]
    painted = list(planes.split(1))
    for number, group in enumerate(groups):
        anchor = _anchor(network, image[group], strength)
        regions = [_regions(network, anchor, style, second, strength, small_masks[index]) for index in group]
        pictures = [small[index : index + 1] for index in group]
        pictures = [dithered(picture) for picture in pictures] if dither else pictures
        outputs = _paint(network, pictures, regions, pixel_budget, device, scaled(on_step, number, len(groups)))
        for index, output in zip(group, outputs):
            plane = planes[index : index + 1]
            output = keeping_colours(back_to_size(output, *plane.shape[-2:]), plane, keep_colours)
            if second is None and masks[index] is not None:
                output = torch.lerp(plane, output, masks[index])
            painted[index] = output if image_blend == 1 else torch.lerp(plane, output, image_blend)
    return torch.cat(painted).movedim(1, -1)


class Prepared(NamedTuple):
    """Pictures [batch, 3, height, width] in 0..1 and a mask [1, 1, height, width] or None for each, in the size that they have
    and in that at which they are painted."""

    planes: Tensor
    masks: Sequence[Tensor | None]
    small: Tensor
    small_masks: Sequence[Tensor | None]


def prepared(image: Tensor, mask: Tensor | None, has_second: bool, paint_size: int, min_side: int) -> Prepared:
    """A batch [batch, height, width, channels] ready to be painted in one style, or two by a mask. Raises ValueError for bad
    input, and for a second style without a mask."""
    if has_second and mask is None:
        raise ValueError("A second style needs a mask that shows where each style applies. Connect a MASK.")
    planes = checked_planes(image, min_side, "The picture")
    masks = [None] * len(planes) if mask is None else fit_mask(mask, planes)
    small = at_paint_size(planes, paint_size, min_side)
    return Prepared(planes, masks, small, masks if mask is None or small is planes else fit_mask(mask, small))


def scaled(on_step: Step, index: int, count: int) -> Step:
    """The progress of one of so many equal parts, told as that of the whole."""
    return lambda done, total: on_step(index * total + done, count * total)


def fit_mask(mask: Tensor, planes: Tensor) -> list[Tensor]:
    """The mask of each picture at its size, [1, 1, height, width] in 0..1."""
    mask = read_mask(mask)
    check_mask_count(len(mask), len(planes))
    if mask.shape[-2:] != planes.shape[-2:]:
        mask = F.interpolate(mask[:, None], planes.shape[-2:], mode="bilinear", antialias=True)[:, 0]
    mask = mask.clamp(0, 1)
    return [mask[min(index, len(mask) - 1)][None, None] for index in range(len(planes))]


def _anchor(network: StyleNetwork, images: Tensor, strength: Strength) -> tuple[Tensor, Tensor] | None:
    """What a strength of 0 means for these pictures; None where the style is at full strength."""
    if bool((strength.per_channel(network) == 1).all()):
        return None
    anchor = network.anchor(images)
    if anchor is None:
        raise ValueError(
            f"{network.name} has a single style, so there is no other style to move away from. "
            "Leave every style strength at 1 and use image blend instead."
        )
    return anchor


def _regions(
    network: StyleNetwork,
    anchor: tuple[Tensor, Tensor] | None,
    style: StyleParams,
    second: StyleParams | None,
    strength: Strength,
    mask: Tensor | None,
) -> list[Region]:
    """The style vectors of each region of one picture."""
    painted = [(style, None)] if mask is None else [(style, mask), (second or style, 1 - mask)]
    regions = []
    for params, weight in painted:
        vectors = params.vectors()
        if anchor is not None:
            vectors = interpolate(anchor, vectors, strength.per_channel(network))
        regions.append(Region(*vectors, weight))
    return regions


def _paint(
    network: StyleNetwork,
    planes: Sequence[Tensor],
    regions: Sequence[Sequence[Region]],
    pixel_budget: int | None,
    device: torch.device | str,
    on_step: Step,
) -> list[Tensor]:
    """Pictures [1, 3, height, width] through the network, with the statistics of all of them together: pad to the stride,
    run, crop, bound to 0..1."""
    height, width = planes[0].shape[-2:]
    pad = (0, -width % network.stride, 0, -height % network.stride)
    padded = [F.pad(plane, pad, mode="reflect") if any(pad) else plane for plane in planes]
    regions = [[region.padded(pad) for region in of_picture] for of_picture in regions]
    pictures = [plane * network.value_range for plane in padded]
    raw = run_layers(network.layers, pictures, regions, pixel_budget, device, on_step)
    cropped = [each[..., :height, :width] for each in raw]
    return [torch.sigmoid(each) if network.sigmoid else (each / network.value_range).clamp(0, 1) for each in cropped]
