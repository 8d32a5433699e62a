"""Timing for the benchmarks: peers in turns within one run, so that a slow minute hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def in_turns(runs: dict[str, Callable[[], object]], rounds: int = 7, repeats: int = 3) -> dict[str, float]:
    """Median seconds of each run.

    Each turn calls one run `repeats` times after an untimed call, because thread pools of two libraries that share the
    cores go on spinning for a while after their last work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            for _ in range(repeats):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
