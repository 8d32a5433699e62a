"""Where a control acts: a mask brought to the shape of every output of a control net, maps of features or tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FITS = ("crop", "pad", "stretch")
PATCH_SIZES = (2, 1, 4)


class Box(NamedTuple):
    """A part of a picture: left, top, width and height in pixels."""

    left: int
    top: int
    width: int
    height: int


def crop_box(width: int, height: int, aspect: float) -> Box:
    """The largest centred part with the aspect (width / height), rounded as the host rounds when it crops hints.

    Raises ValueError where rounding leaves nothing of a picture one or a few pixels wide.
    """
    left = top = 0
    if width / height > aspect:
        left = round((width - width * (aspect / (width / height))) / 2)
    elif width / height < aspect:
        top = round((height - height * ((width / height) / aspect)) / 2)
    box = Box(left, top, width - 2 * left, height - 2 * top)
    if min(box.width, box.height) < 1:
        raise ValueError(
            f"A hint or mask of {width} x {height} pixels cannot be cropped to the shape of the picture: nothing "
            "would be left. Set fit to pad or stretch, or use a larger one."
        )
    return box


def pad_box(width: int, height: int, target_width: int, target_height: int) -> Box:
    """Where a whole picture stands, centred, on a target of another aspect."""
    scale = min(target_width / width, target_height / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    return Box((target_width - inner[0]) // 2, (target_height - inner[1]) // 2, *inner)


class EffectMask:
    """A mask fitted to a latent in the way the hint is, and the sizes of it that were asked for so far.

    masks: [M, H, W] in 0..1; one for all pictures, or one for each in turn. fit: one of FITS; what `pad` adds is black.
    """

    def __init__(self, masks: Tensor, fit: str, latent: tuple[int, int, int]):
        self.frames, self.height, self.width = latent
        self.masks = self._fitted(masks[:, None], fit)
        self.sizes: dict[tuple, Tensor] = {}

    def like(self, output: Tensor, batch: int, chunks: int) -> Tensor:
        """Factors that broadcast over an output of a net: features [B, C, h, w] or tokens [B, N, C]; B may be 1 for all.

        batch: how many pictures there are. chunks: how many conditionings share the batch. Raises ValueError for outputs of another shape.
        """
        if output.dim() not in (3, 4):
            raise ValueError(
                f"A mask cannot be laid over an output of shape {list(output.shape)}. Disconnect the mask."
            )
        size = output.shape[1:2] if output.dim() == 3 else output.shape[2:]
        key = (size, batch, chunks, output.device, output.dtype)
        if key not in self.sizes:
            level = self._tokens(output.shape[1]) if output.dim() == 3 else resize_mask(self.masks, *size)
            self.sizes[key] = _for_batch(level, batch, chunks).to(output.device, output.dtype)
        return self.sizes[key]

    def blend(self, before: Tensor, after: Tensor, chunks: int) -> Tensor:
        """Tokens [B, N, C] as they are after something where the mask is white, and before it where it is black.

        Only the first of them are the picture's, in patches of 2; what follows, padding or references, stays as after.
        """
        count = self.frames * -(-self.height // PATCH_SIZES[0]) * -(-self.width // PATCH_SIZES[0])
        ours, theirs = before[:, :count], after[:, :count]
        mask = self.like(ours, len(ours), chunks)
        # Where the mask is 1 nothing is computed that could round.
        mixed = torch.where(mask == 1, theirs, ours + mask * (theirs - ours))
        return torch.cat([mixed, after[:, count:]], dim=1)

    def _fitted(self, masks: Tensor, fit: str) -> Tensor:
        """The masks [M, 1, H, W] with the aspect of the latent."""
        height, width = masks.shape[-2:]
        aspect = self.width / self.height
        if fit == "stretch" or width / height == aspect:
            return masks
        if fit == "crop":
            box = crop_box(width, height, aspect)
            return masks[..., box.top : box.top + box.height, box.left : box.left + box.width]
        wide, high = max(width, round(height * aspect)), max(height, round(width / aspect))
        left, top = (wide - width) // 2, (high - height) // 2
        return F.pad(masks, (left, wide - width - left, top, high - height - top))

    def _tokens(self, count: int) -> Tensor:
        """The masks over so many tokens, [M, count, 1], or [1, count, 1] where each frame has its own.

        Models pad odd latents at their ends; the padding takes the value of the edge.
        """
        patch = self._patch(count)
        level = resize_mask(self.masks, self.height, self.width)
        level = F.pad(level, (0, -self.width % patch, 0, -self.height % patch), mode="replicate")
        level = F.avg_pool2d(level, patch).flatten(2).transpose(1, 2)
        return level.reshape(1, -1, 1) if 1 < self.frames == len(level) else level.repeat(1, self.frames, 1)

    def _patch(self, count: int) -> int:
        """The side in the latent of one of so many tokens."""
        for patch in PATCH_SIZES:
            if -(-self.height // patch) * -(-self.width // patch) * self.frames == count:
                return patch
        raise ValueError(
            f"The net has {count} tokens for a latent of {self.frames} x {self.height} x {self.width}, so their "
            "positions are unknown. Disconnect the mask."
        )


def resize_mask(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks [M, 1, H, W] to another size: means of areas to a smaller one, which keeps areas of 1 exactly 1."""
    for size in ((height, masks.shape[-1]), (height, width)):
        if tuple(masks.shape[-2:]) != size:
            grows = size[0] > masks.shape[-2] or size[1] > masks.shape[-1]
            masks = F.interpolate(masks, size=size, mode="bilinear" if grows else "area")
    return masks


def _for_batch(level: Tensor, batch: int, chunks: int) -> Tensor:
    """One of the levels [M, ...] for each picture of every chunk of the batch, in turn; a single one broadcasts."""
    if len(level) == 1:
        return level
    order = torch.arange(batch // chunks) % len(level)
    return level[order.repeat(chunks)]
