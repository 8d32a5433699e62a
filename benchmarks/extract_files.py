"""Extracting a LoRA from two files of SDXL's size: peak anonymous memory and time, from file to LORA_MODEL."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from merge import sdxl_layers  # noqa: E402

from delta.extraction.extract import Settings  # noqa: E402
from delta.extraction.job import extract_job  # noqa: E402
from delta.extraction.pair import compare  # noqa: E402
from delta.extraction.store import FolderStore  # noqa: E402
from delta.families.registry import place_of  # noqa: E402
from delta.families.stable_diffusion import SDXL  # noqa: E402
from delta.files.checkpoint import Checkpoint  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402

RANK = 32
GOAL_MB = 700
STATUS = Path("/proc/self/status")


def tensor_shapes() -> dict[str, tuple[int, int]]:
    """SDXL's linear layers under the names of a checkpoint."""
    shapes = sdxl_layers()
    return {f"model.diffusion_model.{place_of(name, SDXL).weight.comfy}.weight": shapes[name] for name in shapes}


def write_sparse(path: Path, shapes: dict[str, tuple[int, int]], scale: float) -> None:
    """A float16 file of these tensors: zeros that take no room on the disk, or a medium spectrum of this scale."""
    header, end = {}, 0
    for name, (rows, columns) in shapes.items():
        start, end = end, end + 2 * rows * columns
        header[name] = {"dtype": "F16", "shape": [rows, columns], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    contents: dict[tuple[int, int], bytes] = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values() if scale else ():
            if shape not in contents:
                contents[shape] = content(*shape, scale)
            file.write(contents[shape])
        file.truncate(8 + len(text) + end)


def content(rows: int, columns: int, scale: float) -> bytes:
    generator = torch.Generator().manual_seed(rows + columns)
    count = min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(size, count, generator=generator))[0] for size in (rows, columns))
    matrix = (left * torch.arange(1, count + 1) ** -0.5) @ right.T * scale
    return matrix.half().numpy().tobytes()


def anonymous_mb() -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


class Peak(threading.Thread):
    """The most anonymous memory that this process has while the thread runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_mb, self.peak_mb, self.going = anonymous_mb(), 0.0, True

    def run(self) -> None:
        while self.going:
            self.peak_mb = max(self.peak_mb, anonymous_mb())
            time.sleep(0.02)

    def stop(self) -> float:
        """How far the peak was above the start, in MB."""
        self.going = False
        self.join()
        return self.peak_mb - self.start_mb


def extract(folder: Path) -> None:
    files = [folder / "tuned.safetensors", folder / "base.safetensors"]
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    pair = compare(*map(Checkpoint, files))
    hashes = [model.fingerprint() for model in (pair.tuned, pair.base)]
    hashed = time.perf_counter()
    store = FolderStore(folder / "unfinished", {"hashes": hashes})
    job = extract_job(pair, Settings(RankChoice("fixed", RANK)), store=store)
    end = time.perf_counter()
    print(
        f"rank {RANK} of two files of {files[0].stat().st_size / 1e9:.1f} GB, {len(pair.names)} layers: "
        f"{peak.stop():.0f} MB of anonymous memory above the interpreter (goal {GOAL_MB}), hashing {hashed - start:.0f} s, "
        f"extracting {end - hashed:.0f} s, {len(job.model)} tensors"
    )


def main() -> None:
    if not STATUS.exists():
        print("skipped: this system does not tell anonymous memory in /proc/self/status")
        return
    shapes = tensor_shapes()
    with tempfile.TemporaryDirectory() as folder:
        write_sparse(Path(folder) / "tuned.safetensors", shapes, 0.05)
        write_sparse(Path(folder) / "base.safetensors", shapes, 0.0)
        extract(Path(folder))


if __name__ == "__main__":
    main()
