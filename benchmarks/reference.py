"""Which way the colours of a picture go under Reference AdaIN: towards those of the reference, or away from them.

The demo's trained model draws four subjects with six references. Way: the part of the road from the plain picture's mean colour
to the reference's that was gone, the median of all pictures. Moved: how far the mean colour went, in 0..1. Style: the share of the
pictures under references of a style that the judge takes for that style; subject: the share that shows what was asked for.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests/harness"), str(ROOT / "training")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from fill_base import fill_base  # noqa: E402
from sketch import Sketch, picture_of  # noqa: E402
from studio import Studio  # noqa: E402

REFERENCES = ("drawn_apple.png", "night_fox.png", "night_owl.png", "night_panda.png", "noto_dog.png", "noto_panda.png")
# Of the references.
STYLES = ("night", "noto")
SUBJECTS = ("house", "fish", "rabbit face", "automobile")
# Amount, block weights and latent amount by what they are called.
SETTINGS = {
    "as it is": (1.0, "", 0.0),
    "encoder and middle": (1.0, "*=0, input=1, middle=1", 0.0),
    "all norms but the last": (1.0, "*=1, out=0", 0.0),
    "all norms": (1.0, "*=1", 0.0),
    "latent amount 0.5 alone": (0.0, "", 0.5),
}


class Drawn(NamedTuple):
    """What was drawn of a subject under a reference. Pictures are float32 [64, 64, 3] in 0..1."""

    subject: str
    reference: str
    plain: np.ndarray
    goal: np.ndarray
    found: np.ndarray


class Moved(NamedTuple):
    """How a mean colour moved: the cosine with the road to the reference, the part of it, and the distance."""

    cosine: float
    way: float
    distance: float


def moved(one: Drawn) -> Moved:
    plain, goal, found = (picture.mean((0, 1)) for picture in (one.plain, one.goal, one.found))
    road, step = goal - plain, found - plain
    along, distance = float(road @ step), float(np.linalg.norm(step))
    return Moved(along / (float(np.linalg.norm(road)) * distance or 1.0), along / float(road @ road), distance)


def draw(server: ComfyServer, amount: float, rules: str, latent_amount: float) -> list[Drawn]:
    """What one setting makes of every subject with every reference."""
    sketch, nodes = Sketch(), []
    for name in REFERENCES:
        size = {"width": 64, "height": 64, "upscale_method": "area", "crop": "disabled"}
        image = sketch.out("ImageScale", image=sketch.loaded(name), **size)
        for subject in SUBJECTS:
            words = sketch.words(subject)
            matched = sketch.matched(image, amount, rules, latent_amount)
            plain, found = (sketch.sampled(model, words) for model in (sketch.model, matched))
            nodes.append((subject, name, plain, sketch.shown(image), found))
    outputs = server.run(sketch.prompt)

    def pixels(node: str) -> np.ndarray:
        return np.asarray(picture_of(server, outputs, node), np.float32) / 255

    return [Drawn(subject, name, *map(pixels, three)) for subject, name, *three in nodes]


def styled(studio: Studio, drawn: list[Drawn]) -> tuple[float, float]:
    """The shares of pictures under references of a style with the right subject and in that style."""
    verdicts = []
    for style in STYLES:
        mine = [one for one in drawn if one.reference.startswith(style)]
        pictures = torch.stack([torch.from_numpy(one.found).movedim(2, 0) for one in mine])
        verdicts += [studio.verdict(pictures, [one.subject for one in mine], style)] * len(mine)
    subject, style = (statistics.mean(shares) for shares in zip(*verdicts))
    return subject, style


def main() -> None:
    host, base = (Path(os.environ[f"STYLEDELTA_{name}_DIR"]) for name in ("HOST", "BASE"))
    fill_base(base)
    studio = Studio(host / "comfy/sd1_tokenizer")
    with ComfyServer(host, base, base / "bench-server.log") as server:
        print(f"{'':26} towards  cosine    way  moved  subject  style")
        for name, settings in SETTINGS.items():
            drawn = draw(server, *settings)
            found = [moved(one) for one in drawn]
            towards = sum(one.way > 0 for one in found)
            cosine, way, distance = (statistics.median(values) for values in zip(*found))
            subject, style = styled(studio, drawn)
            line = f"{name:26} {towards:2} of {len(found)}  {cosine:6.2f}  {way:5.0%}  {distance:5.3f}"
            print(f"{line}  {subject:7.0%}  {style:5.0%}", flush=True)


if __name__ == "__main__":
    main()
