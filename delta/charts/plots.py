"""Plots for people: spectra, energies, overlaps and trade-offs.

Every plot is a function of its data that returns [1, height, width, 3] in 0..1, of the size that its labels need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .canvas import (
    FAINT_INK,
    GAP,
    INK,
    LABEL_SIZE,
    MARGIN,
    PAPER,
    SMALL_SIZE,
    TITLE_SIZE,
    Axis,
    Colour,
    Frame,
    Sheet,
    draw_corner,
    draw_title,
    draw_x_axis,
    draw_y_axis,
    linear_axis,
    log_axis,
    round_ticks,
    short_number,
    text_width,
    whole_ticks,
)

# Okabe and Ito's colours, told apart by every kind of colour vision; without the yellow, which paper swallows.
SERIES = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233)]
# Lengths drawn and left out, for the second and third round through the colours.
DASHES = [(), (9, 4), (2, 4)]
# Light to dark in one direction, so that the order survives grey print.
HEAT = [(246, 244, 238), (190, 219, 222), (93, 164, 190), (31, 97, 150), (14, 38, 84)]
# From -1 over 0 to 1: orange and blue are told apart by every kind of colour vision, and nothing stays pale.
SIGNED_HEAT = [(140, 58, 0), (230, 148, 84), (246, 244, 238), (112, 170, 204), (14, 66, 122)]
PLOT_WIDTH, PLOT_HEIGHT = 640, 360
BAR_WIDTH, ROW_HEIGHT = 480, 22
LEGEND_ROWS = 16
WIDEST_CELL, NARROWEST_CELL, HEATMAP_WIDTH = 44, 15, 704
MOST_COLUMNS_WITH_NUMBERS = 16
# Singular values below this part of the greatest are rounding; an axis that reached them would flatten all others.
FAINTEST_VALUE = 1e-6
INDEX, SINGULAR_VALUE = "index of the singular value", "singular value"


def spectra(series: Mapping[str, Sequence[float]], cut: Mapping[str, int] | None, title: str) -> Tensor:
    """Singular values, descending, on a logarithmic axis against their index, one line for each name.

    `cut` gives the rank kept for some of the names, drawn as a vertical mark behind the last value kept. Values that
    are 0 or rounding are left out. Raises ValueError where nothing can be drawn, and for a cut of an unknown name.
    """
    cut = cut or {}
    if unknown := sorted(set(cut) - set(series)):
        raise ValueError(f"There is a cut but no spectrum for {', '.join(unknown)}.")
    drawn = visible_values(series)
    greatest = max(v for points in drawn.values() for _, v in points)
    lowest = min(v for points in drawn.values() for _, v in points)
    count = max(len(values) for values in series.values())
    x_axis = Axis(INDEX, 0.5, count + 0.5, whole_ticks(count))
    y_axis = log_axis(SINGULAR_VALUE, lowest, greatest)
    legend = {name + (f" (rank {cut[name]})" if name in cut else ""): style for name, style in _styles(series).items()}
    sheet, frame = _plot(title, x_axis, y_axis, legend if len(series) > 1 else {})
    _draw_cuts(sheet, frame, cut, _styles(series))
    for (colour, dash), points in zip(_styles(series).values(), drawn.values()):
        places = [frame.place(*point) for point in points]
        sheet.line(places, colour, 2, dash)
        if count <= 64:
            for place in places:
                sheet.dot(*place, 2.5, colour)
    return sheet.picture()


def visible_values(series: Mapping[str, Sequence[float]]) -> dict[str, list[tuple[int, float]]]:
    """The singular values that a plot of spectra shows, each with its index from 1: those above rounding.

    Raises ValueError where there are none, and for infinite or NaN ones.
    """
    lines = {name: np.asarray(values, dtype=np.float64) for name, values in series.items()}
    _require_finite("spectra", np.concatenate([*lines.values(), np.zeros(0)]))
    greatest = max(values.max(initial=0) for values in lines.values())
    if greatest <= 0:
        raise ValueError("A plot of spectra needs a singular value above 0.")
    floor = FAINTEST_VALUE * greatest
    return {name: [(i + 1, float(v)) for i, v in enumerate(values) if v > floor] for name, values in lines.items()}


def bars(values: Mapping[str, float], title: str, unit: str) -> Tensor:
    """Horizontal bars from 0, one for each name, in the order given, with the number behind each.

    Raises ValueError for no values, and for negative, infinite or NaN ones.
    """
    numbers = np.asarray(list(values.values()), dtype=np.float64)
    _require_finite("bars", numbers)
    if (numbers < 0).any():
        raise ValueError("Bars begin at 0, but some of the values are negative.")
    ticks = round_ticks(0, float(numbers.max()) or 1.0)
    texts = [short_number(value) for value in numbers]
    left = 2 * MARGIN + max(text_width(name, LABEL_SIZE) for name in values) - GAP
    right_margin = MARGIN + GAP + max(text_width(text, SMALL_SIZE) for text in texts)
    top, height = _top(title), ROW_HEIGHT * len(values)
    width = _width_for(left + BAR_WIDTH + right_margin, title, unit)
    frame = Frame(left, top, left + BAR_WIDTH, top + height, Axis(unit, 0, ticks[-1], ticks), Axis("", 1, 0, []))
    sheet = Sheet(width, top + height + 3 * GAP + 2 * LABEL_SIZE + MARGIN)
    draw_title(sheet, title)
    draw_x_axis(sheet, frame)
    for row, (name, value) in enumerate(zip(values, numbers)):
        middle, end = top + ROW_HEIGHT * (row + 0.5), frame.place(value, 0)[0]
        sheet.text(left - GAP, middle, name, LABEL_SIZE, "rm")
        sheet.box(left, middle - 7, end, middle + 7, SERIES[0])
        sheet.text(end + GAP, middle, texts[row], SMALL_SIZE, "lm", INK)
    draw_corner(sheet, frame)
    return sheet.picture()


def heatmap(
    matrix: Tensor, row_labels: Sequence[str], column_labels: Sequence[str], title: str, signed: bool = False
) -> Tensor:
    """A table [rows, columns] as colours, with the numbers where at most 16 columns leave room.

    The numbers are in 0..1, or in -1..1 with `signed`; NaN leaves a cell empty. Raises ValueError for an empty table,
    labels that do not fit it, and other numbers.
    """
    table = matrix.detach().cpu().double().numpy()
    if table.shape != (len(row_labels), len(column_labels)):
        raise ValueError(f"A table of shape {table.shape} has {len(row_labels)} x {len(column_labels)} labels.")
    _require_finite("heatmap", table[~np.isnan(table)])
    scale = _HeatScale(-1.0, SIGNED_HEAT) if signed else _HeatScale(0.0, HEAT)
    lowest, highest = np.nanmin(table), np.nanmax(table)
    if lowest < scale.low - 1e-3 or highest > 1 + 1e-3:
        raise ValueError(f"A heatmap shows {scale.low:g}..1, not {short_number(lowest)} to {short_number(highest)}.")
    rows, columns = table.shape
    width = int(np.clip(HEATMAP_WIDTH // columns, NARROWEST_CELL, WIDEST_CELL))
    # Tables of many rows get flat cells, so that they stay on the screen.
    height = min(max(HEATMAP_WIDTH // rows, ROW_HEIGHT), width)
    size = min(LABEL_SIZE, height - 2)
    upright = max(text_width(label, size) for label in column_labels) > width - 4
    label_height = max(text_width(label, size) for label in column_labels) if upright else size
    left = MARGIN + GAP + max(text_width(label, size) for label in row_labels)
    top = _top(title) + label_height + GAP
    right, bottom = left + width * columns, top + height * rows
    sheet = Sheet(_width_for(right + 2 * MARGIN + 56, title), max(bottom, top + 120) + MARGIN)
    draw_title(sheet, title)
    for column, label in enumerate(column_labels):
        x = left + width * (column + 0.5)
        sheet.text(x, top - GAP, label, size, "lm" if upright else "mb", upright=upright)
    for row, label in enumerate(row_labels):
        sheet.text(left - GAP, top + height * (row + 0.5), label, size, "rm")
        for column in np.flatnonzero(~np.isnan(table[row])):
            corner = left + width * int(column), top + height * row
            number = float(table[row, column]) if columns <= MOST_COLUMNS_WITH_NUMBERS else None
            _draw_cell(sheet, corner, (width, height), scale.colour(table[row, column]), number)
    _draw_heat_scale(sheet, right + MARGIN, top, max(bottom - top, 120), scale)
    return sheet.picture()


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    x_label: str,
    y_label: str,
    mark: tuple[float, float] | None = None,
    log_x: bool = False,
) -> Tensor:
    """One quantity against another: for each name a line through points (x, y) in the order of x.

    `mark` is the point chosen; `log_x` is for an x above 0 of several magnitudes. Raises ValueError for no points, and for
    infinite or NaN ones.
    """
    points = [point for line in series.values() for point in line]
    everything = np.asarray([*points, *([mark] if mark else [])], dtype=np.float64)
    _require_finite("curve", everything[: len(points)])
    _require_finite("mark", everything)
    across, up = everything[:, 0], linear_axis(y_label, everything[:, 1])
    along = log_axis(x_label, across.min(), across.max()) if log_x else linear_axis(x_label, across)
    styles = _styles(series)
    sheet, frame = _plot(title, along, up, styles if len(series) > 1 else {})
    for name, line in series.items():
        colour, dash = styles[name]
        places = [frame.place(*point) for point in sorted(line)]
        sheet.line(places, colour, 2, dash)
        for place in places:
            sheet.dot(*place, 3, colour)
    if mark:
        _draw_mark(sheet, frame, mark)
    return sheet.picture()


def caption(texts: Sequence[str]) -> Tensor:
    """Lines of text as a picture, to stand with others. Raises ValueError for none."""
    if not texts:
        raise ValueError("There are no lines to draw.")
    width = 2 * MARGIN + max(text_width(text, LABEL_SIZE) for text in texts)
    sheet = Sheet(width, ROW_HEIGHT * len(texts) + 2 * MARGIN)
    for row, text in enumerate(texts):
        sheet.text(MARGIN, MARGIN + ROW_HEIGHT * (row + 0.5), text, LABEL_SIZE, "lm")
    return sheet.picture()


def stack(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures [1, height, width, 3] one under another, the narrower ones on paper. Raises ValueError for none."""
    if not pictures:
        raise ValueError("There are no pictures to stack.")
    width = max(picture.shape[2] for picture in pictures)
    sheet = (torch.tensor(PAPER) / 255).expand(1, sum(picture.shape[1] for picture in pictures), width, 3).clone()
    top = 0
    for picture in pictures:
        sheet[:, top : top + picture.shape[1], : picture.shape[2]] = picture
        top += picture.shape[1]
    return sheet


