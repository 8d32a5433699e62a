"""Small pictures that the demo's prompts load.

Some are drawn here: things as an emoji shows them, but in shapes of their own, as a control net is seen to work where the
shape is not what the model draws by itself. Others are the drawings of tests/drawings, from which norms are trained.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw

STORED = Path(__file__).resolve().parents[1] / "drawings"
# What is loaded, and what is drawn on.
SIZE, CANVAS = 64, 512
PAPER, DARK = "#ffffff", "#31373d"


def saved(draw: Callable[[ImageDraw.ImageDraw], None], turn: float = 0.0) -> Callable[[Path], None]:
    """What writes a drawing, turned by so many degrees, as a small picture."""

    def write(path: Path) -> None:
        canvas = Image.new("RGB", (CANVAS, CANVAS), PAPER)
        draw(ImageDraw.Draw(canvas))
        turned = canvas.rotate(turn, Image.Resampling.BICUBIC, fillcolor=PAPER)
        turned.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(path)

    return write


def cat(draw: ImageDraw.ImageDraw) -> None:
    """A cat's face, low and broad, with ears far apart; grey, as yellow on white gives no edges."""
    for left, right, tip in ((50, 190, 70), (322, 462, 442)):
        draw.polygon([(left, 290), (tip, 80), (right, 210)], fill="#66757f")
    draw.ellipse((36, 160, 476, 440), fill="#8899a6")
    for eye in (150, 362):
        draw.ellipse((eye - 26, 240, eye + 26, 320), fill=DARK)
    draw.polygon([(226, 330), (286, 330), (256, 366)], fill="#f4abba")
    draw.arc((190, 320, 256, 400), 20, 160, fill=DARK, width=12)
    draw.arc((256, 320, 322, 400), 20, 160, fill=DARK, width=12)


def car(draw: ImageDraw.ImageDraw) -> None:
    """A short and high car from the side."""
    draw.rounded_rectangle((120, 90, 392, 320), 90, fill="#dd2e44")
    draw.rounded_rectangle((50, 230, 462, 390), 60, fill="#dd2e44")
    draw.rounded_rectangle((160, 130, 246, 240), 30, fill="#bbddf5")
    draw.rounded_rectangle((266, 130, 352, 240), 30, fill="#bbddf5")
    for wheel in (150, 362):
        draw.ellipse((wheel - 66, 324, wheel + 66, 456), fill=DARK)
        draw.ellipse((wheel - 30, 360, wheel + 30, 420), fill="#ccd6dd")


def apple(draw: ImageDraw.ImageDraw) -> None:
    """A broad apple with a long stalk."""
    draw.ellipse((40, 190, 300, 450), fill="#dd2e44")
    draw.ellipse((212, 190, 472, 450), fill="#dd2e44")
    draw.rectangle((160, 300, 352, 450), fill="#dd2e44")
    draw.line([(256, 230), (270, 130), (320, 70)], fill="#662113", width=26)
    draw.ellipse((280, 100, 430, 170), fill="#5c913b")


DRAWINGS: dict[str, Callable[[Path], None]] = {
    "input/drawn_cat.png": saved(cat, 14),
    "input/drawn_car.png": saved(car, -12),
    "input/drawn_apple.png": saved(apple),
    **{f"input/{path.name}": partial(shutil.copyfile, path) for path in sorted(STORED.glob("*.png"))},
}
