"""The whitening and colouring transform (Li et al. 2017, arXiv 1705.08086): features take over the mean and the whole
covariance of a reference, so that its correlations between channels come too.

It costs C^2 per position and C^3 for the eigenvectors of C channels: nothing for latents and colours, seconds per layer
for the features of a model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .adain import EPSILON

# Directions with a smaller share of the largest variance hold no structure that could be scaled up.
WEAKEST = 1e-8
# So many positions are summed up at once.
POSITIONS = 1 << 16


def wct(
    content: Tensor,
    reference: Tensor,
    mask: Tensor | None = None,
    per_frame: bool = False,
    floor: float = 0.0,
) -> Tensor:
    """The content [B, C, T, H, W] with mean and covariance of the reference [1 or B, C, any, any, any]; float32.

    mask, per_frame: as in `delta.statistics.adain.adain`. floor: smaller standard deviations of the content, along the
    axes of its covariance, count as this one. Directions in which the content is constant stay constant, so the
    covariance is the reference's only where the content's has full rank.
    """
    paired = per_frame and content.shape[2] == reference.shape[2]
    rows = _rows(content, per_frame)
    weights = None if mask is None else _rows(mask.expand(-1, -1, *content.shape[2:]), per_frame)
    to_mean, to_covariance = moments(_rows(reference, paired))
    result = recolour(rows, moments(rows, weights), to_mean, root(to_covariance), floor)
    return result.transpose(1, 2).reshape(content.shape)


def recolour(rows: Tensor, has: tuple[Tensor, Tensor], to_mean: Tensor, to_root: Tensor, floor: float = 0.0) -> Tensor:
    """Rows [..., C, positions] with another mean [..., C, 1] and covariance, given by its `root` [..., C, C]; float32.

    has: the `moments` of the rows. floor: as in `wct`.
    """
    mean, covariance = has
    # The rounding of half precision is a deviation too: about an eighth of this one.
    weakest = max(WEAKEST, (4 * torch.finfo(rows.dtype).eps) ** 2)
    transform = to_root.to(covariance) @ _whitening(covariance, weakest, max(floor, EPSILON))
    mean, to_mean, transform = (part.to(rows.device, torch.float32) for part in (mean, to_mean, transform))
    return transform @ (rows.float() - mean) + to_mean


def _rows(clip: Tensor, per_frame: bool) -> Tensor:
    """[B, C, T, H, W] -> [B, groups, C, positions]: one group per frame, or one of all frames."""
    return clip.transpose(1, 2).flatten(3) if per_frame else clip.flatten(2)[:, None]


def moments(rows: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(mean [..., C, 1], covariance [..., C, C]) of rows [..., C, positions]; float64 on the CPU, which not every device
    has. weights: [..., 1, positions], >= 0; where all of them are 0, so are the moments."""
    if weights is None:
        weights = torch.ones_like(rows[..., :1, :])
    weights = weights.cpu().double()
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    # In pieces, since numbers of 64 bits take twice the room.
    pieces = list(zip(rows.split(POSITIONS, -1), weights.split(POSITIONS, -1)))
    mean = sum((part.cpu().double() * share).sum(-1, keepdim=True) for part, share in pieces)
    centred = ((part.cpu().double() - mean) * share.sqrt() for part, share in pieces)
    return mean, sum(part @ part.mT for part in centred)


def _whitening(covariance: Tensor, weakest: float, floor: float) -> Tensor:
    """covariance^(-1/2), symmetric. Variances count as at least `weakest` times the largest, and as floor^2."""
    values, vectors = torch.linalg.eigh(covariance)
    lowest = (weakest * values[..., -1:]).clamp(min=floor**2)
    return vectors * torch.maximum(values, lowest).rsqrt()[..., None, :] @ vectors.mT


def root(covariance: Tensor) -> Tensor:
    """covariance^(1/2), symmetric: to several channels what the standard deviation is to one."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()[..., None, :] @ vectors.mT
