"""Painting without a network of its own: the pixels themselves are optimised (Gatys et al. 2016, arXiv 1508.06576).

From coarse to fine (Gatys et al. 2017, arXiv 1611.07865): at a small size the large shapes of a style are found, each size
then starts from the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..feature_networks.features import FeatureNetwork, OnLayer
from ..progress import Step
from ..style_network.finish import at_paint_size
from .descent import ADAM, METHODS, descend
from .loss import PerceptualLoss, Region, loss_beside
from .moments import COLOURS, mixed, style_moments
from .places import Place

PHOTO, NOISE, START_IMAGE, BEFORE = STARTS = ("photo", "noise", "start image", "picture before")
LAYERS = ("strokes and shapes", "strokes", "shapes")
# Each size is half the next. All but the last have at least so many pixels on their shorter side, and there are no more
# than these.
COARSEST, SIZES = 64, 3
# Seconds after which a step that is not done looks whether it is cancelled.
LISTENING = 0.5

Show = Callable[[Tensor], None]


@dataclass(frozen=True)
class Settings:
    """steps: at each size. side: of the largest size, in pixels of the longer side. style, content: factors of the two
    losses. stroke_size: of the references, 1 is as large as the painting. layers: one of `LAYERS`."""

    steps: int = 60
    side: int = 512
    style: float = 1.0
    content: float = 1.0
    stroke_size: float = 1.0
    layers: str = LAYERS[0]
    method: str = METHODS[0]
    start: str = PHOTO
    seed: int = 0

    def sides(self, photo: Tensor) -> list[int]:
        """The sizes for a photo [1, 3, height, width], the smallest first: each has both sides of `COARSEST` or more."""
        height, width = photo.shape[-2:]
        share = min(height, width) / max(height, width)
        sides = [self.side]
        while len(sides) < SIZES and sides[0] / 2 * share >= COARSEST:
            sides.insert(0, -(-sides[0] // 2))
        return sides

    def chosen(self, network: FeatureNetwork) -> list[str]:
        """The layers that are looked at for style."""
        names = list(network.style_layers)
        half = -(-len(names) // 2)
        return [COLOURS, *{LAYERS[0]: names, LAYERS[1]: names[:half], LAYERS[2]: names[half:]}[self.layers]]


class Measured(NamedTuple):
    """The parts of the loss at a step, and the longer side of the picture."""

    side: int
    style: float
    content: float
    smoothness: float

    @property
    def total(self) -> float:
        return self.style + self.content + self.smoothness


@dataclass
class Optimisation:
    """One painting in the making.

    places: the styles and where each holds. painting: the picture of the lowest loss at the size that was reached, [1, 3, height,
    width] in 0..1, or None before the first step. losses: of every step that was taken.
    """

    network: FeatureNetwork
    places: Sequence[Place]
    settings: Settings
    device: torch.device | str = "cpu"
    painting: Tensor | None = None
    losses: list[Measured] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, photo: Tensor, start: Tensor, on_step: Step, show: Show = lambda picture: None) -> Tensor:
        """Paint a photo [1, 3, height, width] in 0..1, beginning with `start` of any size.

        on_step(done, total) is called after each step and within long ones, and may raise to cancel: `painting` is then the
        best so far. show(painting) is called after each step. Raises ValueError when the loss becomes NaN or infinite.
        """
        began = time.perf_counter()
        sides = self.settings.sides(photo)
        total, x = self.settings.steps * len(sides), start
        # ComfyUI runs nodes in inference mode, whose tensors no gradient passes.
        with torch.inference_mode(False):
            for number, side in enumerate(sides):
                loss = self.loss(at_paint_size(photo, side, 1).clone().to(self.device), self._listener(on_step, total))
                x = F.interpolate(x, size_at(photo, side), mode="bicubic", antialias=True).clamp(0, 1)
                x = x.to(self.device).clone(memory_format=torch.contiguous_format)
                coarse = number == 0 and len(sides) > 1
                for terms, lowest in descend(loss, x, self.settings.method, self.settings.steps, coarse):
                    measured = Measured(side, *map(float, terms))
                    if not math.isfinite(measured.total):
                        raise ValueError(_not_finite(len(self.losses)))
                    self.losses.append(measured)
                    self.painting = lowest
                    self.seconds = time.perf_counter() - began
                    show(self.painting)
                    on_step(len(self.losses), total)
                x = self.painting
        return self.painting

    def loss(self, photo: Tensor, listen: OnLayer = lambda: None) -> PerceptualLoss:
        """The loss of paintings of a photo [1, 3, height, width] at that size, on the device. listen(): within a step."""
        settings = self.settings
        with torch.no_grad():
            return loss_beside(
                self.network, photo, self._regions(photo, listen), settings.style, settings.content, listen
            )

    def _listener(self, on_step: Step, total: int) -> OnLayer:
        """What calls on_step now and then, so that a long step can be cancelled."""
        heard = time.perf_counter()

        def listen() -> None:
            nonlocal heard
            if time.perf_counter() - heard > LISTENING:
                heard = time.perf_counter()
                on_step(len(self.losses), total)

        return listen

    def _regions(self, photo: Tensor, listen: OnLayer) -> list[Region]:
        """The styles at the size of a photo, with their masks."""
        side, layers = max(photo.shape[-2:]), self.settings.chosen(self.network)
        regions = []
        for references, mask in self.places:
            of_style = round(side * self.settings.stroke_size)
            found = [
                style_moments(self.network, each.picture, of_style, layers, self.device, listen) for each in references
            ]
            if mask is not None:
                mask = F.interpolate(mask.clone().to(photo), photo.shape[-2:], mode="area")
            regions.append(Region(mixed(found, [each.weight for each in references]), mask))
        return regions


def size_at(picture: Tensor, side: int) -> tuple[int, int]:
    """Height and width of a picture [1, 3, height, width] with `side` pixels on the longer side."""
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _not_finite(step: int) -> str:
    return f"The loss became NaN or infinite after {step} steps. Use lower strengths, or the method {ADAM}."
