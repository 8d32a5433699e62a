"""The host's device, progress and cancel."""

from __future__ import annotations

import time

import comfy.model_management
import comfy.utils
import torch
from comfy.cli_args import args
from PIL import Image
from server import PromptServer

from ...delta.files.safe_text import writable

# What Cancel raises.
Interrupted = comfy.model_management.InterruptProcessingException
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


class Progress:
    """A function step(done, total) that shows progress on the running node and obeys Cancel.

    With the node's id it also shows there how long the rest will take, as soon as that can be told.
    """

    def __init__(self, node_id: str | None = None):
        self.node_id, self.bar = node_id, None
        self.start, self.shown = time.monotonic(), 0.0

    def __call__(self, done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar = self.bar or comfy.utils.ProgressBar(total)
        self.bar.update_absolute(done, total)
        now = time.monotonic()
        if self.node_id is not None and done and now - self.start > TOLD_AFTER and now - self.shown > TOLD_EVERY:
            self.shown = now
            self.tell(f"about {_duration((now - self.start) * (total - done) / done)} left")

    def show(self, picture: Image.Image) -> None:
        """Put a picture on the node, once there is progress."""
        if self.bar is not None:
            self.bar.update_absolute(self.bar.current, self.bar.total, ("JPEG", picture, args.preview_size))

    def tell(self, text: str) -> None:
        """Put a line of text on the node."""
        if self.node_id is not None:
            _show_on_node(self.node_id, writable(text))


def progress(node_id: str | None = None) -> Progress:
    """What shows progress on the running node and obeys Cancel; with its id also how long the rest will take."""
    return Progress(node_id)


def _show_on_node(node_id: str, text: str) -> None:
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
