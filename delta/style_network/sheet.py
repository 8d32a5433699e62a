"""One picture in every style of a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..charts.contact_sheet import contact_sheet
from ..progress import Step
from .network import StyleNetwork, checked_planes, stylize
from .params import StyleParams

PAINTED_SIDE = 768


def style_sheet(
    network: StyleNetwork,
    image: Tensor,
    tile_size: int,
    columns: int,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """One picture [1, height, width, channels] in every style of a network, with labels.

    The longer side of each tile is `tile_size`. The picture is painted larger and then scaled down, so that strokes look
    as they do in a picture of ordinary size. Raises ValueError for a network without a style table.
    """
    network.style(0)
    checked_planes(image, network.min_side, "The picture")
    count = len(network.style_names)
    picture = resize(image, min(max(image.shape[1:3]), max(PAINTED_SIDE, tile_size)))
    tiles, labels = [resize(picture, tile_size)[0, ..., :3].expand(-1, -1, 3)], ["original", *network.style_names]
    for index in range(count):
        on_step(index, count)
        style = StyleParams(network.fingerprint, (network.style(index),))
        tiles.append(resize(stylize(network, picture, style, device=device), tile_size)[0])
    on_step(count, count)
    return contact_sheet(tiles, labels, columns)


def resize(image: Tensor, longer_side: int) -> Tensor:
    """Pictures [batch, height, width, channels] in 0..1, scaled so that the longer side has that many pixels."""
    height, width = image.shape[1:3]
    if longer_side == max(height, width):
        return image
    scale = longer_side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = F.interpolate(image.movedim(-1, 1), size, mode="bicubic", antialias=True)
    return planes.clamp(0, 1).movedim(1, -1)
