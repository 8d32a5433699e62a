"""What is done to a picture before a style network paints it, and to the painting after it: stroke size, colours,
and what keeps plain areas from stripes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..statistics.colour import with_colours_of

# Contrast (variance, of values in 0..1) up to which an enlarged painting is smoothed. The grid that networks leave in
# their pixels lies below it, strokes lie above it.
GRID = 0.003
# About this many pixels are turned into another colour space at once.
COLOUR_PIXELS = 1 << 20
# Of numbers that are mixed as ones of 32 bits.
MASK = 0xFFFFFFFF


def dithered(planes: Tensor) -> Tensor:
    """Pictures [batch, 3, height, width] with noise of half an 8-bit step at most, the same at the same place.

    In a plain area, such as a sky, the norms of a network amplify the steps that 8 bits leave to stripes; with the steps
    hidden it paints strokes.
    """
    height, width = planes.shape[-2:]
    channel, row, column = (torch.arange(side) for side in (3, height, width))
    mixed = (column + 668265263 * row[:, None] + 2246822519 * channel[:, None, None]) * 374761393 & MASK
    mixed = (mixed ^ mixed >> 13) * 1274126177 & MASK
    return planes + ((mixed ^ mixed >> 16).float() / MASK - 0.5) / 255


def pixels_at_once(image: Tensor, paint_size: int, same_look: bool) -> int:
    """How many pixels a batch [batch, height, width, channels] has the network work on at one time."""
    height, width = image.shape[1:3]
    scale = paint_size / max(height, width) if paint_size else 1
    return int(height * width * scale**2) * (len(image) if same_look else 1)


def at_paint_size(planes: Tensor, paint_size: int, min_side: int) -> Tensor:
    """Pictures [batch, 3, height, width] in 0..1 with `paint_size` pixels on the longer side, or as they are with 0.

    No side gets shorter than `min_side`.
    """
    height, width = planes.shape[-2:]
    if paint_size in (0, max(height, width)):
        return planes
    scale = paint_size / max(height, width)
    size = (max(min_side, round(height * scale)), max(min_side, round(width * scale)))
    return F.interpolate(planes, size, mode="bicubic", antialias=True).clamp(0, 1)


def back_to_size(painting: Tensor, height: int, width: int) -> Tensor:
    """A painting [1, 3, h, w] in 0..1 at [1, 3, height, width].

    Enlarging is bicubic. The grid of the network's pixels, which it would show, is then smoothed by a guided filter whose
    guide is the painting itself (He, Sun and Tang 2013, doi 10.1109/TPAMI.2012.213): strokes keep their edges. The photo as
    guide was tried and is worse, since strokes do not lie along its edges.
    """
    before = painting.shape[-2:]
    if before == (height, width):
        return painting
    enlarged = F.interpolate(painting, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    radius = min(round(max(height / before[0], width / before[1])), min(height, width) - 1)
    if max(height, width) < max(before) or radius < 1:
        return enlarged
    mean = _window_mean(enlarged, radius)
    variance = (_window_mean(enlarged.square(), radius) - mean.square()).mean(1, keepdim=True).clamp(min=0)
    slope = variance / (variance + GRID)
    return (_window_mean(slope, radius) * enlarged + _window_mean((1 - slope) * mean, radius)).clamp(0, 1)


def _window_mean(planes: Tensor, radius: int) -> Tensor:
    """The mean over a square window of 2 * radius + 1 pixels around each pixel, reflected at the borders."""
    return F.avg_pool2d(F.pad(planes, (radius,) * 4, mode="reflect"), 2 * radius + 1, stride=1)


def keeping_colours(painting: Tensor, picture: Tensor, amount: float) -> Tensor:
    """A painting [1, 3, height, width] in 0..1 with so much of the picture's colours, 0 to 1, in its own lightness."""
    if amount == 0:
        return painting
    rows = max(1, COLOUR_PIXELS // painting.shape[-1])
    parts = zip(painting.movedim(1, -1).split(rows, 1), picture.movedim(1, -1).split(rows, 1))
    return torch.cat([with_colours_of(*part, amount) for part in parts], 1).movedim(-1, 1)
