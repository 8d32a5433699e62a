"""What report nodes give: the report as Markdown, the plot, and the data of the panel that js/reports/report_panel.js shows."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..delta.charts.charts import Charts, draw, panel
from ..delta.report_text import markdown
from .host import run


class Told(NamedTuple):
    """text: the report; plot: its charts as an IMAGE, None without any; ui: of the node output."""

    text: str
    plot: torch.Tensor | None
    ui: dict[str, list[str]]


def tell(report: str, charts: Charts = ()) -> Told:
    """A report of plain lines, with its charts. Those travel as text: the host would count objects as files of the node."""
    text = markdown(report)
    plot = run.to_output(draw(charts)) if charts else None
    return Told(text, plot, {"text": [text], "styledelta_charts": panel(charts)})
