"""Hints: seconds for each on a photo of 512 x 512 pixels, for the resize of a line drawing, and seconds and memory for each
on one thread at 4096 x 4096; and how much of OpenCV's edges each setting of Canny finds."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.ndimage import binary_dilation  # noqa: E402
from skimage import data  # noqa: E402
from timing import in_turns  # noqa: E402

from delta.hints.batch import draw_hints  # noqa: E402
from delta.hints.canny import canny  # noqa: E402
from delta.hints.line_art import line_art  # noqa: E402
from delta.hints.opencv_canny import opencv_canny  # noqa: E402
from delta.hints.resize import resize_hint  # noqa: E402
from delta.hints.scribble import scribble  # noqa: E402
from delta.hints.segmentation import segment  # noqa: E402
from delta.hints.soft_edge import soft_edge  # noqa: E402
from delta.hints.straight_lines import straight_lines  # noqa: E402

THREADS = 2
GOAL = 0.5
HINTS = {
    "canny": canny,
    "canny of annotators": opencv_canny,
    "soft edge": soft_edge,
    "line art": line_art,
    "scribble": scribble,
    "straight lines": straight_lines,
    "SLIC": partial(segment, method="SLIC"),
    "Felzenszwalb": partial(segment, method="Felzenszwalb"),
}
LARGE = 4096
MEBIBYTE = 2**20
CANNY = {
    "automatic": canny,
    "blur 1, 0.1 and 0.2": partial(canny, thresholds=(0.1, 0.2)),
    "blur 0.5, 0.05 and 0.1": partial(canny, blur=0.5, thresholds=(0.05, 0.1)),
    "annotators": opencv_canny,
}


def small() -> None:
    photo = torch.from_numpy(data.astronaut().copy()).float()[None] / 255
    runs = {f"{name}, 512x512": partial(draw_hints, photo, draw) for name, draw in HINTS.items()}
    edges = draw_hints(photo, canny).movedim(-1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    runs["resize 1024 to 768"] = partial(resize_hint, edges, 768, 768)
    for name, seconds in in_turns(runs, rounds=5).items():
        verdict = "met" if seconds <= GOAL else "missed"
        print(f"{name}, {THREADS} threads: {seconds:.3f} s (goal {GOAL} s: {verdict})")


def large(name: str) -> None:
    """One hint of one large picture, in a process of its own, so that its peak of memory can be told."""
    torch.set_num_threads(1)
    photo = torch.from_numpy(data.astronaut().copy()).float().movedim(-1, 0)[None] / 255
    photo = (
        torch.nn.functional.interpolate(photo, (LARGE, LARGE), mode="bicubic").clamp(0, 1).movedim(1, -1).contiguous()
    )
    photo += 0.01 * torch.randn(1, LARGE, LARGE, 1, generator=torch.Generator().manual_seed(1))
    # What is loaded at the first use is no memory of the hint.
    draw_hints(photo[:, :64, :64], HINTS[name])
    # Time of the processor, which what else runs on the machine leaves as it is.
    steps = [time.process_time()]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw_hints(photo, HINTS[name], on_step=lambda done, total: steps.append(time.process_time()))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / MEBIBYTE
    print(
        f"{name}, {LARGE}x{LARGE}, 1 thread: {steps[-1] - steps[0]:.1f} s, {peak:.0f} MiB beside picture and imports, Cancel "
        f"is obeyed after {max(np.diff(steps)):.1f} s at most"
    )


def against_opencv() -> None:
    """Precision and recall against cv2.Canny(picture, 100, 200), give or take a pixel, where OpenCV is installed."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        print("edges beside OpenCV's: left out, opencv-python-headless is not installed")
        return
    for photo in ("astronaut", "coffee", "chelsea"):
        picture = getattr(data, photo)()
        theirs = cv2.Canny(np.ascontiguousarray(picture), 100, 200) > 0
        for setting, draw in CANNY.items():
            ours = draw((picture / 255).astype(np.float32)) > 0
            square = np.ones((3, 3))
            precision = (ours & binary_dilation(theirs, square)).sum() / ours.sum()
            recall = (theirs & binary_dilation(ours, square)).sum() / theirs.sum()
            same = ", pixel for pixel" if np.array_equal(ours, theirs) else ""
            print(f"canny of {photo}, {setting}: precision {precision:.2f}, recall {recall:.2f} of OpenCV's{same}")


def main() -> None:
    torch.set_num_threads(THREADS)
    small()
    for name in list(HINTS)[:6]:
        subprocess.run([sys.executable, __file__, name], check=True)
    against_opencv()


if __name__ == "__main__":
    large(sys.argv[1]) if len(sys.argv) > 1 else main()
