"""Resizing hints: thin lines stay whole, flat colours stay pure, and anything else is averaged."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# How far from pure black or white the background of a line drawing may be.
BACKGROUND_TOLERANCE = 0.05
# A line drawing is background over at least half its area, and nearly all of the rest lies close to the background.
BACKGROUND_SHARE = 0.5
THIN_SHARE = 0.9
# What counts as close: this share of the shorter side, but at least the pixels below.
REACH_SHARE = 0.01
MIN_REACH = 4
# Where the rim of an resized line lies, and how steep it is at least: halfway between two old pixels, where cubic
# interpolation of a line of 1 pixel gives 0.59, the line is still fully white.
RIM = 0.35
RIM_SLOPE = 2.2
HALF = 0.5
# A map of flat colours has this share of neighbours with exactly equal colours.
FLAT_SHARE = 0.85


def resize_hint(hint: Tensor, height: int, width: int) -> Tensor:
    """Hints of another size: [B, C, H, W] in 0..1 -> [B, C, height, width]; of the same size, the tensor itself.

    How is decided for each picture by itself:
    - A line drawing, white (or coloured) on black or black on white, is resized by `resize_line_planes`: no line
      vanishes, breaks or fades. It is one if at least half of it is background (within 0.05 of black or of white) and
      90 % of the rest lies within 4 pixels, or 1 % of the shorter side, of the background. Edges, line art, scribbles,
      straight lines and skeletons are; masks, depth maps and photos are not.
    - A map of flat colours, as for segmentation, is resized by the nearest pixel, so that no new colour appears. It is
      one if it is not grey and 85 % of its neighbours are exactly equal.
    - Anything else is averaged over areas when it shrinks, and interpolated bicubically when it grows.

    Raises ValueError for another number of axes and for an empty tensor or size.
    """
    if hint.dim() != 4 or not hint.numel():
        raise ValueError(f"The hint has the shape {tuple(hint.shape)}; expected [batch, channels, height, width].")
    if min(height, width) < 1:
        raise ValueError(f"A hint cannot be resized to {width} x {height} pixels. Give a size of at least 1 x 1.")
    if hint.shape[2:] == (height, width):
        return hint
    return torch.cat([_resize_one(planes[None], height, width) for planes in hint])


def resize_lines(hint: np.ndarray, height: int, width: int) -> np.ndarray:
    """A line drawing on black, [H, W, C] in 0..1, at another size; see `resize_line_planes`."""
    planes = torch.from_numpy(np.ascontiguousarray(hint)).movedim(-1, 0)[None]
    return resize_line_planes(planes, height, width)[0].movedim(0, -1).numpy()


def resize_edges(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """Edges of 1 pixel, [H, W] of 0 and 1, at another size: again of 1 pixel, 0 and 1, and as unbroken."""
    from skimage.morphology import skeletonize

    if edges.shape == (height, width):
        return edges
    lines = resize_lines(edges[..., None], height, width)[..., 0] > HALF
    return (skeletonize(lines) if max(height / len(edges), width / edges.shape[1]) > 1 else lines).astype(np.float32)


def resize_nearest(hint: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map of flat colours, [H, W, C], at another size, with no colour that it does not have."""
    rows, columns = (_nearest(old, new) for old, new in zip(hint.shape, (height, width)))
    return hint[rows[:, None], columns]


