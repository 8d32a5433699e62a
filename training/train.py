"""Train the small models of the demo: train.py WORK_DIR MODELS_DIR TOKENIZER_DIR [--minutes N] [--only NAME ...]

A run that was stopped goes on where it was; what is done is not done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from card import write_card
from pack import write_models
from stages import NAMES, Training

MINUTES = 180


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the small models of the demo.")
    parser.add_argument("folder", type=Path, help="where the work is kept")
    parser.add_argument("models", type=Path, help="where the finished files are written")
    parser.add_argument("tokenizer", type=Path, help="the folder of CLIP's tokenizer")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="about how long two cores work on it")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="train these alone, one after the other")
    return parser.parse_args()


def train_apart(names: Sequence[str]) -> int:
    """Train each stage in a process of its own with one thread, as many at a time as there are cores.

    One network in two threads waits for the slower of them at every step.
    """
    waiting, workers = list(names), 1 if torch.cuda.is_available() else os.cpu_count() or 1

    def one(name: str) -> int:
        return subprocess.call([sys.executable, *sys.argv, "--only", name], env=os.environ | {"OMP_NUM_THREADS": "1"})

    with ThreadPoolExecutor(workers) as pool:
        return max(pool.map(one, waiting))


def main() -> int:
    options = parse()
    training = Training(options.folder, options.tokenizer, options.minutes / MINUTES)
    if options.only:
        for name in options.only:
            training.learn(name)
        return 0
    training.learn("base")
    if failed := train_apart(NAMES[1:]):
        return failed
    sizes = write_models(training, options.models)
    write_card(training, sizes, options.models / "README.md")
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} files: {options.models}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
