"""How features take over the style of a picture: AdaIN or WCT, between an encoder and its decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..statistics import adain, wct

# The least deviation that counts: WCT as published drops directions of less than 1e-5 of variance. Here they fade out.
LEAST_DEVIATION = 1e-5**0.5
# What AdaIN as published adds to a variance: a channel that hardly varies must not have its noise blown up.
EPSILON = 1e-5


class Statistics(NamedTuple):
    """mean: [channels]. spread: their standard deviations [channels], or the root of their covariance [channels, channels].

    Both enter the result linearly, so that styles mix by mixing them.
    """

    mean: Tensor
    spread: Tensor


class Transform(NamedTuple):
    """measure: of features [1, channels, height, width], on the CPU. apply: to features, with the weights [1, 1, height,
    width] of the positions that their own statistics are taken of, or None, and the statistics to take over. spread: the
    shape of it by the number of channels."""

    title: str
    measure: Callable[[Tensor], Statistics]
    apply: Callable[[Tensor, Tensor | None, Statistics], Tensor]
    spread: Callable[[int], tuple[int, ...]]


def _measure_adain(features: Tensor) -> Statistics:
    mean, std = mean_and_deviation(features)
    return Statistics(mean.flatten().cpu(), std.flatten().cpu())


def _apply_adain(features: Tensor, mask: Tensor | None, style: Statistics) -> Tensor:
    to_mean, to_std = (part.to(features)[:, None, None] for part in style)
    return adain.match(features, *mean_and_deviation(features, mask), to_mean, to_std)


def mean_and_deviation(features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of each channel of features [batch, channels, height, width]: [batch, channels, 1, 1] both, as AdaIN uses them."""
    mean, std = adain.statistics(features, (2, 3), mask)
    return mean, (std.square() + EPSILON).sqrt()


def _measure_wct(features: Tensor) -> Statistics:
    mean, covariance = wct.moments(features[0].flatten(1))
    return Statistics(mean.flatten().float(), wct.root(covariance).float())


def _apply_wct(features: Tensor, mask: Tensor | None, style: Statistics) -> Tensor:
    rows = features[0].flatten(1)
    has = wct.moments(rows, None if mask is None else mask[0].flatten(1))
    return wct.recolour(rows, has, style.mean[:, None], style.spread, LEAST_DEVIATION).view_as(features)


# Huang and Belongie 2017, arXiv 1703.06868
ADAIN = Transform("AdaIN", _measure_adain, _apply_adain, lambda channels: (channels,))
# Li et al. 2017, arXiv 1705.08086
WCT = Transform("WCT", _measure_wct, _apply_wct, lambda channels: (channels, channels))