def resize_line_planes(planes: Tensor, height: int, width: int) -> Tensor:
    """A line drawing on black, [1, C, H, W] in 0..1, at another size, with every line whole and as bright as before.

    An axis that shrinks keeps the brightest pixel of each cell, whole with its colour: the cells do not overlap, so a
    line of 1 pixel stays 1 pixel wide, and touching pixels go to the same cell or to touching ones, so it stays
    unbroken. An axis that grows is interpolated bicubically. If more of the lines is at full brightness than in between,
    as after Canny, the blurred flanks are then steepened to about 1 pixel.
    """
    channels = planes.shape[1]
    if channels > 1 and (planes == planes[:, :1]).all():
        # Grey: one channel stands for all.
        return resize_line_planes(planes[:, :1], height, width).expand(-1, channels, -1, -1).contiguous()
    is_hard = _is_hard(planes)
    planes = _brightest(planes, min(height, planes.shape[2]), 2)
    planes = _brightest(planes, min(width, planes.shape[3]), 3)
    if planes.shape[2:] == (height, width):
        return planes
    growth = max(height / planes.shape[2], width / planes.shape[3])
    planes = F.interpolate(planes, (height, width), mode="bicubic")
    if is_hard:
        planes = 0.5 + (planes - RIM) * max(growth, RIM_SLOPE)
    return planes.clamp(0, 1)


def _resize_one(planes: Tensor, height: int, width: int) -> Tensor:
    brightest, darkest = planes.amax(1), planes.amin(1)
    if _is_thin(brightest <= BACKGROUND_TOLERANCE):
        return resize_line_planes(planes, height, width)
    if _is_thin(darkest >= 1 - BACKGROUND_TOLERANCE):
        return 1 - resize_line_planes(1 - planes, height, width)
    if not torch.equal(brightest, darkest) and _is_flat(planes):
        return F.interpolate(planes, (height, width), mode="nearest-exact")
    return _average(planes, height, width)


def _is_thin(background: Tensor) -> bool:
    """Whether what is not background [1, H, W] is a minority of thin things."""
    foreground = ~background
    share = background.float().mean().item()
    if share < BACKGROUND_SHARE or share == 1:
        return False
    reach = max(MIN_REACH, round(REACH_SHARE * min(background.shape[1:])))
    near = background[None].float()
    # A square window is the same as a row and then a column.
    near = F.max_pool2d(near, (2 * reach + 1, 1), 1, (reach, 0))
    near = F.max_pool2d(near, (1, 2 * reach + 1), 1, (0, reach))
    return near[0][foreground].mean().item() >= THIN_SHARE


def _is_flat(planes: Tensor) -> bool:
    equal = [(planes.diff(dim=axis) == 0).all(1).float() for axis in (2, 3)]
    return torch.cat([part.flatten() for part in equal]).mean().item() >= FLAT_SHARE


def _is_hard(planes: Tensor) -> bool:
    """Whether more of the lines is at full brightness than between black and white."""
    brightest = planes.amax(1)
    full = brightest > 1 - BACKGROUND_TOLERANCE
    between = (brightest > BACKGROUND_TOLERANCE) & ~full
    return bool(full.sum() > between.sum())


def _brightest(planes: Tensor, size: int, axis: int) -> Tensor:
    """Shrink one axis of [1, C, H, W] to `size` cells; each keeps its brightest pixel with all channels."""
    old = planes.shape[axis]
    if size == old:
        return planes
    starts = -(torch.arange(size + 1) * -old // size)
    deepest = int(starts.diff().max())
    # Cells differ in length by one; a short cell looks at its last pixel twice.
    members = torch.minimum(starts[:-1, None] + torch.arange(deepest), starts[1:, None] - 1).to(planes.device)
    cells = planes.index_select(axis, members.flatten()).unflatten(axis, members.shape)
    if planes.shape[1] == 1:
        return cells.amax(axis + 1)
    chosen = cells.amax(1, keepdim=True).argmax(axis + 1, keepdim=True)
    shape = list(cells.shape)
    shape[axis + 1] = 1
    return cells.gather(axis + 1, chosen.expand(shape)).squeeze(axis + 1)


def _average(planes: Tensor, height: int, width: int) -> Tensor:
    smaller = (min(height, planes.shape[2]), min(width, planes.shape[3]))
    planes = F.interpolate(planes, smaller, mode="area")
    if smaller == (height, width):
        return planes
    return F.interpolate(planes, (height, width), mode="bicubic").clamp(0, 1)


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of the new pixels, the old one that holds its centre."""
    return ((np.arange(new) + 0.5) * old / new).astype(int)
