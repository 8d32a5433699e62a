"""Learning one more style of a style network from a painting: its gamma and beta alone, all weights frozen.

That a trained network needs no more than a new gamma and beta for a new style: Dumoulin et al. 2017 (arXiv 1610.07629).
Instead of their perceptual loss a teacher shows what to paint: the any-picture network of Ghiasi et al. 2017 (arXiv
1705.06830) with the style of the painting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..charts.charts import Charts, Curves
from ..progress import Step
from .network import StyleNetwork, checked_planes
from .painter import layers_on, paint_through
from .params import StyleComponent, StyleParams
from .squares import random_squares, split_photos

# Pixels on a side of the squares of photos that are learned from, how many there are, and how many a step takes.
SIDE = 128
SQUARES = 192
BATCH = 4
HELD_OUT_SQUARES = 12
MIN_PAINTING_SIDE = 64
# How often the error on held-out squares is measured, and how many steps lead up to the full learning rate.
MEASUREMENTS = 20
WARM_UP = 10
BETAS = (0.9, 0.99)

Paint = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StyleFit:
    """A learned style: gamma and beta [channels], float32 on the CPU.

    Errors are root mean squares over held-out squares, of the distance in 0..1 to what the teacher paints. `errors` are
    (steps done, error), the first of them that of the existing style number `start`; gamma and beta are those of the
    lowest. `apart` tells whether the held-out squares come from parts of the photos that nothing was learned from.
    """

    gamma: Tensor
    beta: Tensor
    start: int
    errors: tuple[tuple[int, float], ...]
    apart: bool
    seconds: float

    @property
    def best(self) -> tuple[int, float]:
        """(steps done, error) of this gamma and beta."""
        return min(self.errors, key=lambda point: point[1])

    @property
    def recovered(self) -> float:
        """The share of the best existing style's distance to the teacher that is gone, 1 for all of it."""
        return 1 - self.best[1] / self.errors[0][1]

    def style(self, network: StyleNetwork) -> StyleParams:
        """The style, for the network that it was learned for."""
        return StyleParams(network.fingerprint, (StyleComponent("fitted style", self.gamma, self.beta),))

    def charts(self) -> Charts:
        """The error against the steps done, with the best marked."""
        return [[Curves("Error", "Fit Style", {"": self.errors}, "step", "error", self.best)]]

    def report(self, network: StyleNetwork) -> str:
        """What was reached, for people."""
        steps, error = self.best
        where = "held-out parts of the photos" if self.apart else "the training photos, too small to hold any parts out"
        return "\n".join(
            [
                f"{2 * network.channels} numbers for {network.name}, {self.errors[-1][0]} steps, {self.seconds:.1f} s",
                f"root mean square distance to the teacher's painting, 0 to 1, on {HELD_OUT_SQUARES} squares of {where}:",
                f"nearest existing style: {self.errors[0][1]:.4f} ({network.style_names[self.start]})",
                f"fitted style: {error:.4f} (after {steps} steps)",
                f"recovered: {self.recovered:.0%} of the distance, {1 - (1 - self.recovered) ** 2:.0%} of its square",
            ]
        )


def check_kinds(network: StyleNetwork, teacher: StyleNetwork) -> None:
    """Raise ValueError when the two networks are swapped or of a kind that cannot be used."""
    if network.predictor is not None or len(network.style_names) < 2:
        raise ValueError(
            f"{network.name} is connected as the style network, but has no table of several styles to learn a new one "
            "from. Connect the 26-style network as style network and the any-picture network as teacher."
        )
    if teacher.predictor is None:
        raise ValueError(
            f"{teacher.name} is connected as the teacher, but cannot take a style from a painting. "
            "Choose the any-picture network in the teacher's Load Style Network."
        )


def picture_teacher(
    network: StyleNetwork, teacher: StyleNetwork, painting: Tensor, device: torch.device | str = "cpu"
) -> Paint:
    """What paints planes [batch, 3, height, width] in 0..1 in the style of a painting [batch, height, width, 3] in 0..1.

    A batch of paintings gives the mean of their styles. Raises ValueError when the two networks are swapped or of a
    kind that cannot be used, and for a painting that is smaller than 64 pixels or holds NaN.
    """
    check_kinds(network, teacher)
    checked_planes(painting, MIN_PAINTING_SIDE, "The painting")
    style = teacher.style_from_image(painting, "painting")
    paint = _painter(teacher, device)
    gamma, beta = style.gamma.to(device), style.beta.to(device)

    def paint_without_gradients(planes: Tensor) -> Tensor:
        with torch.no_grad():
            return paint(planes, gamma, beta)

    return paint_without_gradients


