"""What is told of optimised paintings: in words, and as a chart."""

from __future__ import annotations

from ..charts.charts import Charts, Curves
from ..training.memory import size
from .batch import PaintedBatch
from .optimise import Measured, Optimisation


def describe(batch: PaintedBatch, needed: int) -> str:
    """A report in lines: how far the losses fell, the time and the memory, and what was stopped. needed: in bytes."""
    settings, runs = batch.settings, _painted(batch)
    steps = sum(len(run.losses) for run in runs)
    seconds = sum(run.seconds for run in runs)
    sides = sorted({measured.side for run in runs for measured in run.losses})
    first, best = runs[-1].losses[0], _best(runs[-1].losses)
    lines = [
        f"{len(batch.paintings)} of {len(batch.planes)} pictures, {steps} steps of {settings.method} in {seconds:.1f} s, at "
        f"{', '.join(map(str, sides))} pixels",
        f"features: {batch.network.name}; style from {', '.join(settings.chosen(batch.network))}",
        f"style loss: {first.style:.3f} at first, {best.style:.3f} in the painting",
        f"content loss: {best.content:.3f}; smoothness: {best.smoothness:.3f}",
        f"memory: about {size(needed)}",
    ]
    if len(runs) > 1:
        lines.insert(3, "the losses are those of the last picture")
    wanted = len(batch.planes) * settings.steps * len(settings.sides(batch.planes))
    if steps < wanted:
        lines.append(
            f"stopped after {steps} of {wanted} steps; the last picture is the best so far, pictures not begun are left out"
        )
    return "\n".join(lines)


def loss_charts(batch: PaintedBatch) -> Charts:
    """The losses of the last picture against the step, over all sizes."""
    losses = _painted(batch)[-1].losses
    parts = {
        name: [(float(n), getattr(loss, name)) for n, loss in enumerate(losses, 1)] for name in ("style", "content")
    }
    return [[Curves("Loss", "Loss of the painting", parts, "step", "loss")]]


def _painted(batch: PaintedBatch) -> list[Optimisation]:
    """The runs that took a step: Cancel may have come before the first one of the last."""
    return [run for run in batch.runs if run.losses]


def _best(losses: list[Measured]) -> Measured:
    """Of the size that was reached last, the lowest."""
    return min((loss for loss in losses if loss.side == losses[-1].side), key=lambda loss: loss.total)
