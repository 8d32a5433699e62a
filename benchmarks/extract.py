"""Extracting a LoRA from one layer: the truncated SVD against a full SVD and against the extractors of other tools.

Others take part where the environment variables KJNODES_DIR and SD_SCRIPTS_DIR name a checkout of ComfyUI-KJNodes or of
kohya's sd-scripts.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/harness")]

import torch  # noqa: E402
from launch_host import has_gpu, prepare_torchvision  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from delta.linear_algebra.svd import truncated_svd  # noqa: E402

RANK = 64
GOALS = {1280: 15, 3072: 40}
ROUNDS = {1280: 5, 3072: 2}
LARGEST_EXCESS = 0.01
# Singular value i of a spectrum is i^-power.
SPECTRA = {"flat": 0.2, "medium": 0.5, "steep": 1.0}
RANKS = (8, 64, 256)
# The weights of SD 1.5, SDXL and Flux, convolutions as [m, rest]; what is taller than wide is computed transposed.
SHAPES = [(320, 320), (320, 768), (320, 1280), (320, 2560), (320, 2880), (640, 640), (640, 768), (640, 2048)]
SHAPES += [(640, 2560), (640, 5120), (640, 5760), (1280, 1280), (1280, 2048), (1280, 5120), (1280, 10240)]
SHAPES += [(1280, 11520), (3072, 3072), (3072, 9216), (3072, 12288)]

Extractor = Callable[[Tensor], tuple[Tensor, Tensor]]


def vectors(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Random orthonormal columns [rows, k] and [columns, k]."""
    generator = torch.Generator().manual_seed(rows + columns)
    count = min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(size, count, generator=generator))[0] for size in (rows, columns))
    return left, right


def with_spectrum(left: Tensor, right: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """A matrix with these singular vectors, and its singular values in float64."""
    values = torch.arange(1, left.shape[1] + 1).double() ** -power
    return left * values.float() @ right.T, values


def excess(matrix: Tensor, values: Tensor, up: Tensor, down: Tensor) -> float:
    """How much larger the error of up @ down is than the smallest error of this rank, as a share of that."""
    error = torch.linalg.vector_norm(matrix - up @ down, dtype=torch.float64)
    return float(error / torch.linalg.vector_norm(values[up.shape[1] :])) - 1


def ours(matrix: Tensor, rank: int = RANK) -> tuple[Tensor, Tensor]:
    u, s, vh, _ = truncated_svd(matrix, rank)
    return u * s, vh


def timed(run: Callable[[], object]) -> tuple[float, object]:
    """(seconds, result)."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def speed(side: int) -> None:
    left, right = vectors(side, side)
    for name, power in SPECTRA.items():
        matrix, values = with_spectrum(left, right, power)
        mine, full = [], []
        for _ in range(ROUNDS[side]):
            full.append(timed(partial(torch.linalg.svd, matrix, full_matrices=False))[0])
            mine += [timed(partial(ours, matrix))[0] for _ in range(4)]
        print(
            f"rank {RANK} of {side}x{side}, {name} spectrum: {min(mine) * 1e3:.0f} ms, full SVD {min(full) * 1e3:.0f} ms, "
            f"{min(full) / min(mine):.1f} times (goal {GOALS[side]}); error {excess(matrix, values, *ours(matrix)):.2%} "
            "above the smallest",
            flush=True,
        )


def accuracy() -> None:
    worst, where = 0.0, ""
    start = time.perf_counter()
    for rows, columns in SHAPES:
        left, right = vectors(rows, columns)
        for name, power in SPECTRA.items():
            matrix, values = with_spectrum(left, right, power)
            for rank in RANKS:
                found = excess(matrix, values, *ours(matrix, rank))
                if found > worst:
                    worst, where = found, f"rank {rank} of {rows}x{columns}, {name} spectrum"
    count = len(SHAPES) * len(SPECTRA) * len(RANKS)
    print(
        f"error above the smallest, worst of {count} cases: {worst:.2%} at {where} (goal {LARGEST_EXCESS:.0%}); "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )


def host_extractor() -> Extractor:
    """ComfyUI's node "Extract and Save Lora"."""
    sys.argv = ["main.py", "--base-directory", os.environ["STYLEDELTA_BASE_DIR"], *([] if has_gpu() else ["--cpu"])]
    sys.path.insert(0, os.environ["STYLEDELTA_HOST_DIR"])
    prepare_torchvision()
    importlib.import_module("comfy.options").enable_args_parsing()
    module = importlib.import_module("comfy_extras.nodes_lora_extract")
    return lambda matrix: module.extract_lora(matrix, RANK)


def kjnodes_extractor() -> Extractor:
    """LoraExtractKJ with its fast algorithm; needs the host to be importable."""
    spec = importlib.util.spec_from_file_location(
        "kj_lora_nodes", Path(os.environ["KJNODES_DIR"]) / "nodes/lora_nodes.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda matrix: module.extract_lora(matrix, "layer", RANK, "svd_lowrank", "standard")


def sd_scripts_extractor() -> Extractor:
    """flux_extract_lora.py, which reads two files and writes a third."""
    sys.path.insert(0, os.environ["SD_SCRIPTS_DIR"])
    module = importlib.import_module("networks.flux_extract_lora")

    def extract(matrix: Tensor) -> tuple[Tensor, Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            base, tuned, lora = (str(Path(folder) / f"{name}.safetensors") for name in ("base", "tuned", "lora"))
            save_file({"double_blocks.0.weight": torch.zeros_like(matrix)}, base)
            save_file({"double_blocks.0.weight": matrix}, tuned)
            module.svd(model_org=base, model_tuned=tuned, save_to=lora, dim=RANK, no_metadata=True)
            tensors = load_file(lora)
        up, down = (
            next(tensor for name, tensor in tensors.items() if name.endswith(f"{side}.weight"))
            for side in ("up", "down")
        )
        return up, down

    return extract


def peers() -> dict[str, Extractor]:
    """The extractors that are there; the host comes first, because KJNodes imports it."""
    found = {"ours": ours, "ComfyUI": host_extractor()}
    others = {"KJNODES_DIR": ("KJNodes", kjnodes_extractor), "SD_SCRIPTS_DIR": ("sd-scripts", sd_scripts_extractor)}
    for variable, (name, load) in others.items():
        if not os.environ.get(variable):
            print(f"{name} was not found: {variable} is not set")
            continue
        try:
            found[name] = load()
        except (ImportError, OSError) as error:
            print(f"{name} was not found: {error}")
    return found


def against_peers() -> None:
    extractors = peers()
    for side in GOALS:
        matrix, values = with_spectrum(*vectors(side, side), SPECTRA["medium"])
        for name, extract in extractors.items():
            runs = [timed(partial(extract, matrix)) for _ in range(ROUNDS[side])]
            above = excess(matrix, values, *(part.float() for part in runs[0][1]))
            taken = min(run[0] for run in runs)
            print(
                f"{name}, rank {RANK} of {side}x{side}: {taken:.3f} s, error {above:.2%} above the smallest", flush=True
            )


if __name__ == "__main__":
    print(f"torch {torch.__version__} on {torch.get_num_threads()} threads of the CPU")
    for side in GOALS:
        speed(side)
    accuracy()
    against_peers()