def fit_style(
    network: StyleNetwork,
    teacher: Paint,
    photos: Tensor,
    steps: int,
    learning_rate: float,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Step = lambda done, total: None,
) -> StyleFit:
    """Learn a gamma and beta of `network` that paint what `teacher` paints.

    photos: [batch, height, width, channels] in 0..1, sides of 128 pixels or more. Of photos of 256 pixels or more the
    last quarter of the longer side is held out. `teacher` is given planes [batch, 3, 128, 128] on `device`. steps: 1 or
    more. learning_rate: of Adam (arXiv 1412.6980) on a cosine (arXiv 1608.03983), in units of the spread of each number
    over the network's styles. The start is the existing style that is nearest to the teacher. The same seed gives the
    same style on the same machine.
    on_step(done, total) is called after each style that is tried and each step, and may raise to cancel.

    Raises ValueError for bad or plain photos, and when the learning rate is so high that the error becomes NaN.
    """
    planes = checked_planes(photos, SIDE, "A photo")
    # ComfyUI runs nodes in inference mode, whose tensors no gradient passes.
    with torch.inference_mode(False), torch.enable_grad():
        return _fit(network, teacher, planes, steps, learning_rate, seed, device, on_step)


def _fit(
    network: StyleNetwork,
    teacher: Paint,
    planes: Tensor,
    steps: int,
    learning_rate: float,
    seed: int,
    device: torch.device | str,
    on_step: Step,
) -> StyleFit:
    begin = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    paint = _painter(network, device)
    learned, held_out = split_photos(planes, SIDE)
    squares, targets = _lessons(teacher, learned, min(SQUARES, steps * BATCH), generator, device)
    checks = _lessons(teacher, held_out, HELD_OUT_SQUARES, generator, device)
    table = torch.stack([network.gamma, network.beta], 1).to(device, copy=True)
    total, table_errors = len(table) + steps, []
    for style in table:
        table_errors.append(_error(paint, style, *checks))
        on_step(len(table_errors), total)
    start = table_errors.index(min(table_errors))
    best, errors = table[start], [(0, table_errors[start])]

    spread = table.std(0)
    offset = torch.zeros_like(spread, requires_grad=True)
    optimiser = torch.optim.Adam([offset], betas=BETAS)
    for done, chosen in enumerate(_batches(steps, len(squares), generator), 1):
        optimiser.param_groups[0]["lr"] = learning_rate * _rate(done, steps)
        optimiser.zero_grad()
        F.mse_loss(paint(squares[chosen], *(table[start] + spread * offset)), targets[chosen]).backward()
        optimiser.step()
        if done % max(1, steps // MEASUREMENTS) == 0 or done == steps:
            style = (table[start] + spread * offset).detach()
            now = _error(paint, style, *checks)
            if not math.isfinite(now):
                raise ValueError(
                    f"At a learning rate of {learning_rate:g} the error became NaN after {done} steps. "
                    "Use a lower learning rate."
                )
            if now < min(value for _, value in errors):
                best = style
            errors.append((done, now))
        on_step(len(table) + done, total)
    gamma, beta = best.cpu().clone()
    return StyleFit(gamma, beta, start, tuple(errors), held_out is not learned, time.perf_counter() - begin)


def _painter(network: StyleNetwork, device: torch.device | str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A function (planes, gamma, beta) that paints like `stylize`, whole pictures at once and with gradients."""
    layers = layers_on(network, device)
    return lambda planes, gamma, beta: paint_through(network, layers, planes, gamma, beta)


def _lessons(
    teacher: Paint, photos: Tensor, count: int, generator: torch.Generator, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Squares of photos, and what the teacher makes of them; both [count, 3, 128, 128]."""
    squares = random_squares(photos, count, SIDE, generator).to(device)
    return squares, _in_batches(teacher, squares)


def _error(paint: Callable[..., Tensor], style: Tensor, squares: Tensor, targets: Tensor) -> float:
    """Root mean square distance to the teacher's paintings, of a style [2, channels]."""
    with torch.no_grad():
        return float(F.mse_loss(_in_batches(lambda part: paint(part, *style), squares), targets).sqrt())


def _batches(steps: int, count: int, generator: torch.Generator) -> Sequence[Tensor]:
    """For each step the numbers of its squares. All take their turn, in a new order each time."""
    rounds = [torch.randperm(count, generator=generator) for _ in range(-(-steps * BATCH // count))]
    return torch.cat(rounds).split(BATCH)[:steps]


def _in_batches(paint: Paint, pictures: Tensor) -> Tensor:
    return torch.cat([paint(part) for part in pictures.split(BATCH)])


def _rate(done: int, steps: int) -> float:
    """The share of the learning rate at a step: a short rise, then a cosine to zero."""
    return min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * (done - 1) / steps))
