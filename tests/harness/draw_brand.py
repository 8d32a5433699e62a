"""Draw the registry's icon and banner: draw_brand.py <folder>

A frozen model is a grid of grey dots; a style is the few that are moved and coloured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ICON_SIDE = 400
BANNER_SIZE = (1260, 540)
PAPER, INK, FROZEN = (22, 27, 34), (240, 243, 246), (74, 84, 97)
DELTA = ((255, 184, 77), (255, 122, 89), (226, 83, 134), (148, 96, 224))
# Drawn larger, then scaled down: Pillow's shapes have hard edges.
SCALE = 3


def triangle_dots(rows: int) -> np.ndarray:
    """Centres of dots in the form of a delta, rows x (row + 1), within the unit square; a column of x and one of y."""
    height = np.sqrt(3) / 2
    return np.array(
        [
            ((column - row / 2) / (rows - 1) + 0.5, row / (rows - 1) * height + (1 - height) / 2)
            for row in range(rows)
            for column in range(row + 1)
        ]
    )


def on_edge(index: int, rows: int) -> float | None:
    """Where on the outline of the delta a dot is, from 0 to 1; None for a dot inside."""
    row = int((np.sqrt(8 * index + 1) - 1) // 2)
    column = index - row * (row + 1) // 2
    if column not in (0, row) and row != rows - 1:
        return None
    return (column + (rows - 1 - row) * 0.5) / (rows - 1)


def colour_at(place: float) -> tuple[int, int, int]:
    """The colour of the outline at a place from 0 to 1."""
    stops = np.linspace(0, 1, len(DELTA))
    return tuple(int(np.interp(place, stops, [colour[channel] for colour in DELTA])) for channel in range(3))


def draw_mark(draw: ImageDraw.ImageDraw, left: float, top: float, side: float, rows: int = 9) -> None:
    """Draw the delta of dots into a square."""
    radius = side / rows * 0.33
    for index, (x, y) in enumerate(triangle_dots(rows)):
        place = on_edge(index, rows)
        colour, size = (FROZEN, radius * 0.7) if place is None else (colour_at(place), radius)
        centre_x, centre_y = left + x * side, top + y * side
        draw.ellipse((centre_x - size, centre_y - size, centre_x + size, centre_y + size), fill=colour)


def icon() -> Image.Image:
    """The square icon."""
    side = ICON_SIDE * SCALE
    picture = Image.new("RGB", (side, side), PAPER)
    draw_mark(ImageDraw.Draw(picture), side * 0.14, side * 0.11, side * 0.72)
    return picture.resize((ICON_SIDE, ICON_SIDE), Image.LANCZOS)


def banner() -> Image.Image:
    """The banner, 21:9."""
    width, height = (length * SCALE for length in BANNER_SIZE)
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_mark(draw, height * 0.22, height * 0.19, height * 0.62)
    left = height * 1.06
    draw.text((left, height * 0.33), "StyleDelta", fill=INK, font=ImageFont.load_default(height * 0.2))
    line = "A style is a small delta on a frozen model."
    draw.text(
        (left + height * 0.012, height * 0.575), line, fill=(158, 168, 179), font=ImageFont.load_default(height * 0.056)
    )
    return picture.resize(BANNER_SIZE, Image.LANCZOS)


def main(folder: Path) -> None:
    """Write icon.png and banner.png."""
    folder.mkdir(parents=True, exist_ok=True)
    icon().save(folder / "icon.png", optimize=True)
    banner().save(folder / "banner.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
