"""The charts of a report: one description of the data, drawn as a picture and handed to the panel on the node as JSON.

Charts stand in rows, as in the picture: `[[spectra], [heatmap, heatmap]]`. What a person reads in the panel and what is
drawn come from one object, so that they cannot disagree; the panel gets long lines thinned out and numbers rounded.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import plots

# A line of more points than pixels shows nothing more.
MOST_POINTS = 256
# Characters of all charts together: they travel to the browser at every run, and stay in the history.
MOST_CHARACTERS = 180_000
DIGITS = 5


class Spectra(NamedTuple):
    """Singular values by name, descending. cut: the rank kept, by name. tab: a word or two. See `plots.spectra`."""

    tab: str
    title: str
    series: Mapping[str, Sequence[float]]
    cut: Mapping[str, int] = {}

    def draw(self) -> Tensor:
        return plots.spectra(self.series, self.cut, self.title)

    def data(self) -> dict[str, Any]:
        kept = [rank + behind for rank in self.cut.values() for behind in (0, 1)]
        series = [_line(name, points) for name, points in _thinned(plots.visible_values(self.series), kept).items()]
        for line in series:
            if line["name"] in self.cut:
                line["cut"] = self.cut[line["name"]]
        return _lines(self.tab, self.title, plots.INDEX, plots.SINGULAR_VALUE, series, log=True)


class Bars(NamedTuple):
    """Numbers from 0 by name, in the order given. See `plots.bars`."""

    tab: str
    title: str
    values: Mapping[str, float]
    unit: str

    def draw(self) -> Tensor:
        return plots.bars(self.values, self.title, self.unit)

    def data(self) -> dict[str, Any]:
        values = [_short(value) for value in self.values.values()]
        return {
            "kind": "bars",
            "tab": self.tab,
            "title": self.title,
            "unit": self.unit,
            "names": list(self.values),
            "values": values,
        }


class Heatmap(NamedTuple):
    """A table of numbers in 0..1, or in -1..1 if signed; NaN is an empty cell. See `plots.heatmap`."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    table: Sequence[Sequence[float]]
    signed: bool = False

    def draw(self) -> Tensor:
        return plots.heatmap(torch.tensor(self.table), self.rows, self.columns, self.title, self.signed)

    def data(self) -> dict[str, Any]:
        values = [[None if math.isnan(value) else round(value, 4) for value in row] for row in self.table]
        return {
            "kind": "heatmap",
            "tab": self.title,
            "title": self.title,
            "rows": list(self.rows),
            "columns": list(self.columns),
            "values": values,
            "low": -1 if self.signed else 0,
        }


class Curves(NamedTuple):
    """Points (x, y) by name. mark: the point chosen. See `plots.curves`."""

    tab: str
    title: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str
    y_label: str
    mark: tuple[float, float] | None = None

    def draw(self) -> Tensor:
        return plots.curves(self.series, self.title, self.x_label, self.y_label, self.mark)

    def data(self) -> dict[str, Any]:
        kept = () if self.mark is None else self.mark[:1]
        series = [_line(name, points) for name, points in _thinned(self.series, kept).items()]
        chart = _lines(self.tab, self.title, self.x_label, self.y_label, series, log=False)
        return chart if self.mark is None else chart | {"mark": [_short(value) for value in self.mark]}


class Note(NamedTuple):
    """Lines of text that belong to the charts. See `plots.caption`."""

    lines: Sequence[str]

    def draw(self) -> Tensor:
        return plots.caption(self.lines)

    def data(self) -> dict[str, Any]:
        return {"kind": "note", "lines": list(self.lines)}


Chart = Spectra | Bars | Heatmap | Curves | Note
Charts = Sequence[Sequence[Chart]]


class Report(NamedTuple):
    """text: plain text; charts: the figures that are shown, in rows."""

    text: str
    charts: Charts


def draw(charts: Charts) -> Tensor:
    """The charts as one picture [1, height, width, 3] in 0..1. Raises ValueError for none, and as the plots do."""
    return plots.stack([plots.beside([chart.draw() for chart in row]) for row in charts])


def panel(charts: Charts) -> list[str]:
    """The charts as JSON, one object a chart, of at most MOST_CHARACTERS in all.

    A chart that there is no room for becomes a note that says so; the picture has it.
    """
    texts, room = [], MOST_CHARACTERS
    for chart in (chart for row in charts for chart in row):
        text = _json(chart.data())
        if len(text) > room:
            title = getattr(chart, "title", "The note")
            text = _json(Note([f"{title[:200]}: too many numbers to show here. The plot output has them."]).data())
        room -= len(text)
        texts.append(text)
    return texts


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _lines(tab: str, title: str, x_label: str, y_label: str, series: list[dict[str, Any]], log: bool) -> dict[str, Any]:
    """A chart of lines. log: whether the vertical axis is logarithmic at first."""
    return {
        "kind": "lines",
        "tab": tab,
        "title": title,
        "x_label": x_label,
        "y_label": y_label,
        "log": log,
        "series": series,
    }


def _line(name: str, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    x, y = ([_short(point[axis]) for point in points] for axis in (0, 1))
    return {"name": name, "x": x, "y": y}


def _thinned(
    lines: Mapping[str, Sequence[tuple[float, float]]], kept: Collection[float]
) -> dict[str, list[tuple[float, float]]]:
    """Lines in the order of x; where one is long, the points of each nearest to MOST_POINTS even steps of x.

    One grid for all, so that lines over the same x keep the same points. The ends of a line and x in `kept` stay.
    """
    lines = {name: sorted(points) for name, points in lines.items()}
    if max(map(len, lines.values())) <= MOST_POINTS:
        return lines
    ends = [points[end][0] for points in lines.values() if points for end in (0, -1)]
    low, high = min(ends), max(ends)
    grid = [low + (high - low) * i / (MOST_POINTS - 1) for i in range(MOST_POINTS)]
    return {name: [points[i] for i in _nearest(points, [*grid, *kept])] for name, points in lines.items()}


def _nearest(points: Sequence[tuple[float, float]], wanted: Sequence[float]) -> list[int]:
    """The indices of the points whose x are nearest to those wanted, each once, ascending."""
    found = set()
    for x in wanted if points else ():
        after = bisect_left(points, x, key=lambda point: point[0])
        around = range(max(after - 1, 0), min(after + 1, len(points)))
        found.add(min(around, key=lambda i: abs(points[i][0] - x)))
    return sorted(found)


def _short(value: float) -> float:
    """The number in DIGITS significant digits; whole numbers as they are."""
    return int(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")
