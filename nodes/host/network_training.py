"""The training of a style network in the host: its memory told beforehand, a picture on the node, and the best so far after
Cancel."""

from __future__ import annotations

import logging
from collections.abc import Callable

import comfy.model_management
import torch
from PIL import Image

from ...delta.perceptual.network_training import NetworkTraining
from ...delta.style_network.finish import at_paint_size
from ...delta.style_network.network import StyleNetwork, stylize
from ...delta.style_network.params import StyleParams
from ...delta.training.memory import Memory, size
from .run import Interrupted, Progress

# Pixels of the longer side of the preview.
PREVIEW_SIDE = 256

log = logging.getLogger(__name__)


def train(training: NetworkTraining, photo: torch.Tensor, progress: Progress) -> tuple[StyleNetwork, Memory]:
    """Run a training, and tell what memory it takes before the first step.

    photo: [1, height, width, channels] in 0..1, painted on the node whenever the network is better than before. After Cancel
    the step that was reached is measured, and the best network is returned. Raises the host's exception where there was no
    step yet, and ValueError where less memory is free than is needed.
    """
    memory = _enough_memory(training, progress)
    try:
        return training.run(progress, _shower(photo, progress)), memory
    except Interrupted:
        best = training.stop()
        if best is None:
            raise
        return best, memory


def _enough_memory(training: NetworkTraining, progress: Progress) -> Memory:
    memory = training.memory()
    line = memory.line
    free = comfy.model_management.get_free_memory(torch.device(training.device))
    log.info("Training a style network: %s, %s free", line, size(free))
    progress.tell(f"{line}; {size(free)} free")
    if memory.total > free:
        raise ValueError(
            f"Training this style network needs more memory than is free. {line[0].upper()}{line[1:]}; {size(free)} are free. "
            "Close other programs that use memory, or train fewer layers."
        )
    return memory


def _shower(photo: torch.Tensor, progress: Progress) -> Callable[[StyleNetwork, int], None]:
    small = at_paint_size(photo.movedim(-1, 1), min(PREVIEW_SIDE, max(photo.shape[1:3])), 1).movedim(1, -1)

    def show(network: StyleNetwork, step: int) -> None:
        style = StyleParams(network.fingerprint, (network.style(step % len(network.style_names)),))
        painted = stylize(network, small, style)[0]
        progress.show(Image.fromarray((255 * painted).round().byte().numpy()))

    return show
