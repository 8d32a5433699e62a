"""The host's device, progress and cancel."""

from __future__ import annotations

import time
from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch
from server import PromptServer

# Seconds after which the rest of a long run is estimated, and between two estimates.
TOLD_AFTER, TOLD_EVERY = 3.0, 1.0


def compute_device(working_bytes: int) -> torch.device:
    """The device to compute on, with room made for that many bytes."""
    device = comfy.model_management.get_torch_device()
    if device.type != "cpu":
        comfy.model_management.free_memory(working_bytes, device)
    return device


def to_output(image: torch.Tensor) -> torch.Tensor:
    """The tensor on the device where the host keeps what nodes hand on."""
    return image.to(comfy.model_management.intermediate_device())


def progress(node_id: str | None = None) -> Callable[[int, int], None]:
    """A function step(done, total) that shows progress on the running node and obeys Cancel.

    With the node's id it also shows there how long the rest will take, as soon as that can be told.
    """
    bar, start, shown = None, time.monotonic(), 0.0

    def step(done: int, total: int) -> None:
        nonlocal bar, shown
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar = bar or comfy.utils.ProgressBar(total)
        bar.update_absolute(done, total)
        now = time.monotonic()
        if node_id is not None and now - start > TOLD_AFTER and now - shown > TOLD_EVERY:
            shown = now
            _show_on_node(node_id, f"about {_duration((now - start) * (total - done) / done)} left")

    return step


def _show_on_node(node_id: str, text: str) -> None:
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
