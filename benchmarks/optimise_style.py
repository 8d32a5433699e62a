"""Optimise Style: seconds and memory at 256 and 512 pixels on two threads, against what was set: 30 and 120 seconds."""

from __future__ import annotations

import resource
import sys
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from fit_style import picture  # noqa: E402

from delta.feature_networks.bundled import bundled_features  # noqa: E402
from delta.perceptual.batch import StylePicture, painted_batch  # noqa: E402
from delta.perceptual.descent import METHODS  # noqa: E402
from delta.perceptual.memory import needed_bytes  # noqa: E402
from delta.perceptual.optimise import Settings  # noqa: E402
from delta.training.memory import size  # noqa: E402

THREADS = 2
SECONDS = {256: 30, 512: 120}
PHOTO, STYLE = "astronaut", "immunohistochemistry"


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def paint(side: int, method: str) -> None:
    """One painting in a process of its own, whose memory can be told."""
    torch.set_num_threads(THREADS)
    batch = painted_batch(
        bundled_features(), picture(PHOTO), [StylePicture(picture(STYLE))], Settings(side=side, method=method)
    )
    needed, before = needed_bytes(batch), peak()
    batch.run(lambda done, total: None)
    (run,) = batch.runs
    first, best = run.losses[0], min(run.losses[-batch.settings.steps :], key=lambda each: each.total)
    print(
        f"{side} pixels, {method}: {run.seconds:.1f} s, {run.seconds / SECONDS[side]:.2f} of what was set; style loss "
        f"{first.style:.2f} to {best.style:.3f}; memory {size(peak() - before)}, told {size(needed)}",
        flush=True,
    )


def main() -> None:
    for side in SECONDS:
        for method in METHODS:
            process = get_context("spawn").Process(target=paint, args=(side, method))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
