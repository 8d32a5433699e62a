"""Merging by clusters of rank-1 units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank
from ._common import ROUNDING, check_not_negative, svd, weighted_core_space
from .registry import merge_method

# k-means settles in a few rounds on some hundred units; the limit only guards against cycles of rounding.
ROUNDS = 100


# LoRA-LEGO, arXiv 2409.16167
@merge_method("LoRA-LEGO")
def lora_lego(
    parts: Sequence[LowRank], weights: Sequence[float], *, clusters: float = 0.0, generator: torch.Generator
) -> LowRank:
    """k-means on the rank-1 units of all parts; the centroids are the merged update (arXiv 2409.16167).

    A unit is (b, a) with b a^T one triplet of the SVD of w_i dW_i, both sides of length sqrt(sigma): by the SVD units
    do not depend on how an update was factored. Units are compared by direction, [b / |b|, a / |a|], up to the sign
    that (b, a) = (-b, -a) leaves open. The centroid of a cluster is the mean of its units, rescaled to their mean
    length (against the norm decay of averaging); the merged update is multiplied by sqrt(r / k), r being the largest
    rank of the parts (against the variance of more units). `clusters` is k, the merged rank; 0 stands for r. There
    are fewer if there are fewer different units. One part: weight * part. Raises ValueError for negative `clusters`.
    """
    check_not_negative("clusters", clusters)
    space = weighted_core_space(parts, weights)
    tasks = [svd(core) for core in space.cores]
    largest = max(len(task.values) for task in tasks)
    directions = torch.cat([torch.cat([task.left.T, task.right], dim=1) for task in tasks])
    lengths = torch.cat([task.values for task in tasks]).sqrt()
    count = min(round(clusters) or largest, len(directions))
    labels, signs = _cluster(directions, count, generator)
    units = directions * (lengths * signs)[:, None]
    centroids = torch.stack([_centroid(units[labels == label]) for label in labels.unique()])
    left, right = centroids.split([len(space.cores[0]), space.cores[0].shape[1]], dim=1)
    gain = (largest / len(centroids)) ** 0.5
    return space.low_rank(gain * left.T @ right)


def _centroid(units: Tensor) -> Tensor:
    """The mean of some units, [j, P + Q] -> [P + Q], with their mean length."""
    mean = units.mean(dim=0)
    return mean * (units.norm(dim=1).mean() / mean.norm())


def _cluster(points: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """k-means in which a point and its negative are the same. For each point its cluster and its sign in it.

    points: [J, D], all of one length.
    """
    centers = points[_seeds(points, count, generator)]
    labels = torch.full((len(points),), -1, device=points.device)
    for _ in range(ROUNDS):
        products = points @ centers.T
        # |s p - c|^2 over both signs s is, up to |p|^2, |c|^2 - 2 |<p, c>|.
        nearest = (centers.square().sum(dim=1) - 2.0 * products.abs()).argmin(dim=1)
        signs = torch.where(products.gather(1, nearest[:, None])[:, 0] < 0, -1.0, 1.0).to(points.dtype)
        if torch.equal(nearest, labels):
            break
        labels = nearest
        for label in labels.unique():
            centers[label] = (points * signs[:, None])[labels == label].mean(dim=0)
    return labels, signs


def _seeds(points: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """k-means++: the first center is any point, each next one is drawn with its squared distance to the chosen ones."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(chosen) < count:
        nearest = (points @ points[chosen].T).abs().amax(dim=1)
        distances = 2.0 * (points.square().sum(dim=1) - nearest)
        # Equal units belong to one cluster, though rounding holds them apart.
        distances[distances <= ROUNDING**2] = 0.0
        if not distances.any():
            break
        # Drawn on the CPU, so that every device gets the same centers.
        chosen.append(int(torch.multinomial(distances.cpu(), 1, generator=generator)))
    return chosen
