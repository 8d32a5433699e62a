"""What is told of the training of a style network: in words, and as a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..charts.charts import Charts, Curves
from ..training.memory import size
from .network_training import BYTES_PER_NUMBER, NetworkTraining

# Points of the curve of training.
POINTS = 40


def describe(training: NetworkTraining) -> str:
    """A report in lines: what was trained, how far the loss fell on what was held out, and what was stopped."""
    settings, ran = training.settings, len(training.losses)
    where = "held-out parts of the photos" if training.apart else "the training photos, too small to hold any parts out"
    starts = ", ".join(training.network.style_names[index] for index in training.starts)
    lines = [
        f"{settings.part} of {training.network.name}: {training.numbers} numbers, "
        f"{size(BYTES_PER_NUMBER * training.numbers)}, {ran} steps, {training.seconds:.1f} s",
        f"styles: {', '.join(training.names)}",
        f"started from: {starts}",
        f"loss on {len(training.held_out)} squares of {where}: {training.first_loss:.4f} for the nearest existing styles, "
        f"{training.best_loss:.4f} after step {training.best_step}, {_less(training)} less",
    ]
    if training.stopped:
        lines.append(f"stopped at step {ran} of {settings.steps}; the result is from step {training.best_step}")
    elif training.best_step < training.evaluations[-1][0]:
        lines.append(f"later steps were not better and are left out: {training.evaluations[-1][1]:.4f} at the end")
    return "\n".join(lines)


def loss_charts(training: NetworkTraining) -> Charts:
    """The loss against the step: of the held-out squares, with the best marked, and of the training."""
    series = {
        "held-out squares": [(float(step), loss) for step, loss in training.evaluations],
        "training, mean of recent steps": _means(training.losses),
    }
    mark = (float(training.best_step), training.best_loss)
    return [[Curves("Loss", "Training loss", series, "step", "loss", mark)]]


def _less(training: NetworkTraining) -> str:
    return f"{1 - training.best_loss / training.first_loss:.0%}"


def _means(losses: Sequence[float]) -> list[tuple[float, float]]:
    """Means of neighbours, at the step of the last of each."""
    width = max(1, len(losses) // POINTS)
    groups = [range(start, min(start + width, len(losses))) for start in range(0, len(losses), width)]
    return [(group[-1] + 1.0, math.fsum(losses[index] for index in group) / len(group)) for group in groups]
