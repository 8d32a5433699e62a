"""What an optimised painting takes of memory, told before it begins."""

from __future__ import annotations

import math

import torch

from ..training.memory import kept_features
from .batch import PaintedBatch
from .optimise import Optimisation, size_at
from .places import places_of

# Sides of the squares that are measured; what is kept grows with their pixels.
SMALL, LARGE = 64, 128
# Beside what is kept: gradients, what the optimiser remembers, and what one layer takes while it runs; as measured.
BESIDE = 2.5


def needed_bytes(batch: PaintedBatch) -> int:
    """The bytes that a step takes at the largest size, from the features that two small squares keep."""
    generator = torch.Generator().manual_seed(0)
    kept = [_kept(batch, torch.rand(1, 3, side, side, generator=generator)) for side in (SMALL, LARGE)]
    per_pixel = (kept[1] - kept[0]) / (LARGE**2 - SMALL**2)
    largest = math.prod(size_at(batch.planes, batch.settings.side))
    return math.ceil(BESIDE * per_pixel * largest) + kept[0]


def _kept(batch: PaintedBatch, square: torch.Tensor) -> int:
    """What a pass over a square keeps for the way back."""
    places, _ = places_of([reference._replace(mask=None) for reference in batch.references(0)])
    with torch.inference_mode(False):
        square = square.clone().to(batch.device).requires_grad_()
        loss = Optimisation(batch.network, places, batch.settings, batch.device).loss(square.detach())
        return kept_features(lambda: loss(square), [])
