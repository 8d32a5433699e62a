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


def fish(draw: ImageDraw.ImageDraw) -> None:
    """A fish that looks to the left, with a high back fin."""
    draw.polygon([(340, 256), (490, 120), (452, 256), (490, 392)], fill="#226699")
    draw.polygon([(150, 190), (250, 60), (320, 190)], fill="#226699")
    draw.ellipse((24, 140, 390, 380), fill="#55acee")
    draw.arc((130, 190, 230, 330), 290, 70, fill="#226699", width=16)
    draw.ellipse((84, 196, 124, 236), fill=DARK)


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


def tall_apple(draw: ImageDraw.ImageDraw) -> None:
    """An apple that is high and narrow."""
    draw.ellipse((130, 100, 382, 470), fill="#dd2e44")
    draw.line([(256, 120), (240, 40)], fill="#662113", width=26)


DRAWINGS: dict[str, Callable[[Path], None]] = {
    "input/drawn_car.png": saved(car, -12),
    "input/drawn_fish.png": saved(fish, 20),
    "input/drawn_apple.png": saved(apple),
    "input/drawn_tall_apple.png": saved(tall_apple),
    **{f"input/{path.name}": partial(shutil.copyfile, path) for path in sorted(STORED.glob("*.png"))},
}
