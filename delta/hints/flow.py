"""Lines that follow the forms of a picture: difference of Gaussians across the local direction, smoothed along it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..linear_algebra.factors import small_problems
from .tone import grey

# The wider Gaussian of the difference, relative to the narrower one, as in the paper.
WIDER = 1.6
# Standard deviations of the structure tensor and of the smoothing along lines, relative to that across lines. Samples
# lie that one apart, so that the work does not grow with it.
TENSOR_SIGMA = 2.5
FLOW_SIGMA = 3.0
MIN_SIDE = 3


def flow_difference(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Flow-based difference of Gaussians of a picture [H, W, 3] in 0..1: [H, W], float32.

    It is the tone smoothed by sigma pixels across the local direction, minus the tone smoothed 1.6 times as wide, both
    smoothed along it: negative in dark lines and on the dark side of edges. 0 for pictures of fewer than 3 pixels.

    Source: Winnemoeller, Kyprianidis and Olsen, "XDoG: An eXtended difference-of-Gaussians compendium including advanced
    image stylization", Computers & Graphics 2012.
    """
    tone = torch.from_numpy(grey(picture)).float()
    if min(tone.shape) < MIN_SIDE:
        return torch.zeros_like(tone).numpy()
    tangent = _tangent(tone, TENSOR_SIGMA * sigma)
    # Hundreds of short steps: threads would spend more on waiting for each other than they save.
    with small_problems():
        narrow, wide = _across(tone, torch.stack([-tangent[1], tangent[0]]), sigma)
        return _along(narrow - wide, tangent, sigma).numpy()


def _tangent(tone: Tensor, sigma: float) -> Tensor:
    """Unit vectors (x, y) along the edges, [2, H, W]: the minor eigenvector of the smoothed structure tensor."""
    from scipy.ndimage import gaussian_filter, sobel

    values = tone.numpy()
    dx, dy = sobel(values, 1), sobel(values, 0)
    xx, xy, yy = (gaussian_filter(product, sigma, mode="nearest") for product in (dx * dx, dx * dy, dy * dy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + math.pi / 2
    return torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32))


def _across(tone: Tensor, direction: Tensor, sigma: float) -> Tensor:
    """The narrow and the wide Gaussian of tone [H, W] in the direction [2, H, W] of each pixel: [2, H, W]."""
    here, total, weights = _positions(tone), 0, 0
    for step in range(math.ceil(2 * WIDER) + 1):
        weight = torch.tensor([math.exp(-(step**2) / 2), math.exp(-((step / WIDER) ** 2) / 2)])[:, None, None]
        offset = step * sigma * direction
        sides = _sample(tone.expand(2, 1, -1, -1), torch.stack([here + offset, here - offset])) if step else tone[None]
        total = total + weight * sides.sum(0)
        weights = weights + weight * len(sides)
    return total / weights


def _along(values: Tensor, tangent: Tensor, sigma: float) -> Tensor:
    """Gaussian of values [H, W] along the curves that follow the tangent [2, H, W], both ways."""
    total, weights = values.clone(), 1.0
    maps = torch.cat([values[None], tangent]).expand(2, -1, -1, -1)
    position = _positions(values).expand(2, -1, -1, -1)
    heading = torch.stack([tangent, -tangent])
    for step in range(1, math.ceil(2 * FLOW_SIGMA) + 1):
        weight = math.exp(-((step / FLOW_SIGMA) ** 2) / 2)
        position = position + sigma * heading
        met, turned = _sample(maps, position).split([1, 2], dim=1)
        # A tangent has no sense of direction of its own: keep going forward.
        turned = turned * torch.where((turned * heading).sum(1, keepdim=True) < 0, -1.0, 1.0)
        # Where two directions meet, their mean is near 0: the line then stays where it is.
        heading = turned / torch.hypot(turned[:, :1], turned[:, 1:]).clamp_min(1e-3)
        total += weight * met.sum((0, 1))
        weights += 2 * weight
    return total / weights


def _positions(tone: Tensor) -> Tensor:
    """The (x, y) of every pixel, [2, H, W]."""
    height, width = tone.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows]).float()


def _sample(maps: Tensor, position: Tensor) -> Tensor:
    """Bilinear values of maps [N, C, H, W] at (x, y) [N, 2, H, W]; beyond the border, those of the border."""
    size = torch.tensor(maps.shape[:1:-1], dtype=torch.float32)
    grid = position.movedim(1, -1) * (2 / (size - 1)) - 1
    return F.grid_sample(maps, grid, "bilinear", "border", align_corners=True)
