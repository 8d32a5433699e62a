"""Where the features of a diffusion model hold the picture, and matching them there (AdaIN, arXiv 1703.06868).

Features become tokens [rows, positions, channels]. What they have or are to have is a table [rows, 2, channels]: mean, then
standard deviation, float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .adain import match, statistics

# Where the picture stands in a sequence that holds text too.
FIRST, LAST = "first", "last"


class TokenLayout(NamedTuple):
    """Where a sequence of tokens holds the picture.

    grids: the sizes (frames, height, width) that the picture may have, in tokens; appended: tokens of further pictures
    behind it; multiple: a sequence of picture tokens is filled up to a multiple of this.
    """

    grids: tuple[tuple[int, int, int], ...]
    appended: int = 0
    multiple: int = 1

    def picture(self, tokens: int, joint: str | None) -> tuple[int, tuple[int, int, int]] | None:
        """First token and grid of the picture in a sequence of so many tokens, or None where it cannot be told.

        joint: FIRST or LAST where other tokens, such as those of the text, may stand behind the picture or before it.
        """
        for grid in self.grids:
            count = math.prod(grid) + self.appended
            count += -count % self.multiple
            if tokens == count or (joint and tokens > count):
                return 0 if joint == FIRST else tokens - count, grid
        return None


def halved_grids(frames: int, height: int, width: int) -> tuple[tuple[int, int, int], ...]:
    """The grids of a U-Net's levels, finest first: each halves height and width and rounds up."""
    grids = [(frames, height, width)]
    while grids[-1][1:] != (1, 1):
        _, height, width = grids[-1]
        grids.append((frames, -(-height // 2), -(-width // 2)))
    return tuple(grids)


def patched_grid(frames: int, height: int, width: int, patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """The grid of a transformer that takes patches of that size and fills up the last ones."""
    return tuple(-(-size // step) for size, step in zip((frames, height, width), patch))


def to_tokens(features: Tensor, channels_first: bool) -> Tensor:
    """[rows, channels, ...] or [rows, ..., channels] as tokens [rows, positions, channels]."""
    return features.flatten(2).transpose(1, 2) if channels_first else features.flatten(1, -2)


def from_tokens(tokens: Tensor, shape: torch.Size, channels_first: bool) -> Tensor:
    """The inverse of `to_tokens` for features of that shape."""
    return (tokens.transpose(1, 2) if channels_first else tokens).reshape(shape)


def mask_tokens(mask: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """A mask [pictures, height, width], resized to a grid, as weights [pictures, positions, 1]; all frames have the same."""
    frames, *size = grid
    resized = torch.nn.functional.interpolate(mask[:, None].float(), size, mode="bilinear", antialias=True)
    return resized.clamp(0, 1).expand(-1, frames, -1, -1).flatten(1)[..., None]


def table(tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean and standard deviation of tokens over their positions, as a table. mask: weights [rows, positions, 1]."""
    return torch.cat(statistics(tokens, (1,), mask), 1)


def match_tokens(tokens: Tensor, target: Tensor, amount: Tensor, mask: Tensor | None = None) -> Tensor:
    """Tokens whose mean and standard deviation have moved towards the table `target` by `amount` [rows, 1, 1].

    Amount 1 matches, above 1 goes on in the same direction, and rows of amount 0 stay bit for bit. mask: weights
    [rows, positions, 1]; statistics are taken and tokens are changed where it is white. In the dtype of the tokens.
    """
    own = table(tokens, mask)
    # A deviation below 0 would turn light into dark.
    goal_mean, goal_std = (own + amount * (target - own)).split(1, 1)
    features = tokens.float()
    matched = match(features, *own.split(1, 1), goal_mean, goal_std.clamp(min=0))
    weight = (amount != 0).float() if mask is None else (amount != 0) * mask
    return torch.lerp(features, matched, weight).to(tokens.dtype)
