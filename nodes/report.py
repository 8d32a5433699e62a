"""What report nodes give besides their outputs: the plot, and the data of the panel that js/reports/report_panel.js shows on the node."""

from __future__ import annotations

import torch

from ..delta.charts.charts import Charts, draw, panel
from .host import run


def plot(charts: Charts) -> torch.Tensor:
    """The charts as an IMAGE."""
    return run.to_output(draw(charts))


def report_ui(report: str, charts: Charts = ()) -> dict[str, list[str]]:
    """The `ui` of a node output. Charts travel as text: the host would count objects as files that the node made."""
    return {"text": [report], "styledelta_charts": panel(charts)}
