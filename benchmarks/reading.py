"""Reading files of tensors into memory of our own, against safetensors, which maps them; both look for NaN in all numbers."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from timing import in_turns  # noqa: E402

from delta.files.tensor_files import all_finite, read_tensors  # noqa: E402

# Bytes, tensors, type.
FILES = {
    "a LoRA of 20 MB": (20_000_000, 600, torch.float16),
    "a file of 200 MB in float16": (200_000_000, 200, torch.float16),
    "a file of 200 MB in float32": (200_000_000, 200, torch.float32),
}


def by_safetensors(path: Path) -> None:
    if not all(map(all_finite, load_file(path).values())):
        raise ValueError("not finite")


PEERS = {"safetensors": by_safetensors, "StyleDelta": read_tensors}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for title, (size, count, dtype) in FILES.items():
            path = Path(folder) / "file.safetensors"
            numbers = size // count // dtype.itemsize
            save_file({f"layers.{n}.weight": torch.randn(numbers).to(dtype) for n in range(count)}, path)
            seconds = in_turns({name: partial(read, path) for name, read in PEERS.items()})
            ratio = seconds["StyleDelta"] / seconds["safetensors"]
            times = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in seconds.items())
            print(f"{title}: {times}; {ratio:.2f} times safetensors' time, on {os.cpu_count()} cores", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
