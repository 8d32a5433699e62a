"""Training a style network on paintings with a perceptual loss (Johnson et al. 2016, arXiv 1603.08155), several of them in one
network whose convolutions they share (Dumoulin et al. 2017, arXiv 1610.07629).

It starts from a network that has learned to paint, which is what makes minutes suffice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..feature_networks.features import FeatureNetwork
from ..progress import Step
from ..style_network.network import StyleNetwork, checked_planes
from ..style_network.squares import random_squares, split_photos
from ..training.memory import BYTES_PER_TRAINED, Memory, kept_features
from .loss import PerceptualLoss, Region, loss_beside
from .moments import COLOURS, Moments, style_moments
from .trained_parts import EVERYTHING, TrainedParts, trained_numbers

# Pixels on a side of the squares of photos, how many a step takes, and how many are held out: all for one style, and for
# several those of a step for each.
SIDE, BATCH, HELD_OUT = 128, 4, 12
MIN_PAINTING_SIDE = 64
# How often the loss on held-out squares is measured, and how many steps lead up to the full learning rate.
MEASUREMENTS, WARM_UP = 20, 10
BETAS = (0.9, 0.99)
BYTES_PER_NUMBER = 4

Show = Callable[[StyleNetwork, int], None]


@dataclass(frozen=True)
class Settings:
    """steps: of `BATCH` squares each. part: one of `trained_parts.PARTS`. learning_rate: of Adam (arXiv 1412.6980) at first, on a
    cosine (arXiv 1608.03983); 1 is the distance between styles, see `trained_parts`. style, content: factors of the two
    losses. painting_size: pixels of the longer side at which the strokes of the paintings are looked at."""

    steps: int = 500
    part: str = EVERYTHING
    learning_rate: float = 0.3
    style: float = 1.0
    content: float = 1.0
    painting_size: int = 512
    seed: int = 0


@dataclass
class NetworkTraining:
    """The training of a copy of `network` on paintings, each a style of its own.

    paintings: each [batch, height, width, channels] in 0..1, sides of 64 pixels or more; a batch is one style, the mean.
    photos: each [batch, height, width, channels] in 0..1, sides of `SIDE` or more; of those of twice as many the last quarter
    of the longer side is held out. names: one for each painting. Raises ValueError for bad input.

    best: the network of the lowest loss on held-out squares, None before `run` has measured one. evaluations: (step, that
    loss), the first of them of `starts`, the styles of the network's table nearest to each painting. losses: of every step.
    held_out: the squares [count, 3, side, side] that the loss is measured on; apart: whether nothing was learned from them.
    """

    network: StyleNetwork
    features: FeatureNetwork
    paintings: Sequence[Tensor]
    photos: Sequence[Tensor]
    names: Sequence[str]
    settings: Settings
    device: torch.device | str = "cpu"
    best: StyleNetwork | None = field(default=None, init=False)
    best_step: int = field(default=0, init=False)
    starts: list[int] = field(default_factory=list, init=False)
    evaluations: list[tuple[int, float]] = field(default_factory=list, init=False)
    losses: list[float] = field(default_factory=list, init=False)
    seconds: float = field(default=0.0, init=False)
    stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        _check_start(self.network)
        # ComfyUI runs nodes in inference mode, whose tensors no gradient passes.
        with torch.inference_mode(False), torch.no_grad():
            photos = [split_photos(checked_planes(each, SIDE, "A photo").clone(), SIDE) for each in self.photos]
            paintings = [checked_planes(each, MIN_PAINTING_SIDE, "A painting").clone() for each in self.paintings]
            self._generator = torch.Generator().manual_seed(self.settings.seed)
            self.apart = all(learned is not held_out for learned, held_out in photos)
            self._learned, held_out = ([plane for part in parts for plane in part] for parts in zip(*photos))
            self.held_out = random_squares(held_out, HELD_OUT if len(paintings) == 1 else BATCH, SIDE, self._generator)
            self._targets = [self._target(each) for each in paintings]
            self._parts = self._started([0] * len(paintings))

    @property
    def first_loss(self) -> float:
        """The loss of the nearest existing styles."""
        return self.evaluations[0][1]

    @property
    def best_loss(self) -> float:
        return min(loss for _, loss in self.evaluations)

    @property
    def numbers(self) -> int:
        """How many numbers are trained."""
        return trained_numbers(self.network, self.settings.part, len(self.names))

    def memory(self) -> Memory:
        """What training takes, counted on a pass that keeps nothing."""
        with torch.inference_mode(False):
            weights = sum(layer.weight.numel() for layer in self.network.layers)
            squares = self.held_out[:BATCH].to(self.device)

            def forward() -> None:
                self._loss_of(squares, 0)(self._parts.paint(squares, 0))

            features = kept_features(forward, self._parts.offsets)
        return Memory(BYTES_PER_NUMBER * weights, features, BYTES_PER_TRAINED * self.numbers)

    def run(self, on_step: Step = lambda done, total: None, show: Show = lambda network, step: None) -> StyleNetwork:
        """Train, and return the best network.

        on_step(done, total) is called after each style that is tried and each step, and may raise to cancel: `stop` then
        gives what there is. show(network, step) is called whenever the network is better than before. The same seed gives the
        same network on the same machine. Raises ValueError where the loss becomes NaN or infinite.
        """
        began, tried = time.perf_counter(), len(self.network.style_names)
        settings, total = self.settings, len(self.network.style_names) + self.settings.steps
        with torch.inference_mode(False):
            self._find_starts(on_step, total)
            self._measure(0, show, partial(on_step, tried, total))
            optimiser = torch.optim.Adam(self._parts.offsets, betas=BETAS)
            for step in range(1, settings.steps + 1):
                optimiser.param_groups[0]["lr"] = settings.learning_rate * _rate(step, settings.steps)
                self._train(optimiser, (step - 1) % len(self.names))
                self.seconds = time.perf_counter() - began
                if step % max(1, settings.steps // MEASUREMENTS) == 0 or step == settings.steps:
                    self._measure(step, show, partial(on_step, tried + step - 1, total))
                on_step(tried + step, total)
        return self.best

    def stop(self) -> StyleNetwork | None:
        """After an exception that cancelled `run`: the best network that was measured. Where none was since the beginning, it is
        measured now. None where there was no step yet."""
        self.stopped = True
        if not self.losses:
            return None
        if len(self.evaluations) == 1:
            with torch.inference_mode(False):
                self._measure(len(self.losses), lambda network, step: None, lambda: None)
        return self.best

    def _train(self, optimiser: torch.optim.Optimizer, style: int) -> None:
        squares = random_squares(self._learned, BATCH, SIDE, self._generator).to(self.device)
        loss = self._loss_of(squares, style)
        with torch.enable_grad():
            value = loss(self._parts.paint(squares, style)).total
            optimiser.zero_grad()
            value.backward()
        optimiser.step()
        self.losses.append(float(value.detach()))

    def _target(self, painting: Tensor) -> dict[str, Moments]:
        layers = [COLOURS, *self.features.style_layers]
        return style_moments(self.features, painting, self.settings.painting_size, layers, self.device)

    def _loss_of(self, squares: Tensor, style: int) -> PerceptualLoss:
        with torch.no_grad():
            region = Region(self._targets[style])
            return loss_beside(self.features, squares, [region], self.settings.style, self.settings.content)

    def _started(self, starts: Sequence[int]) -> TrainedParts:
        network = self.network
        return TrainedParts(network, self.settings.part, network.gamma[starts], network.beta[starts], self.device)

    @torch.no_grad()
    def _find_starts(self, on_step: Step, total: int) -> None:
        """Begin each style at that of the table whose loss is the lowest."""
        self._checks = [
            [(squares, self._loss_of(squares, style)) for squares in self.held_out.to(self.device).split(BATCH)]
            for style in range(len(self.names))
        ]
        table = self._started(range(len(self.network.style_names)))
        found = []
        for index in range(len(self.network.style_names)):
            painted = [table.paint(squares, index) for squares, _ in self._checks[0]]
            found.append([_mean_loss(painted, checks) for checks in self._checks])
            on_step(index + 1, total)
        self.starts = [
            min(range(len(found)), key=lambda index: found[index][style]) for style in range(len(self.names))
        ]
        self._parts = self._started(self.starts)

    @torch.no_grad()
    def _measure(self, step: int, show: Show, between: Callable[[], None]) -> None:
        """The mean loss of all styles on the held-out squares; what is better than before is kept. between() is called between
        styles, and may raise to cancel."""
        values = []
        for style, checks in enumerate(self._checks):
            if style:
                between()
            values.append(_mean_loss([self._parts.paint(squares, style) for squares, _ in checks], checks))
        value = math.fsum(values) / len(values)
        if not math.isfinite(value):
            raise ValueError(
                f"At a learning rate of {self.settings.learning_rate:g} the loss became NaN or infinite after {step} steps. "
                "Use a lower learning rate."
            )
        if not self.evaluations or value < self.best_loss:
            self.best, self.best_step = self._parts.as_network(", ".join(self.names), self.names), step
            show(self.best, step)
        self.evaluations.append((step, value))


def _check_start(network: StyleNetwork) -> None:
    if not network.style_names:
        raise ValueError(
            f"{network.name} has no table of styles: it takes its style from a picture, which cannot be trained here. "
            "Connect the 26-style network, or a network that was trained by this node."
        )


def _mean_loss(painted: Sequence[Tensor], checks: Sequence[tuple[Tensor, PerceptualLoss]]) -> float:
    """The mean over batches of equal size."""
    return math.fsum(float(loss(planes).total) for planes, (_, loss) in zip(painted, checks)) / len(checks)


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step, the first of which is 1: a short rise, then a cosine to zero."""
    return min(1.0, step / WARM_UP) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))


def style_names(text: str, count: int) -> list[str]:
    """The names of so many styles, one a line; those that are missing are numbered. Raises ValueError for too many lines."""
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > count:
        raise ValueError(f"There are {len(lines)} names for {count} paintings. Give one name a line for each painting.")
    lines += [""] * (count - len(lines))
    return [line or f"style {number}" for number, line in enumerate(lines, 1)]
