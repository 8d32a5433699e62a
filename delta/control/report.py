"""How strong a control is at each step and block: as curves and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..charts.charts import Charts, Curves
from ..report_text import text_table
from .schedule import ControlSchedule
from .weights import by_weight

ALL = "all blocks"


def evenly(steps: int) -> list[float]:
    """The progress at the beginning of each of so many equal steps."""
    return [step / steps for step in range(steps)]


def schedule_charts(
    schedule: ControlSchedule, strength: float, weights: Mapping[str, float] | None, progresses: Sequence[float]
) -> Charts:
    """Strength times schedule times block weight at each step, a curve for blocks of one weight."""
    groups = by_weight(weights) if weights else {ALL: 1.0}
    series = {
        name: [(progress, strength * schedule.strength(progress) * weight) for progress in progresses]
        for name, weight in groups.items()
    }
    title = f"Control strength over {len(progresses)} steps"
    return [[Curves("Strength", title, series, "sampling progress, from noise to picture", "strength")]]


def schedule_report(schedule: ControlSchedule, strength: float, progresses: Sequence[float]) -> str:
    """A line for each step: its progress, and strength times schedule there, before block weights."""
    rows = [("step", "progress", "strength")]
    for step, progress in enumerate(progresses, start=1):
        rows.append((str(step), f"{progress:.3f}", f"{strength * schedule.strength(progress):.3f}"))
    return "\n".join(text_table(rows))
