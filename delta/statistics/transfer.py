"""Statistics of a reference for a latent or a picture: what both need around AdaIN and WCT - checks, mask, amount."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures import COLOURS, check_image, check_latent, check_mask_count, read_mask
from ..progress import Step
from .colour import oklab_to_srgb, srgb_to_oklab

# One step of 8 bits in a colour of Oklab: smaller deviations are rounding. The floor of a method for pictures.
EIGHT_BITS = 1 / 255
# content [B, C, T, H, W], reference [1 or B, C, any, any, any], mask [1 or B, 1, 1 or T, H, W] or None -> the content
# with the statistics of the reference, float32. See `delta.statistics.adain.adain` and `delta.statistics.wct.wct`.
Method = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def transfer_latent(
    content: Tensor, reference: Tensor, method: Method, amount: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """A latent that takes over the statistics of a reference latent; a new tensor of the same shape, dtype and device.

    content: [B, C, H, W] or [B, C, T, H, W]. reference: the same with 1 or B for B and any T, H and W; one of the two
    may have frames and the other not. amount: 0 is the content bit for bit, 1 the result, in between and outside on the
    line through both. mask: [masks, height, width] in 0..1, resized; the content's statistics are taken where it is
    white, and the result is laid over the content by it. One mask, one per latent, or for a video any number over its
    frames. Raises ValueError for other shapes, other channels, another batch, NaN and infinite numbers.
    """
    for latent, what in ((content, "The latent"), (reference, "The reference latent")):
        check_latent(latent, what)
    if content.shape[1] != reference.shape[1]:
        raise ValueError(
            f"The latent has {content.shape[1]} channels and the reference latent {reference.shape[1]}. "
            "Encode both with the same VAE."
        )
    _check_batch(len(content), len(reference), "latents")
    clip, reference = (_as_clip(latent) for latent in (content, reference.to(content.device)))
    mask = None if mask is None else _fit_mask(mask, clip)
    share, wide = _share(amount, mask, clip.device), torch.promote_types(clip.dtype, torch.float32)
    result = torch.lerp(clip.to(wide), method(clip, reference, mask).to(wide), share.to(wide))
    return torch.where(share == 0, clip, result.to(clip.dtype)).reshape(content.shape)


def transfer_colours(
    content: Tensor,
    reference: Tensor,
    method: Method,
    amount: float = 1.0,
    mask: Tensor | None = None,
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """Pictures that take over the colour statistics of a reference in Oklab, each on its own; a new tensor in 0..1.

    content: [B, H, W, 3 or more] in 0..1; further channels stay. reference: [1 or B, any, any, 3 or more]. amount and
    mask as in `transfer_latent`, with one mask or one per picture; where their product is 0, pixels stay bit for bit.
    Raises ValueError for other shapes, another batch, NaN and infinite numbers.
    """
    for pictures, what in ((content, "The picture"), (reference, "The reference picture")):
        check_image(pictures, what, COLOURS)
    _check_batch(len(content), len(reference), "pictures")
    reference = reference.to(content.device)
    mask = None if mask is None else _fit_mask(mask, content[:, None, None, :, :, 0])
    output = content.clone()
    for index, picture in enumerate(content):
        own_mask = None if mask is None else mask[index % len(mask)][None]
        share, lab = _share(amount, own_mask, content.device), _oklab_clip(picture)
        result = torch.lerp(lab, method(lab, _oklab_clip(reference[index % len(reference)]), own_mask), share)
        rgb = oklab_to_srgb(result[0, :, 0].movedim(0, -1)).clamp(0, 1).to(content.dtype)
        output[index, ..., :3] = torch.where(share[0, 0, 0, ..., None] == 0, picture[..., :3], rgb)
        on_step(index + 1, len(content))
    return output


def _check_batch(count: int, references: int, what: str) -> None:
    if references not in (1, count):
        raise ValueError(
            f"There are {references} references for {count} {what}. Give one reference, or one for each of them."
        )


def _as_clip(latent: Tensor) -> Tensor:
    """[B, C, H, W] or [B, C, T, H, W] -> [B, C, T, H, W]."""
    return latent.unsqueeze(2) if latent.dim() == 4 else latent


def _oklab_clip(picture: Tensor) -> Tensor:
    """[H, W, channels] in sRGB -> [1, 3, 1, H, W] in Oklab, float32."""
    return srgb_to_oklab(picture[..., :3].float()).movedim(-1, 0)[None, :, None]


def _fit_mask(mask: Tensor, clip: Tensor) -> Tensor:
    """[masks, height, width] -> [1 or B, 1, 1 or T, H, W] in 0..1, float32, resized to a clip [B, C, T, H, W]."""
    mask = read_mask(mask)[:, None].to(clip.device)
    batch, _, frames, *size = clip.shape
    count = len(mask)
    if mask.shape[-2:] != clip.shape[-2:]:
        mask = F.interpolate(mask, size, mode="bilinear", antialias=True)
    if count in (1, batch):
        return mask[:, :, None]
    if frames == 1:
        check_mask_count(count, batch)
    if count != frames:
        rows = mask.reshape(1, 1, count, -1)
        mask = F.interpolate(rows, (frames, rows.shape[-1]), mode="bilinear", antialias=True)
    return mask.reshape(1, 1, frames, *size)


def _share(amount: float, mask: Tensor | None, device: torch.device) -> Tensor:
    """How much of the result is laid over the content: [1 or B, 1, 1 or T, 1 or H, 1 or W], float32."""
    return amount * (torch.ones((1, 1, 1, 1, 1), device=device) if mask is None else mask)
