"""What is told of a training: in words, and as a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..charts.charts import Charts, Curves
from .training import StyleTraining, some


def describe(training: StyleTraining) -> str:
    """A report in lines: what was trained, how far the loss fell, and what has no influence."""
    ran = len(training.losses)
    lines = [
        _trained(training),
        f"{ran} steps of {training.settings.batch_size} at {_rates(training)}, {training.seconds:.1f} s",
        f"loss on {len(training.fixed)} fixed draws: {training.first_loss:.6g} before, {training.best_loss:.6g} after step "
        f"{training.best_step}, {100 * (1 - training.best_loss / training.first_loss):.1f} % less",
    ]
    if training.resumed:
        lines.append("resumed from the connected LoRA, which is included in the loss before and in the result")
    if training.stopped:
        lines.append(
            f"stopped at step {ran} of {training.settings.steps}; the result is from step {training.best_step}"
        )
    elif not math.isfinite(training.losses[-1]):
        lines.append(f"stopped at step {ran}: the loss became NaN or infinite. Choose a lower learning rate.")
    if training.best_step < training.evaluations[-1][0]:
        lines.append(
            f"the loss rose after step {training.best_step}, to {training.evaluations[-1][1]:.6g}; later steps are left out"
        )
    if training.idle:
        lines.append(f"no effect on the result, left out: {len(training.idle)}, {some(training.idle)}")
    return "\n".join(lines)


def _trained(training: StyleTraining) -> str:
    plan, parts = training.plan, []
    if plan.plain:
        kind = "norm parameters and biases" if plan.biases else "norm parameters"
        parts.append(f"{len(plan.plain)} {kind}")
    if plan.factors:
        parts.append(f"LoRA of rank {plan.rank} on {len(plan.factors)} layers")
    return f"{plan.described}: {', '.join(parts)}, {plan.numbers} numbers, {plan.numbers * 4 / 1e3:.0f} kB"


def _rates(training: StyleTraining) -> str:
    of_norms, of_lora = training.rates
    rates = []
    if training.plan.plain:
        rates.append(f"{of_norms:g}" + (" for norms" if training.plan.factors else ""))
    if training.plan.factors:
        rates.append(f"{of_lora:g}" + (" for the LoRA" if training.plan.plain else ""))
    settings = training.settings
    rise = f", warming up for {settings.rising} steps" if settings.rising else ""
    return " and ".join(rates) + rise + (", with cosine decay" if settings.decays else "")


def loss_charts(training: StyleTraining) -> Charts:
    """The loss against the step: of the fixed draws, with the best marked, and of the training."""
    trained = [(float(step), loss) for step, loss in enumerate(training.losses, start=1) if math.isfinite(loss)]
    fixed = [(float(step), loss) for step, loss in training.evaluations if math.isfinite(loss)]
    series = {"fixed draws": fixed, "training, mean of recent steps": _smooth(trained, training.interval)}
    mark = (float(training.best_step), training.best_loss)
    return [[Curves("Loss", "Training loss", series, "step", "loss", mark)]]


def _smooth(points: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Means of `width` neighbours each."""
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]
