"""Other pictures of the same drawings: mirrored and moved for every model, turned, stretched and made smaller for control."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from delta.hints.canny import canny

SHIFTS = ((0, 0), (-2, 1), (2, -1), (1, 2))
TURN, SMALLEST, STRETCH, MOVED = 0.5, 0.55, 0.25, 0.12
# Of the Canny Hint node, in pixels of 64.
BLUR = 0.7


def copies(pictures: Tensor) -> Tensor:
    """Mirrored and moved pictures, [8, n, 3, H, W] of [n, 3, H, W]; the border goes on outwards."""
    padded = F.pad(pictures, (2, 2, 2, 2), mode="replicate")
    height, width = pictures.shape[2:]
    moved = [padded[:, :, 2 + y : 2 + y + height, 2 + x : 2 + x + width] for y, x in SHIFTS]
    return torch.stack([*moved, *(picture.flip(3) for picture in moved)])


def warped(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [n, 3, H, W] turned, stretched, made smaller and moved, each in its own way."""
    count = len(pictures)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    turn, scale, stretch = drawn(-TURN, TURN), drawn(SMALLEST, 1.05), drawn(1 - STRETCH, 1 + STRETCH)
    mirror = torch.where(drawn(0, 1) < 0.5, -1.0, 1.0)
    across, down = mirror / (scale * stretch.clamp(max=1)), stretch.clamp(min=1) / scale
    rows = [turn.cos() * across, -turn.sin() * down, drawn(-MOVED, MOVED) / scale]
    rows += [turn.sin() * across, turn.cos() * down, drawn(-MOVED, MOVED) / scale]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(pictures.shape), align_corners=False)
    # Outside of the picture its ground goes on: the mean of its corners.
    ground = pictures[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].mean(2)[..., None, None]
    return F.grid_sample(pictures - ground, grid, align_corners=False) + ground


def edges(pictures: Tensor) -> Tensor:
    """Canny edges of pictures [n, 3, H, W], white on black in three equal channels, as the pack's own node draws them."""
    found = [canny(picture.permute(1, 2, 0).numpy(), BLUR) for picture in pictures]
    return torch.from_numpy(np.stack(found))[:, None].expand(-1, 3, -1, -1)