def beside(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures [1, height, width, 3] side by side, the lower ones on paper. Raises ValueError for none."""
    return stack([picture.transpose(1, 2) for picture in pictures]).transpose(1, 2)


def _plot(title: str, x_axis: Axis, y_axis: Axis, legend: Mapping[str, tuple]) -> tuple[Sheet, Frame]:
    """A sheet with title, axes and legend, and the frame for the data."""
    left = MARGIN + LABEL_SIZE + 2 * GAP + max(text_width(short_number(tick), SMALL_SIZE) for tick in y_axis.ticks)
    top = _top(title) + SMALL_SIZE
    height = max(PLOT_HEIGHT, text_width(y_axis.label, LABEL_SIZE))
    frame = Frame(left, top, left + PLOT_WIDTH, top + height, x_axis, y_axis)
    columns = [list(legend.items())[i : i + LEGEND_ROWS] for i in range(0, len(legend), LEGEND_ROWS)]
    widths = [MARGIN + 36 + max(text_width(name, SMALL_SIZE) for name, _ in column) for column in columns]
    width = _width_for(frame.right + sum(widths) + 2 * MARGIN, title, x_axis.label)
    sheet = Sheet(width, frame.bottom + 3 * GAP + SMALL_SIZE + LABEL_SIZE + MARGIN)
    draw_title(sheet, title)
    draw_x_axis(sheet, frame)
    draw_y_axis(sheet, frame)
    draw_corner(sheet, frame)
    for index, column in enumerate(columns):
        _draw_legend(sheet, frame.right + sum(widths[:index]) + MARGIN, frame.top + GAP, column)
    return sheet, frame


def _draw_legend(sheet: Sheet, left: float, top: float, entries: list) -> None:
    for row, (name, (colour, dash)) in enumerate(entries):
        y = top + ROW_HEIGHT * row
        sheet.line([(left, y), (left + 28, y)], colour, 3, dash)
        sheet.text(left + 36, y, name, SMALL_SIZE, "lm")


def _draw_cuts(sheet: Sheet, frame: Frame, cuts: Mapping[str, int], styles: Mapping[str, tuple]) -> None:
    """One vertical mark for each rank, in the colour of its series, or in ink where several share it.

    A rank beyond the longest spectrum is marked at the end of the axis.
    """
    labelled = frame.left - GAP
    for rank in sorted(set(cuts.values())):
        names = [name for name, other in cuts.items() if other == rank]
        colour = styles[names[0]][0] if len(names) == 1 else INK
        x = frame.place(min(rank + 0.5, frame.x_axis.high), frame.y_axis.high)[0]
        sheet.line([(x, frame.top), (x, frame.bottom)], colour, 1.5, (5, 4))
        text, half = f"rank {rank}", text_width(f"rank {rank}", SMALL_SIZE) / 2
        # Clear of the numbers on the left; where marks crowd, the legend alone tells the rank.
        middle = max(x, frame.left + half)
        if middle - half >= labelled + GAP:
            sheet.text(middle, frame.top - 4, text, SMALL_SIZE, "mb", colour)
            labelled = middle + half


def _draw_mark(sheet: Sheet, frame: Frame, mark: tuple[float, float]) -> None:
    """The chosen point with lines to both axes and its numbers, on the side that has room."""
    x, y = frame.place(*mark)
    sheet.line([(frame.left, y), (x, y), (x, frame.bottom)], SERIES[1], 1.5, (5, 4))
    sheet.dot(x, y, 6, SERIES[1])
    text = f"{short_number(mark[0])}, {short_number(mark[1])}"
    on_right = x + GAP + text_width(text, LABEL_SIZE) < frame.right
    sheet.text(x + (GAP if on_right else -GAP), y - GAP, text, LABEL_SIZE, "lb" if on_right else "rb", SERIES[1])


class _HeatScale(NamedTuple):
    """low: the number of the first colour; 1 has the last."""

    low: float
    colours: list[Colour]

    def colour(self, value: float) -> Colour:
        """The colour of a number in low..1."""
        part = (value - self.low) / (1 - self.low)
        place = min(max(part, 0.0), 1.0) * (len(self.colours) - 1)
        step = min(int(place), len(self.colours) - 2)
        return tuple(round(a + (b - a) * (place - step)) for a, b in zip(self.colours[step], self.colours[step + 1]))


def _draw_cell(
    sheet: Sheet, corner: tuple[int, int], size: tuple[int, int], colour: Colour, number: float | None
) -> None:
    (left, top), (width, height) = corner, size
    sheet.box(left, top, left + width - 1, top + height - 1, colour)
    if number is not None:
        ink = INK if sum(colour) > 380 else PAPER
        # Adding 0 takes the sign off a number that is rounded to 0.
        sheet.text(left + width / 2, top + height / 2, f"{round(number, 2) + 0.0:.2f}", SMALL_SIZE, "mm", ink)


def _draw_heat_scale(sheet: Sheet, left: float, top: float, height: float, scale: _HeatScale) -> None:
    def value(part: float) -> float:
        return scale.low + part * (1 - scale.low)

    for step in range(round(height)):
        sheet.box(left, top + step, left + 14, top + step + 1, scale.colour(value(1 - (step + 0.5) / height)))
    for part in (0.0, 0.5, 1.0):
        sheet.text(left + 14 + GAP, top + (1 - part) * height, short_number(value(part)), SMALL_SIZE, "lm", FAINT_INK)


def _styles(names: Mapping[str, object]) -> dict[str, tuple[Colour, tuple]]:
    """A colour and a dash for each name."""
    colours, dashes = len(SERIES), len(DASHES)
    return {name: (SERIES[i % colours], DASHES[i // colours % dashes]) for i, name in enumerate(names)}


def _top(title: str) -> int:
    """Where the space under the title begins."""
    return MARGIN + (TITLE_SIZE + 2 * GAP if title else 0)


def _width_for(width: int, title: str, label: str = "") -> int:
    """A width that title and label fit into as well."""
    return max(width, 2 * MARGIN + max(text_width(title, TITLE_SIZE), text_width(label, LABEL_SIZE)))


def _require_finite(what: str, values: np.ndarray) -> None:
    if values.size == 0:
        raise ValueError(f"There is nothing to draw: {what} without values.")
    if not np.isfinite(values).all():
        raise ValueError(f"The values of {what} include NaN or infinite numbers.")
