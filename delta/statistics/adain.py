"""Adaptive instance normalisation (Huang and Belongie 2017, arXiv 1703.06868): features take over the mean and the
standard deviation that each channel of a reference has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# A channel whose standard deviation is at most this share of 1 + |mean| is constant but for rounding.
EPSILON = 1e-5
# The smallest local standard deviation as a share of the whole picture's: in a flat window nothing but noise would grow.
FLATTEST = 0.25


def statistics(features: Tensor, dims: Sequence[int], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) over `dims`, which are kept with size 1; float32, with the biased variance.

    mask: weights >= 0 that broadcast to the features. Where all of them are 0, mean and standard deviation are 0.
    """
    dims, features = tuple(dims), features.float()
    if mask is None:
        mean = features.mean(dims, keepdim=True)
        return mean, (features - mean).square().mean(dims, keepdim=True).sqrt()
    weights = mask.float().expand_as(features)
    weights = weights / weights.sum(dims, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    mean = (features * weights).sum(dims, keepdim=True)
    return mean, ((features - mean).square() * weights).sum(dims, keepdim=True).sqrt()


def match(features: Tensor, mean: Tensor, std: Tensor, to_mean: Tensor, to_std: Tensor) -> Tensor:
    """(features - mean) / std * to_std + to_mean, computed in float32, in the dtype of the features.

    mean, std: what the features have; to_mean, to_std: what they are to have; all broadcast to the features. A constant
    channel has no deviation that could be scaled: it is only shifted.
    """
    is_constant = std <= EPSILON * (1 + mean.abs())
    scale = torch.where(is_constant, 1.0, to_std / torch.where(is_constant, 1.0, std))
    return ((features.float() - mean) * scale + to_mean).to(features.dtype)


def adain(
    content: Tensor,
    reference: Tensor,
    mask: Tensor | None = None,
    window: int = 0,
    per_frame: bool = False,
    floor: float = 0.0,
) -> Tensor:
    """The content [B, C, T, H, W] with mean and standard deviation of the reference [1 or B, C, any, any, any]; float32.

    mask: [1 or B, 1, 1 or T, H, W], weights for the statistics of the content. window: 0 for the whole picture, or the
    odd number of positions of a sliding window, reflected at the border; the reference's local statistics are resized.
    per_frame: each frame is matched on its own, to the reference's frame where there are as many, and to all of its
    frames otherwise. floor: smaller standard deviations of the content count as this one, so that rounding does not
    grow; in a window at least `FLATTEST` times the whole picture's. Raises ValueError for a window that is even, or too
    wide for one of both.
    """
    paired = per_frame and content.shape[2] == reference.shape[2]
    mean, std = statistics(content, _dims(per_frame), mask)
    to_mean, to_std = statistics(reference, _dims(paired))
    if window:
        _check_window(window, content, reference)
        lowest = FLATTEST * std
        mean, std = _local_statistics(content, mean, window, per_frame, mask)
        std = torch.maximum(std, lowest)
        local = _local_statistics(reference, to_mean, window, paired)
        to_mean, to_std = (_resized(part, content.shape[-2:]) for part in local)
    return match(content.float(), mean, std.clamp(min=floor), to_mean, to_std)


def _dims(per_frame: bool) -> tuple[int, ...]:
    """The dimensions of a clip [B, C, T, H, W] that are pooled."""
    return (3, 4) if per_frame else (2, 3, 4)


def _check_window(window: int, content: Tensor, reference: Tensor) -> None:
    if window < 3 or window % 2 == 0:
        raise ValueError(
            f"A window of {window} has no centre. Use an odd number of at least 3, or 0 for the whole picture."
        )
    for clip, what in ((content, "latent"), (reference, "reference latent")):
        widest = 2 * min(clip.shape[-2:]) - 1
        if window > widest:
            raise ValueError(
                f"A window of {window} is too wide for the {what} of {clip.shape[-1]}x{clip.shape[-2]} positions. "
                f"Use at most {widest}, or 0 for the whole picture."
            )


def _local_statistics(
    clip: Tensor, centre: Tensor, window: int, per_frame: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) [B, C, 1 or T, H, W] around every position; 1 for T where all frames are pooled.

    centre: about the mean of the whole, near which the difference of squares keeps its digits.
    """
    clip = clip.float() - centre
    weights = torch.ones_like(clip[:, :1]) if mask is None else mask.expand(len(clip), 1, *clip.shape[2:])
    moments = torch.cat([weights, clip * weights, clip.square() * weights], 1)
    if not per_frame:
        moments = moments.mean(2, keepdim=True)
    share, *sums = _box_mean(moments, window).split([1, clip.shape[1], clip.shape[1]], 1)
    mean, square = (part / share.clamp(min=torch.finfo(torch.float32).tiny) for part in sums)
    return mean + centre, (square - mean.square()).clamp(min=0).sqrt()


def _box_mean(clip: Tensor, window: int) -> Tensor:
    """The mean over a square window around every position of [B, C, T, H, W], reflected at the border."""
    planes = F.pad(clip.flatten(1, 2), [window // 2] * 4, mode="reflect")
    planes = F.avg_pool2d(F.avg_pool2d(planes, (window, 1), stride=1), (1, window), stride=1)
    return planes.reshape(clip.shape)


def _resized(clip: Tensor, size: Sequence[int]) -> Tensor:
    """[B, C, T, H, W] in another height and width."""
    planes = F.interpolate(clip.flatten(1, 2), tuple(size), mode="bilinear", antialias=True)
    return planes.reshape(*clip.shape[:3], *size)
