"""Fit Style: how much of the way from the nearest existing style to the teacher 990 learned numbers recover.

Measured on whole photos that nothing was learned from; the existing style is the one that is nearest on these very
photos. Distances are root mean squares of the differences of pixels in 0..1, over all photos together.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from PIL import Image  # noqa: E402
from skimage import data  # noqa: E402

from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled  # noqa: E402
from delta.style_network.fit import fit_style, picture_teacher  # noqa: E402
from delta.style_network.network import StyleNetwork, stylize  # noqa: E402
from delta.style_network.params import StyleParams  # noqa: E402

THREADS = 2
STEPS, LEARNING_RATE, SEED = 1000, 0.3, 0
PAINTINGS = ("coffee", "hubble_deep_field", "retina", "immunohistochemistry", "painting")
PRACTISED = ("rocket", "motorcycle_left", "coffee")
HELD_OUT = ("astronaut", "chelsea")
SIDE = 400
DEMO_PAINTING = ROOT / ".dev/base/input/painting.png"
# Pixels on a side of the areas whose mean colours are compared.
AREA = 8


def picture(name: str) -> torch.Tensor:
    """A picture [1, height, width, 3] in 0..1 of scikit-image, or the painted one of the demo."""
    if name == "painting":
        pixels = np.asarray(Image.open(DEMO_PAINTING).convert("RGB"))
    elif name == "motorcycle_left":
        pixels = data.stereo_motorcycle()[0]
    else:
        pixels = getattr(data, name)()
    pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).float()[None] / 255


def square(photo: torch.Tensor) -> torch.Tensor:
    """The middle of a photo, [1, SIDE, SIDE, 3]: a batch holds pictures of one size."""
    side = min(photo.shape[1:3])
    top, left = ((length - side) // 2 for length in photo.shape[1:3])
    planes = photo[:, top : top + side, left : left + side].movedim(-1, 1)
    return F.interpolate(planes, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)


def paint(network: StyleNetwork, style: StyleParams, photos: list[torch.Tensor]) -> list[torch.Tensor]:
    return [stylize(network, photo, style) for photo in photos]


def distance(painted: list[torch.Tensor], targets: list[torch.Tensor], area: int = 1) -> float:
    """Root mean square over all photos, of the mean colours of areas of that many pixels on a side."""
    differences = [F.avg_pool2d((a - b).movedim(-1, 1), area).flatten() for a, b in zip(painted, targets)]
    return float(torch.cat(differences).square().mean().sqrt())


def main() -> None:
    table, any_picture = load_bundled(TABLE_NETWORK), load_bundled(PICTURE_NETWORK)
    practised = torch.cat([square(picture(name)) for name in PRACTISED])
    held_out = [picture(name) for name in HELD_OUT]
    known = [
        paint(table, StyleParams(table.fingerprint, (table.style(index),)), held_out)
        for index in range(len(table.style_names))
    ]
    print(f"{STEPS} steps, {THREADS} threads; learned from {', '.join(PRACTISED)}; held out {', '.join(HELD_OUT)}")
    print("painting | nearest style -> fitted style | recovered of the distance, of its square, of 8 px areas | time")
    distances = []
    names = [name for name in PAINTINGS if name != "painting" or DEMO_PAINTING.exists()]
    for name in names:
        painting = picture(name)
        style = StyleParams(any_picture.fingerprint, (any_picture.style_from_image(painting, name),))
        targets = paint(any_picture, style, held_out)
        fit = fit_style(table, picture_teacher(table, any_picture, painting), practised, STEPS, LEARNING_RATE, SEED)
        fitted = paint(table, fit.style(table), held_out)
        nearest = min(known, key=lambda painted: distance(painted, targets))
        before, after = distance(nearest, targets), distance(fitted, targets)
        distances.append((before, after))
        areas = 1 - distance(fitted, targets, AREA) / distance(nearest, targets, AREA)
        print(
            f"{name} | {before:.3f} -> {after:.3f} | {1 - after / before:.0%}, {1 - (after / before) ** 2:.0%}, "
            f"{areas:.0%} | {fit.seconds:.0f} s",
            flush=True,
        )
    before, after = (math.sqrt(sum(value**2 for value in column) / len(column)) for column in zip(*distances))
    print(f"all paintings together | {before:.3f} -> {after:.3f} | {1 - after / before:.0%} of the distance (goal 50%)")


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    main()
