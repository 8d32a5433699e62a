"""A sheet of paper for a chart: its frame and axes, and lines, boxes and text on it.

Coordinates are pixels of the finished picture; everything is drawn at twice that and reduced, which smooths it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

GAP = 8
MARGIN = 20
LABEL_SIZE = 15
SMALL_SIZE, TITLE_SIZE = 13, 19
PAPER, INK = (250, 249, 246), (40, 40, 44)
GRID, FAINT_INK = (226, 224, 218), (104, 104, 110)
OVERDRAW = 2
Colour = tuple[int, int, int]


class Axis(NamedTuple):
    """label: with its unit; low, high: the ends; ticks: where numbers stand; log: logarithmic."""

    label: str
    low: float
    high: float
    ticks: list[float]
    log: bool = False

    def part(self, value: float) -> float:
        """How far along the axis the value lies: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class Frame(NamedTuple):
    """The rectangle in which data is drawn, with its axes. Whole pixels keep the lines along it sharp."""

    left: int
    top: int
    right: int
    bottom: int
    x_axis: Axis
    y_axis: Axis

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The pixel at which a point lies."""
        across, up = self.x_axis.part(x), self.y_axis.part(y)
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)


class Sheet:
    """A sheet of paper to draw on, in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.width = width
        self.image = Image.new("RGB", (width * OVERDRAW, height * OVERDRAW), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float, dash: tuple = ()) -> None:
        """A line through the points. dash: lengths drawn and left out; empty for a solid line."""
        for piece in _dashed(points, *dash) if dash else [points]:
            scaled = [(x * OVERDRAW, y * OVERDRAW) for x, y in piece]
            self.draw.line(scaled, colour, round(width * OVERDRAW), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle; nothing where it is narrower than half a pixel."""
        corners = [round(value * OVERDRAW) for value in (left, top, right, bottom)]
        if corners[2] > corners[0]:
            self.draw.rectangle((corners[0], corners[1], corners[2] - 1, corners[3] - 1), colour)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self.draw.circle((x * OVERDRAW, y * OVERDRAW), radius * OVERDRAW, colour)

    def text(
        self, x: float, y: float, text: str, size: int, anchor: str, colour: Colour = INK, upright: bool = False
    ) -> None:
        """A line of text at an anchor as Pillow names them; upright text reads upwards from there."""
        from PIL import Image, ImageDraw

        if not upright:
            self.draw.text((x * OVERDRAW, y * OVERDRAW), text, colour, _font(size), anchor)
            return
        # Room on all sides for the parts of glyphs that reach beyond the width of the text.
        length, depth = round((text_width(text, size) + size) * OVERDRAW), 2 * size * OVERDRAW
        strip = Image.new("L", (length, depth), 0)
        start = {"l": size * OVERDRAW // 2, "m": length // 2}[anchor[0]]
        ImageDraw.Draw(strip).text((start, depth // 2), text, 255, _font(size), anchor)
        corner = (round(x * OVERDRAW) - depth // 2, round(y * OVERDRAW) - length + start)
        self.image.paste(colour, corner, strip.rotate(90, expand=True))

    def picture(self) -> Tensor:
        """The finished picture [1, height, width, 3] in 0..1."""
        reduced = self.image.reduce(OVERDRAW)
        return torch.from_numpy(np.asarray(reduced, dtype=np.float32) / 255)[None]


def draw_title(sheet: Sheet, title: str) -> None:
    sheet.text(MARGIN, MARGIN, title, TITLE_SIZE, "la")


def draw_corner(sheet: Sheet, frame: Frame) -> None:
    """The lines of both axes, just outside the frame."""
    sheet.box(frame.left - 1, frame.top, frame.left, frame.bottom + 1, INK)
    sheet.box(frame.left - 1, frame.bottom, frame.right, frame.bottom + 1, INK)


def draw_x_axis(sheet: Sheet, frame: Frame) -> None:
    for tick in frame.x_axis.ticks:
        x = frame.left + frame.x_axis.part(tick) * (frame.right - frame.left)
        sheet.box(int(x), frame.top, int(x) + 1, frame.bottom, GRID)
        sheet.text(x, frame.bottom + GAP, short_number(tick), SMALL_SIZE, "ma", FAINT_INK)
    y = frame.bottom + 2 * GAP + SMALL_SIZE
    half = text_width(frame.x_axis.label, LABEL_SIZE) / 2
    x = min(max((frame.left + frame.right) / 2, MARGIN + half), sheet.width - MARGIN - half)
    sheet.text(x, y, frame.x_axis.label, LABEL_SIZE, "ma")


def draw_y_axis(sheet: Sheet, frame: Frame) -> None:
    for tick in frame.y_axis.ticks:
        y = frame.bottom - frame.y_axis.part(tick) * (frame.bottom - frame.top)
        sheet.box(frame.left, int(y), frame.right, int(y) + 1, GRID)
        sheet.text(frame.left - GAP, y, short_number(tick), SMALL_SIZE, "rm", FAINT_INK)
    middle = (frame.top + frame.bottom) / 2
    sheet.text(MARGIN + LABEL_SIZE / 2, middle, frame.y_axis.label, LABEL_SIZE, "mm", upright=True)


def _dashed(points: Sequence[tuple[float, float]], drawn: float, left_out: float) -> list[list[tuple[float, float]]]:
    """The pieces of a line that its dashes cover."""
    pieces, travelled, period = [], 0.0, drawn + left_out
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = math.hypot(x1 - x0, y1 - y0)
        # The dash that is under way where this segment begins, and all that begin on it.
        start = math.floor(travelled / period) * period - travelled
        while start < length:
            a, b = max(start, 0.0) / (length or 1), min(start + drawn, length) / (length or 1)
            if b > a:
                pieces.append([(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part) for part in (a, b)])
            start += period
        travelled += length
    return pieces


def linear_axis(label: str, values: np.ndarray) -> Axis:
    """An axis with room for the values; it begins at 0 where that does not waste half of it."""
    low, high = float(values.min()), float(values.max())
    if 0 <= low <= high / 2:
        low = 0.0
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    ticks = round_ticks(low, high)
    return Axis(label, ticks[0], ticks[-1], ticks)


def log_axis(label: str, low: float, high: float) -> Axis:
    """A logarithmic axis; its numbers are powers of ten, closer together where the values span little."""
    if high < 4 * low:
        ticks = round_ticks(0.9 * low, 1.1 * high)
        return Axis(label, ticks[0], ticks[-1], ticks, log=True)
    steps = (1, 2, 5) if high < 100 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [step * 10.0**power for power in powers for step in steps]
    first = max(i for i, mark in enumerate(marks) if mark <= low * (1 + 1e-9))
    last = min(i for i, mark in enumerate(marks) if mark >= high * (1 - 1e-9))
    ticks = marks[first : last + 1]
    return Axis(label, min(ticks[0], low), max(ticks[-1], high), ticks, log=True)


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose low..high in about four to ten steps."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = max(power * factor for factor in (1, 2, 5) if 4 * power * factor <= (high - low) * (1 + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * i for i in range(first, last + 1)]


def whole_ticks(count: int) -> list[float]:
    """1 and round whole numbers up to the count."""
    return [1, *sorted({round(tick) for tick in round_ticks(0, count)} & set(range(2, count + 1)))]


def short_number(value: float) -> str:
    """A number in three significant digits, without the zeros that say nothing."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    if not -4 < power < 6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    text = f"{value:,.{max(0, 2 - power)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def text_width(text: str, size: int) -> int:
    return math.ceil(_font(size).getlength(text) / OVERDRAW)


@lru_cache
def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size * OVERDRAW)
