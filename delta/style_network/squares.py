"""Squares of photos to learn from: at random places and sizes, and others that are held out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Squares of less contrast (standard deviation) are not used: norms of a plain area amplify without end.
MIN_CONTRAST = 0.01
TRIES = 50


def split_photos(photos: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The part of each photo [batch, 3, height, width] to learn from, and the part held out: the last quarter of the longer
    side, `side` pixels at least. Photos of less than twice that are both."""
    height, width = photos.shape[-2:]
    along, length = (-1, width) if width >= height else (-2, height)
    held_out = max(side, length // 4)
    if length - held_out < side:
        return photos, photos
    return photos.narrow(along, 0, length - held_out), photos.narrow(along, length - held_out, held_out)


def random_squares(photos: Tensor | Sequence[Tensor], count: int, side: int, generator: torch.Generator) -> Tensor:
    """Random squares of photos, each [3, height, width], at random sizes, scaled to [count, 3, side, side]; half mirrored.

    The photos take turns. Raises ValueError when there is next to no square that is not plain.
    """
    squares = []
    first = int(torch.randint(len(photos), (), generator=generator)) if count < len(photos) else 0
    for index in range(first, first + TRIES * count):
        square = _square(photos[index % len(photos)], side, generator)
        if square.std() >= MIN_CONTRAST:
            squares.append(square)
        if len(squares) == count:
            return torch.stack(squares)
    raise ValueError(
        "The photos are plain areas of one colour, from which nothing can be learned. Connect other photos."
    )


def _square(photo: Tensor, side: int, generator: torch.Generator) -> Tensor:
    height, width = photo.shape[-2:]
    size, top, left, mirror = torch.rand(4, generator=generator).tolist()
    length = round(side * (min(height, width) / side) ** size)
    top, left = int(top * (height - length + 1)), int(left * (width - length + 1))
    square = photo[None, :, top : top + length, left : left + length]
    square = F.interpolate(square, (side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)
    return square.flip(-1) if mirror < 0.5 else square
