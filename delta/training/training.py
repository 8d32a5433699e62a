"""Training a style, with everything else of a model as it is.

What is trained is the difference from the model's own parameters, from zero on, so that it can be saved as a LoRA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch
from torch import Tensor

from ..families.norm_sites import PREFIX
from ..lora.file import LoraModel, merged_metadata
from ..progress import Step
from .mutation import changes_allowed
from .plan import Plan
from .schedule import Settings
from .style import Style, as_lora, first_style

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


# loss(style, draw) -> the loss, differentiable.
Loss = Callable[[Style, Draw], Tensor]
# show(style, step): a look at the style between two steps.
Show = Callable[[Style, int], None]


class StyleTraining:
    """AdamW on a style, and the best of it so far.

    Training losses are too noisy to compare: each is of another latent, time and noise. So the loss is evaluated on fixed
    draws before, between and after; `best` is the style of the least of these losses, and `None` as long as none is below
    the first. It is there after an exception too, such as a cancel.

    style: as it is now; evaluations: (step, loss) of the fixed draws; losses: of each step; idle: parameters that the loss
    does not depend on; stopped: whether it was ended before its last step.
    """

    def __init__(
        self,
        plan: Plan,
        latents: int,
        settings: Settings,
        device: torch.device | str = "cpu",
        start: Style | None = None,
    ):
        self.plan, self.latents, self.settings = plan, latents, settings
        self.style = first_style(plan, settings.seed, torch.device(device), start)
        self.resumed = start is not None
        self.losses: list[float] = []
        self.evaluations: list[tuple[int, float]] = []
        self.idle: list[str] = []
        self.best: Style | None = None
        self.best_step, self.best_loss = 0, math.inf
        self.seconds, self.draws, self.stopped = 0.0, 0, False
        count = min(max(FEWEST_DRAWS, latents), MOST_DRAWS)
        # Not the seeds of `_draw`, which are not negative.
        self.fixed = [Draw(i % latents, (i + 0.5) / count, -1 - i) for i in range(count)]
        self.interval = min(LONGEST_INTERVAL, max(1, settings.steps // EVALUATIONS))

    @property
    def first_loss(self) -> float:
        """The evaluated loss of the model as it was, with the style that training goes on from."""
        return self.evaluations[0][1]

    @property
    def rates(self) -> tuple[float, float]:
        """The highest learning rates, of whole parameters and of factors."""
        return self.settings.rates(bool(self.plan.factors))

    def run(
        self,
        loss: Loss,
        on_step: Step = lambda done, total: None,
        show: Show = lambda style, step: None,
        show_every: int = 0,
    ) -> None:
        """Train. on_step may raise to cancel; show is called before the first step and after each `show_every`, if not 0.

        Ends early when the loss is no longer finite. Raises ValueError when no difference lowers the evaluated loss, when
        the loss of the model as it is is not finite, and when it depends on none of the parameters.
        """
        advance, steps = self._progress(on_step), self.settings.steps
        optimiser = self._optimiser()
        generator = torch.Generator().manual_seed(self.settings.seed)
        self._evaluate(0, loss, advance)
        if not math.isfinite(self.first_loss):
            raise ValueError(
                "The loss of the unchanged model is NaN or infinite. Use another latent, or a model in bfloat16."
            )
        if show_every:
            show(self.style, 0)
        for step in range(1, steps + 1):
            self.losses.append(self._backward(loss, generator, advance))
            if step == 1:
                self._find_idle()
            self._move(optimiser, step)
            if not math.isfinite(self.losses[-1]):
                break
            if step % self.interval == 0 or step == steps:
                self._evaluate(step, loss, advance)
            if show_every and step % show_every == 0:
                show(self.style, step)
        if self.best is None:
            raise ValueError(self._nothing_better())

    def stop(self, loss: Loss, on_step: Step = lambda done, total: None) -> bool:
        """After an exception that cancelled `run`: evaluate the step that was reached, and tell whether there is a best."""
        self.stopped, step = True, len(self.losses)
        if self.evaluations and step > self.evaluations[-1][0]:
            self._evaluate(step, loss, lambda work: on_step(1, 1))
        return self.best is not None

    def _progress(self, on_step: Step) -> Callable[[int], None]:
        start, done = time.perf_counter(), 0
        evaluations = 1 + -(-self.settings.steps // self.interval)
        total = STEP_COST * self.settings.batch_size * self.settings.steps + len(self.fixed) * evaluations

        def advance(work: int) -> None:
            nonlocal done
            done += work
            self.seconds = time.perf_counter() - start
            on_step(done, total)

        return advance

    def _optimiser(self) -> torch.optim.Optimizer:
        factors = [tensor for part in self.style.factors.values() for tensor in (part.up, part.down)]
        tensors = (list(self.style.plain.values()), factors)
        groups = [{"params": part, "lr": rate, "highest": rate} for part, rate in zip(tensors, self.rates) if part]
        return torch.optim.AdamW(groups, weight_decay=0.0)

    def _move(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        """One step of the optimiser, which is left out where a gradient is not finite."""
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * self.settings.factor(step)
        gradients = (p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None)
        if all(torch.isfinite(gradient).all() for gradient in gradients):
            optimiser.step()
        optimiser.zero_grad()

    def _backward(self, loss: Loss, generator: torch.Generator, advance: Callable[[int], None]) -> float:
        """Gradients of the mean loss of one batch of draws, and that mean."""
        values = []
        for _ in range(self.settings.batch_size):
            # Models add to their features in place, which their backward pass still needs as they were.
            with changes_allowed():
                value = loss(self.style, self._draw(generator))
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

    def _find_idle(self) -> None:
        names = self.style.names
        self.idle = [name for name in names if all(part.grad is None for part in self.style.tensors_of(name))]
        if len(self.idle) == len(names):
            raise ValueError(
                f"The model's output depends on none of the {len(names)} parameters, {some(self.idle)}. Choose something else "
                "to train, such as other tiers."
            )

    def _evaluate(self, step: int, loss: Loss, advance: Callable[[int], None]) -> None:
        values = []
        with torch.no_grad():
            for draw in self.fixed:
                values.append(float(loss(self.style, draw)))
                advance(1)
        value = math.fsum(values) / len(values)
        self.evaluations.append((step, value))
        if step and value < min(self.first_loss, self.best_loss):
            self.best, self.best_step, self.best_loss = self.style.copy(self.idle), step, value

    def _nothing_better(self) -> str:
        least = min((value for _, value in self.evaluations[1:]), default=math.nan)
        rate = self.rates[1] if self.plan.factors else self.rates[0]
        return (
            f"{len(self.losses)} steps did not lower the loss: it was {self.first_loss:.4g} and at best "
            f"{least:.4g}. Choose a learning rate other than {rate:g}, or more steps."
        )


def trained_lora(
    training: StyleTraining,
    shapes: Mapping[str, Sequence[int]],
    recipe: Mapping[str, object],
    sources: Sequence[LoraModel] = (),
) -> LoraModel:
    """The best style as a LoRA, with the recipe, the settings and the losses in its metadata.

    shapes: of all weights of the model; sources: what training went on from. Raises ValueError where there is no best yet.
    """
    if training.best is None:
        raise ValueError("No differences that lower the loss have been found yet. Train more steps.")
    result = {
        "loss": training.best_loss,
        "loss_before": training.first_loss,
        "best_step": training.best_step,
        "rank": training.plan.rank,
    }
    metadata = merged_metadata(sources, {**recipe, **asdict(training.settings), **result})
    return as_lora(training.best, shapes, metadata, "trained style")


def some(names: Sequence[str]) -> str:
    """The first few of these parameters."""
    short = [name.removeprefix(PREFIX) for name in names[:NAMED_IDLE]]
    return ", ".join(short) + (", ..." if len(names) > NAMED_IDLE else "")
