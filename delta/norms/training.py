"""Training norm parameters alone, with everything else of a model as it is.

A style as gamma and beta of a frozen network is arXiv 1610.07629; biases and scales alone are known to move a diffusion
model to another set of pictures (DiffFit, arXiv 2304.06648). What is trained is the difference from the model's own
parameters, from zero on, so that it can be saved as a LoRA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..charts.charts import Charts, Curves
from ..families.norm_sites import PREFIX
from ..lora.file import LoraModel, merged_metadata
from ..progress import Step
from .difference import Deltas, to_lora

# Ends of the noise schedule, where a sampler has no step, and where hosts give no finite noise.
NEAREST_END = 0.001
# Draws that are this far apart on the schedule, round and round, cover it evenly after any number of them. Losses vary less
# than with independent positions (arXiv 2107.00630).
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
# The evaluation's draws: as many as there are latents, within these bounds.
FEWEST_DRAWS, MOST_DRAWS = 8, 16
EVALUATIONS, LONGEST_INTERVAL = 10, 50
# Work of a step through the model forwards and back, in forward passes.
STEP_COST = 3
# Gradients of half precision vanish without it. Adam's steps do not depend on it.
LOSS_SCALE = 1024.0
NAMED_IDLE = 3


class Draw(NamedTuple):
    """A noised latent. latent: its number; position: on the schedule, from 0, all noise, to 1, none; seed: of the noise."""

    latent: int
    position: float
    seed: int


# loss(differences by parameter, draw) -> the loss, differentiable.
Loss = Callable[[Deltas, Draw], Tensor]
# step(work done, of all)


@dataclass(frozen=True)
class Settings:
    """steps of `batch_size` draws each; seed of their latents and noise."""

    steps: int
    learning_rate: float
    batch_size: int
    seed: int


class NormTraining:
    """AdamW on differences of norm parameters, and the best of them so far.

    Training losses are too noisy to compare: each is of another latent, time and noise. So the loss is evaluated on fixed
    draws before, between and after; `best` are the differences of the least of these losses, and `None` as long as none is
    below the first. They are there after an exception too, such as a cancel.

    evaluations: (step, loss) of the fixed draws; losses: of each step; idle: parameters that the loss does not depend on.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], latents: int, settings: Settings):
        self.shapes, self.latents, self.settings = shapes, latents, settings
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, float]] = []
        self.idle: list[str] = []
        self.best: Deltas | None = None
        self.best_step, self.best_loss = 0, math.inf
        self.seconds, self.draws = 0.0, 0
        count = min(max(FEWEST_DRAWS, latents), MOST_DRAWS)
        # Not the seeds of `_draw`, which are not negative.
        self.fixed = [Draw(i % latents, (i + 0.5) / count, -1 - i) for i in range(count)]
        self.interval = min(LONGEST_INTERVAL, max(1, settings.steps // EVALUATIONS))

    @property
    def first_loss(self) -> float:
        """The evaluated loss of the model as it was."""
        return self.evaluations[0][1]

    @property
    def numbers(self) -> int:
        """How many numbers are trained."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def run(self, loss: Loss, on_step: Step = lambda done, total: None) -> None:
        """Train. on_step may raise to cancel.

        Ends early when the loss is no longer finite. Raises ValueError when no difference lowers the evaluated loss, when
        the loss of the model as it is is not finite, and when it depends on none of the parameters.
        """
        start, steps = time.perf_counter(), self.settings.steps
        evaluations = 1 + -(-steps // self.interval)
        total = STEP_COST * self.settings.batch_size * steps + len(self.fixed) * evaluations
        done = 0

        def advance(work: int) -> None:
            nonlocal done
            done += work
            self.seconds = time.perf_counter() - start
            on_step(done, total)

        deltas = {name: torch.zeros(tuple(shape), requires_grad=True) for name, shape in self.shapes.items()}
        optimiser = torch.optim.AdamW(deltas.values(), self.settings.learning_rate, weight_decay=0.0)
        generator = torch.Generator().manual_seed(self.settings.seed)
        self._evaluate(0, deltas, loss, advance)
        if not math.isfinite(self.first_loss):
            raise ValueError(
                "The loss of the model as it is is not finite. Use another latent, or a model in bfloat16."
            )
        for step in range(1, steps + 1):
            self.losses.append(self._backward(deltas, loss, generator, advance))
            if step == 1:
                self._find_idle(deltas)
            if all(torch.isfinite(delta.grad).all() for delta in deltas.values() if delta.grad is not None):
                optimiser.step()
            optimiser.zero_grad()
            if not math.isfinite(self.losses[-1]):
                break
            if step % self.interval == 0 or step == steps:
                self._evaluate(step, deltas, loss, advance)
        if self.best is None:
            raise ValueError(
                f"{len(self.losses)} steps did not lower the loss: it was {self.first_loss:.4g} and the least after it is "
                f"{min((value for _, value in self.evaluations[1:]), default=math.nan):.4g}. Choose another learning rate than "
                f"{self.settings.learning_rate:g}, or more steps."
            )

    def _backward(
        self, deltas: Deltas, loss: Loss, generator: torch.Generator, advance: Callable[[int], None]
    ) -> float:
        """Gradients of the mean loss of one batch of draws, and that mean."""
        values = []
        for _ in range(self.settings.batch_size):
            # Models add to their features in place, which their backward pass still needs as they were.
            with torch.autograd.graph.allow_mutation_on_saved_tensors():
                value = loss(deltas, self._draw(generator))
                if not value.requires_grad:
                    break
                (value * (LOSS_SCALE / self.settings.batch_size)).backward()
            values.append(float(value.detach()))
            advance(STEP_COST)
        return math.fsum(values) / max(len(values), 1)

    def _draw(self, generator: torch.Generator) -> Draw:
        latent = int(torch.randint(self.latents, (), generator=generator))
        seed = int(torch.randint(2**62, (), generator=generator))
        self.draws += 1
        position = self.draws * GOLDEN_RATIO % 1
        return Draw(latent, NEAREST_END + (1 - 2 * NEAREST_END) * position, seed)

    def _find_idle(self, deltas: Deltas) -> None:
        self.idle = [name for name, delta in deltas.items() if delta.grad is None]
        if len(self.idle) == len(deltas):
            raise ValueError(
                f"The model's result depends on none of the {len(deltas)} parameters, {_some(self.idle)}. Choose other tiers."
            )

    def _evaluate(self, step: int, deltas: Deltas, loss: Loss, advance: Callable[[int], None]) -> None:
        values = []
        with torch.no_grad():
            for draw in self.fixed:
                values.append(float(loss(deltas, draw)))
                advance(1)
        value = math.fsum(values) / len(values)
        self.evaluations.append((step, value))
        if step and value < min(self.first_loss, self.best_loss):
            self.best = {name: delta.detach().clone() for name, delta in deltas.items() if name not in self.idle}
            self.best_step, self.best_loss = step, value


def trained_lora(
    training: NormTraining, shapes: Mapping[str, Sequence[int]], recipe: Mapping[str, object]
) -> LoraModel:
    """The best differences as a LoRA, with the recipe, the settings and the losses in its metadata.

    shapes: of all weights of the model. Raises ValueError where there are no differences yet.
    """
    if training.best is None:
        raise ValueError("No differences that lower the loss have been found yet. Train more steps.")
    result = {"loss": training.best_loss, "loss_before": training.first_loss, "best_step": training.best_step}
    metadata = merged_metadata([], {**recipe, **asdict(training.settings), **result})
    return to_lora(training.best, shapes, metadata, "trained norms")


def describe(training: NormTraining, family: str) -> str:
    """A report in lines: what was trained, how far the loss fell, and what has no influence."""
    ran = len(training.losses)
    lines = [
        f"{family}: {len(training.shapes)} norm parameters, {training.numbers} numbers, {training.numbers * 4 / 1e3:.0f} kB",
        f"{ran} steps of {training.settings.batch_size} at {training.settings.learning_rate:g}, {training.seconds:.1f} s",
        f"loss on {len(training.fixed)} fixed draws: {training.first_loss:.6g} before, {training.best_loss:.6g} after step "
        f"{training.best_step}, {100 * (1 - training.best_loss / training.first_loss):.1f} % less",
    ]
    if not math.isfinite(training.losses[-1]):
        lines.append(f"ended at step {ran}: the loss was no longer finite. Choose a lower learning rate.")
    elif training.best_step < training.evaluations[-1][0]:
        lines.append(
            f"the loss rose after step {training.best_step}, to {training.evaluations[-1][1]:.6g}; what came later is left out"
        )
    if training.idle:
        lines.append(f"without influence on the result, left out: {len(training.idle)}, {_some(training.idle)}")
    return "\n".join(lines)


def loss_charts(training: NormTraining) -> Charts:
    """The loss against the step: of the fixed draws, with the best marked, and of the training."""
    trained = [(float(step), loss) for step, loss in enumerate(training.losses, start=1) if math.isfinite(loss)]
    fixed = [(float(step), loss) for step, loss in training.evaluations if math.isfinite(loss)]
    series = {"fixed draws": fixed, "training, mean of its last steps": _smooth(trained, training.interval)}
    mark = (float(training.best_step), training.best_loss)
    return [[Curves("Loss", "Loss of the norm training", series, "step", "loss", mark)]]


def _smooth(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Means of `width` neighbours each."""
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]


def _some(names: Sequence[str]) -> str:
    short = [name.removeprefix(PREFIX) for name in names[:NAMED_IDLE]]
    return ", ".join(short) + (", ..." if len(names) > NAMED_IDLE else "")
