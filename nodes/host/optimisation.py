"""Paintings that are optimised, in the host: their memory told beforehand, pictures on the node, the best so far after Cancel."""

from __future__ import annotations

import logging
import time

import comfy.model_management
import torch
from PIL import Image

from ...delta.perceptual.batch import PaintedBatch
from ...delta.perceptual.memory import needed_bytes
from ...delta.perceptual.optimise import Show
from ...delta.training.memory import size
from .run import Interrupted, Progress, compute_device

# Seconds between two pictures on the node.
SHOWN_EVERY = 1.0

log = logging.getLogger(__name__)


def paint(batch: PaintedBatch, progress: Progress) -> tuple[torch.Tensor, int]:
    """The paintings [pictures, height, width, 3], and the bytes that a step takes.

    After Cancel those of the pictures that were begun. Raises the host's exception where there was no step yet, and ValueError
    where less memory is free than is needed.
    """
    needed = _enough_memory(batch, progress)
    try:
        return batch.run(progress, _shower(progress)), needed
    except Interrupted:
        if batch.image is None:
            raise
        return batch.image, needed


def _enough_memory(batch: PaintedBatch, progress: Progress) -> int:
    needed = needed_bytes(batch)
    compute_device(needed)
    free = comfy.model_management.get_free_memory(torch.device(batch.device))
    line = f"takes about {size(needed)} of memory at {batch.settings.side} pixels, {size(free)} are free"
    log.info("Optimise Style %s", line)
    progress.tell(line)
    if needed > free:
        raise ValueError(f"Optimise Style {line}. Use a smaller paint size, or close other programs that use memory.")
    return needed


def _shower(progress: Progress) -> Show:
    """Shows pictures [1, 3, height, width] on the node, now and then."""
    shown = time.monotonic()

    def show(picture: torch.Tensor) -> None:
        nonlocal shown
        if time.monotonic() - shown > SHOWN_EVERY:
            shown = time.monotonic()
            progress.show(Image.fromarray((255 * picture[0]).round().byte().movedim(0, -1).cpu().numpy()))

    return show
