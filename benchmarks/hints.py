"""Hints: seconds for each on a photo of 512 x 512 pixels, and for the resize of a line drawing."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from skimage import data  # noqa: E402
from timing import in_turns  # noqa: E402

from delta.hints.batch import draw_hints  # noqa: E402
from delta.hints.canny import canny  # noqa: E402
from delta.hints.line_art import line_art  # noqa: E402
from delta.hints.resize import resize_hint  # noqa: E402
from delta.hints.scribble import scribble  # noqa: E402
from delta.hints.segmentation import segment  # noqa: E402
from delta.hints.soft_edge import soft_edge  # noqa: E402
from delta.hints.straight_lines import straight_lines  # noqa: E402

THREADS = 2
GOAL = 0.5
HINTS = {
    "canny": canny,
    "soft edge": soft_edge,
    "line art": line_art,
    "scribble": scribble,
    "straight lines": straight_lines,
    "SLIC": partial(segment, method="SLIC"),
    "Felzenszwalb": partial(segment, method="Felzenszwalb"),
}


def main() -> None:
    photo = torch.from_numpy(data.astronaut().copy()).float()[None] / 255
    runs = {f"{name}, 512x512": partial(draw_hints, photo, draw) for name, draw in HINTS.items()}
    edges = draw_hints(photo, canny).movedim(-1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    runs["resize 1024 to 768"] = partial(resize_hint, edges, 768, 768)
    for name, seconds in in_turns(runs, rounds=5).items():
        verdict = "met" if seconds <= GOAL else "missed"
        print(f"{name}, {THREADS} threads: {seconds:.3f} s (goal {GOAL} s: {verdict})")


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    main()
