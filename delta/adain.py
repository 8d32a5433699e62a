"""Adaptive instance normalisation (Huang and Belongie 2017, arXiv 1703.06868): features take over the mean and the
standard deviation that each channel of a reference has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A channel whose standard deviation is at most this share of 1 + |mean| is constant but for rounding.
EPSILON = 1e-5


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
