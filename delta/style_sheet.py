"""One picture in every style of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .plots import contact_sheet
from .style_network import StyleNetwork, stylize
from .style_params import StyleParams


def style_sheet(
    network: StyleNetwork,
    image: Tensor,
    tile_size: int,
    columns: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """One picture [1, height, width, channels] in every style of a network, with labels.

    The picture is scaled so that its longer side is `tile_size`. Raises ValueError for a network without a style table.
    """
    network.style(0)
    tile = _shrink(image, tile_size)
    tiles, labels = [tile[0, ..., :3].expand(-1, -1, 3)], ["original", *network.style_names]
    for index in range(len(network.style_names)):
        on_step(index, len(network.style_names))
        style = StyleParams(network.fingerprint, (network.style(index),))
        tiles.append(stylize(network, tile, style, device=device)[0])
    on_step(len(network.style_names), len(network.style_names))
    return contact_sheet(tiles, labels, columns)


def _shrink(image: Tensor, longer_side: int) -> Tensor:
    height, width = image.shape[1:3]
    scale = longer_side / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = F.interpolate(image.movedim(-1, 1), size, mode="bicubic", antialias=True)
    return planes.clamp(0, 1).movedim(1, -1)
