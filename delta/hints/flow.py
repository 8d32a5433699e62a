"""Lines that follow the forms of a picture: difference of Gaussians across the local direction, smoothed along it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..linear_algebra.factors import small_problems
from .gradient import channels, with_margin
from .work import ALONE, Work

# The wider Gaussian of the difference, relative to the narrower one, as in the paper.
WIDER = 1.6
# Standard deviations of the structure tensor and of the smoothing along lines, relative to that across lines. Samples
# lie that one apart, so that the work does not grow with it.
TENSOR_SIGMA = 2.5
FLOW_SIGMA = 3.0
MIN_SIDE = 3
# Which channel decides between two hues that differ as much in one as in the other, red, green and blue.
PREFERRED = (0.99, 1.0, 0.98)


def flow_difference(picture: np.ndarray, sigma: float, work: Work = ALONE) -> np.ndarray:
    """Flow-based difference of Gaussians of a picture [H, W, 3] in 0..1: [H, W], float32.

    It is the picture smoothed by sigma pixels across the local direction, minus the picture smoothed 1.6 times as wide,
    in the channel where they differ most, then smoothed along the direction: negative in dark lines and on the dark side
    of edges. An edge between two hues of equal lightness has its dark side where its strongest channel is darker. 0 for
    pictures of fewer than 3 pixels.

    Source: Winnemoeller, Kyprianidis and Olsen, "XDoG: An eXtended difference-of-Gaussians compendium including advanced
    image stylization", Computers & Graphics 2012. Structure tensor of colours: Di Zenzo, "A Note on the Gradient of a
    Multi-Image", 1986.
    """
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        return np.zeros((height, width), np.float32)
    used = channels(picture)
    planes = np.stack([picture[..., channel] for channel in used]).astype(np.float32, copy=False)
    # The difference and the tangent (x, y) of each pixel, together, because they are sampled together.
    maps, result = torch.empty(3, height, width), torch.empty(height, width)
    # Hundreds of short steps: threads would spend more on waiting for each other than they save.
    with small_problems():
        for rows in work.part(0, 2).bands(height):
            tangent = _tangent(planes, TENSOR_SIGMA * sigma, rows)
            across = torch.stack([-tangent[1], tangent[0]])
            narrow, wide = _across(torch.from_numpy(planes), across, sigma, rows)
            maps[:, rows] = torch.cat([_strongest(narrow - wide, used)[None], tangent])
        for rows in work.part(1, 2).bands(height):
            result[rows] = _along(maps, sigma, rows)
    return result.numpy()


def _tangent(planes: np.ndarray, sigma: float, rows: slice) -> Tensor:
    """Unit vectors (x, y) along the edges in these rows of planes [C, H, W], [2, rows, W]: the minor eigenvector of the
    smoothed structure tensor."""
    from scipy.ndimage import gaussian_filter, sobel

    margin = int(4 * sigma + 0.5) + 1
    xx = xy = yy = 0
    for plane in planes:
        values = with_margin(plane, rows, margin)
        # The border has no gradient of its own: it goes on as it is.
        dx, dy = sobel(values, 1), sobel(values, 0)
        xx, xy, yy = xx + dx * dx, xy + dx * dy, yy + dy * dy
    inside = slice(margin, -margin)
    xx, xy, yy = (gaussian_filter(product, sigma, mode="nearest")[inside, inside] for product in (xx, xy, yy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + math.pi / 2
    return torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32))


def _across(planes: Tensor, direction: Tensor, sigma: float, rows: slice) -> tuple[Tensor, Tensor]:
    """The narrow and the wide Gaussian of planes [C, H, W] in the direction [2, rows, W] of each pixel: [C, rows, W]."""
    here = _positions(planes[0], rows)
    narrow = wide = planes[:, rows]
    narrow_weights = wide_weights = 1.0
    for step in range(1, math.ceil(2 * WIDER) + 1):
        offset = step * sigma * direction
        sides = _sample(planes.expand(2, -1, -1, -1), torch.stack([here + offset, here - offset])).sum(0)
        narrow_weight, wide_weight = math.exp(-(step**2) / 2), math.exp(-((step / WIDER) ** 2) / 2)
        narrow, wide = narrow + narrow_weight * sides, wide + wide_weight * sides
        narrow_weights, wide_weights = narrow_weights + 2 * narrow_weight, wide_weights + 2 * wide_weight
    return narrow / narrow_weights, wide / wide_weights


def _strongest(differences: Tensor, used: tuple[int, ...]) -> Tensor:
    """Of the differences [C, rows, W] of these channels that with the largest size at each pixel, with its sign."""
    strongest, most = differences[0], PREFERRED[used[0]] * differences[0].abs()
    for channel, difference in zip(used[1:], differences[1:]):
        size = PREFERRED[channel] * difference.abs()
        strongest = torch.where(size > most, difference, strongest)
        most = torch.maximum(size, most)
    return strongest


def _along(maps: Tensor, sigma: float, rows: slice) -> Tensor:
    """Gaussian of the first of maps [3, H, W] along the curves that follow the two others, both ways: [rows, W]."""
    total, weights = maps[0, rows].clone(), 1.0
    position = _positions(maps[0], rows).expand(2, -1, -1, -1)
    heading = torch.stack([maps[1:, rows], -maps[1:, rows]])
    maps = maps.expand(2, -1, -1, -1)
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


def _positions(plane: Tensor, rows: slice) -> Tensor:
    """The (x, y) of every pixel of the rows of a plane [H, W], [2, rows, W]."""
    lines, columns = torch.meshgrid(torch.arange(rows.start, rows.stop), torch.arange(plane.shape[1]), indexing="ij")
    return torch.stack([columns, lines]).float()


def _sample(maps: Tensor, position: Tensor) -> Tensor:
    """Bilinear values of maps [N, C, H, W] at (x, y) [N, 2, h, w]; beyond the border, those of the border."""
    size = torch.tensor(maps.shape[:1:-1], dtype=torch.float32)
    grid = position.movedim(1, -1) * (2 / (size - 1)) - 1
    return F.grid_sample(maps, grid, "bilinear", "border", align_corners=True)
