"""What an IMAGE, a MASK and a LATENT must be: one check and one wording of each, wherever one is taken."""

from __future__ import annotations

import torch
from torch import Tensor

FAILED = "The node before it failed; a VAE in half precision is the usual cause."
# How many channels an IMAGE may have, as it is said and as it is checked.
GREY_OR_COLOURS, COLOURS, ANY = "1, 3 or 4", "3 or more", "1 or more"
# Pictures of bytes, 0 to 255 in place of 0 to 1, have something above HIGHLIGHT, and of all that is not black more than
# this share is 1 or more.
HIGHLIGHT, BYTES_SHARE = 1.5, 0.5
_CHANNELS = {GREY_OR_COLOURS: (1, 3, 4), COLOURS: range(3, 1 << 31), ANY: range(1, 1 << 31)}


def check_image(image: Tensor, what: str, channels: str = GREY_OR_COLOURS) -> None:
    """Raise ValueError unless it is a non-empty batch [B, H, W, C] of finite numbers that can be 0..1. what: such as "The
    picture". Single values above 1 are highlights, and allowed."""
    if image.dim() != 4 or image.shape[-1] not in _CHANNELS[channels]:
        _refuse_shape(image, what, f"Connect an IMAGE: [batch, height, width, channels], with {channels} channels")
    check_numbers(image, what)
    _check_scale(image, what)


def check_latent(latent: Tensor, what: str) -> None:
    """Raise ValueError unless it is a non-empty batch [B, C, H, W] or [B, C, T, H, W] of finite numbers."""
    check_single(latent, what)
    if latent.dim() not in (4, 5):
        form = "[batch, channels, height, width] for pictures, [batch, channels, frames, height, width] for videos"
        _refuse_shape(latent, what, f"Connect a LATENT: {form}")
    check_numbers(latent, what)


def check_single(latent: Tensor, what: str) -> None:
    """Raise ValueError for what packs several latents."""
    if not isinstance(latent, Tensor) or latent.is_nested:
        raise ValueError(f"{what} holds several streams, such as video and sound. Separate them and connect one.")


def read_mask(mask: Tensor, what: str = "The mask") -> Tensor:
    """A MASK [H, W] or [..., H, W] as [M, H, W], float32 in 0..1. Raises ValueError for other shapes, NaN and infinite
    numbers, and where it is empty."""
    if mask.dim() < 2:
        _refuse_shape(mask, what, "Connect a MASK: [masks, height, width]")
    check_numbers(mask, what)
    return mask.reshape(-1, *mask.shape[-2:]).float().clamp(0, 1)


def check_mask_count(masks: int, batch: int) -> None:
    """Raise ValueError unless there is one mask, or one for each of a batch."""
    if masks not in (1, batch):
        raise ValueError(f"There are {masks} masks for a batch of {batch}. Give one mask, or one for each of them.")


def check_numbers(values: Tensor, what: str) -> None:
    """Raise ValueError for an empty tensor, and for NaN and infinite numbers."""
    if not values.numel():
        raise ValueError(f"{what} is empty: its shape is {tuple(values.shape)}. Connect one with content.")
    if not torch.isfinite(values).all():
        raise ValueError(f"{what} holds NaN or infinite values. {FAILED}")


def _check_scale(image: Tensor, what: str) -> None:
    """Refuse pictures of whole bytes, most of which would be cut to white."""
    highest = image.max().item()
    if highest > HIGHLIGHT:
        seen = image[image > 1 / 255]
        if (seen >= 1).float().mean().item() > BYTES_SHARE:
            raise ValueError(
                f"{what} has values up to {highest:g}, most of them above 1. In an IMAGE, 0 is black and 1 is white. "
                "Divide it by 255, or fix the node that made it."
            )


def _refuse_shape(values: Tensor, what: str, remedy: str) -> None:
    raise ValueError(f"{what} has the shape {tuple(values.shape)}. {remedy}.")
