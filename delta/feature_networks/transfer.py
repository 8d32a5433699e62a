"""Painting with a transfer network: what all kinds of them share around the network itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..pictures import check_image
from ..progress import Step
from ..style_network.finish import at_paint_size, back_to_size, keeping_colours
from ..style_network.network import checked_planes, prepared
from .feature_transfer import Region, padded
from .features import OnLayer
from .transfer_style import MeasuredStyle, StyleTensors, TransferStyle, check_network


class TransferNetwork(Protocol):
    """A network that paints a picture in the style of any other one.

    fingerprint: of all that a measured style depends on. stride: sides must be multiples of it. min_side: the shortest
    side in pixels. bytes_per_pixel: the memory of painting. style_shapes: of the tensors of a style, by name.
    measuring_steps, painting_steps: how often on_layer is called.
    """

    name: str
    fingerprint: str
    stride: int
    min_side: int
    bytes_per_pixel: int
    style_shapes: dict[str, tuple[int, ...]]
    measuring_steps: int
    painting_steps: int

    def measure(self, plane: Tensor, on_layer: OnLayer = lambda: None) -> StyleTensors:
        """The style of a picture [1, 3, height, width] in 0..1, on the CPU."""
        ...

    def paint(
        self, plane: Tensor, regions: Sequence[Region], amount: float = 1.0, on_layer: OnLayer = lambda: None
    ) -> Tensor:
        """A picture [1, 3, height, width] in 0..1, painted; about 0..1. amount: 1 is the style, 0 the picture's own."""
        ...

    def to(self, device: torch.device | str) -> TransferNetwork:
        """The same network on a device."""
        ...


def measure_style(
    network: TransferNetwork,
    image: Tensor,
    label: str,
    weight: float = 1.0,
    size: int = 0,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> MeasuredStyle:
    """The style of a picture [batch, height, width, channels] in 0..1; a batch gives the mean of its styles.

    size: the longer side in pixels at which it is measured, 0 for its own: strokes are taken over at that size.
    on_step(done, total) is called after each layer and may raise to cancel. Raises ValueError for a picture that is too
    small, has another shape, or holds NaN or infinite values.
    """
    planes = at_paint_size(checked_planes(image, network.min_side, "The style picture"), size, network.min_side)
    on_layer = _counted(on_step, network.measuring_steps * len(planes))
    network = network.to(device)
    with torch.no_grad():
        found = [network.measure(plane[None].to(device), on_layer) for plane in planes]
    return MeasuredStyle(label, {name: sum(s[name] for s in found) / len(found) for name in found[0]}, weight)


def transfer_style(
    network: TransferNetwork,
    image: Tensor,
    style: TransferStyle,
    amount: float = 1.0,
    mask: Tensor | None = None,
    second: TransferStyle | None = None,
    keep_colours: float = 0.0,
    paint_size: int = 0,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """Paint every picture of a batch, each by itself.

    image: [batch, height, width, channels] in 0..1. amount: 1 is the style, 0 what the network makes of the picture
    without one. mask: [masks, height, width] in 0..1, resized to the picture; `style` applies where it is 1 and `second`
    where it is 0, each with the statistics of its own region; without `second` the picture itself stays where the mask is
    0. keep_colours, paint_size: as in `delta.style_network.network.stylize`. on_step(done, total) is called after each
    layer and may raise to cancel.

    Returns [batch, height, width, 3] float32 on the CPU. Raises ValueError for bad input.
    """
    check_network(style, network.fingerprint)
    if second is not None:
        check_network(second, network.fingerprint)
    planes, masks, small, small_masks = prepared(image, mask, second is not None, paint_size, network.min_side)
    styles = style.tensors(), None if second is None else second.tensors()
    # Where a mask is black all over, the picture stays.
    wanted = [index for index, each in enumerate(masks) if each is None or second is not None or each.any()]
    on_layer, painted = _counted(on_step, network.painting_steps * len(wanted)), list(planes.split(1))
    network = network.to(device)
    for index in wanted:
        plane = planes[index : index + 1]
        regions = _regions(*styles, small_masks[index])
        with torch.no_grad():
            output = _painted(network, small[index : index + 1].to(device), regions, amount, on_layer).cpu()
        output = keeping_colours(back_to_size(output, *plane.shape[-2:]), plane, keep_colours)
        if second is None and masks[index] is not None:
            output = torch.lerp(plane, output, masks[index])
        painted[index] = output
    return torch.cat(painted).movedim(1, -1)


def painting_bytes(network: TransferNetwork, image: Tensor, paint_size: int = 0) -> int:
    """About how much memory painting a batch [batch, height, width, channels] takes at one time, beside the network. It is
    the same for measuring one, at that size."""
    check_image(image, "The picture")
    height, width = image.shape[1:3]
    scale = paint_size / max(height, width) if paint_size else 1
    return int(height * width * scale**2 * network.bytes_per_pixel)


def _counted(on_step: Step, total: int) -> OnLayer:
    done = 0

    def on_layer() -> None:
        nonlocal done
        done += 1
        on_step(done, total)

    return on_layer


def _regions(first: StyleTensors, second: StyleTensors | None, mask: Tensor | None) -> list[Region]:
    """The styles of one picture and where they apply. Where the picture stays, the same style is drawn for no one to see."""
    if mask is None:
        return [Region(first)]
    return [Region(first, mask), Region(second or first, 1 - mask)]


def _painted(
    network: TransferNetwork, plane: Tensor, regions: Sequence[Region], amount: float, on_layer: OnLayer
) -> Tensor:
    height, width = plane.shape[-2:]
    regions = [
        region if region.mask is None else region._replace(mask=padded(region.mask, network.stride))
        for region in regions
    ]
    painting = network.paint(padded(plane, network.stride), regions, amount, on_layer)
    return painting[..., :height, :width].clamp(0, 1)
