"""GGUF by ggml's own quantiser: the rounding of each type beside the predicted one, and a LoRA extracted against bases of some."""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/harness")]

import ggml  # noqa: E402

from delta.extraction.extract import Settings, extract  # noqa: E402
from delta.extraction.pair import compare  # noqa: E402
from delta.files.checkpoint import Checkpoint  # noqa: E402
from delta.files.packed import ERRORS, PACKED, packed_size, packed_variance, unpacked  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402

SHAPE = (256, 1024)
# A layer of a real size for the extraction, whose rows differ as those of trained weights do.
LAYER, SIDE, RANK, SPREAD = "double_blocks.0.img_mlp.0.weight", 1024, 8, 0.3
MARKS = ("double_blocks.0.img_mod.lin.weight", "single_blocks.0.modulation.lin.weight", "img_in.weight")
BASES = ("BF16", "Q8_0", "Q6_K", "Q5_1", "Q4_K", "Q4_0")
CHANGES = (0.0, 0.002, 0.01, 0.05, 0.2)
# How far a prediction may be off: of whole numbers, and of tables of several numbers at once.
GOAL, GOAL_OF_TABLES = 0.05, 0.16
# The error of what is found, over what rounding alone makes of it.
MOST_ERROR = 1.25


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of different distributions."""
    generator = torch.Generator().manual_seed(seed)
    normal = 0.03 * torch.randn(SHAPE, generator=generator)
    sign = torch.rand(SHAPE, generator=generator) - 0.5
    laplace = -0.03 * sign.sign() * torch.log1p(-2 * sign.abs())
    rows = torch.exp(0.5 * torch.randn(SHAPE[0], 1, generator=generator))
    return {"normal": normal, "Laplace": laplace, "uneven rows": normal * rows}


def roundings() -> list[str]:
    """Print what is predicted of each type over what its rounding is; the goals that were missed."""
    missed = []
    print("standard deviation of the rounding, predicted / real, by the weight's distribution")
    for kind in PACKED:
        ratios = []
        for weight in weights().values():
            stored = torch.from_numpy(ggml.quantised(weight, kind)).flatten()
            error = float((unpacked(stored, kind, SHAPE) - weight).double().square().mean())
            ratios.append(math.sqrt(packed_variance(stored, kind) / error))
        relative = math.sqrt(error) / float(weight.double().square().mean().sqrt())
        bits = 8 * packed_size(kind, SHAPE) / math.prod(SHAPE)
        columns = " | ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"| {kind} | {bits:.2f} bits | {relative:.2%} of the weight | {columns} |")
        goal = GOAL_OF_TABLES if kind in ERRORS else GOAL
        if max(abs(ratio - 1) for ratio in ratios) > goal:
            missed.append(f"{kind}: the prediction is off by more than {goal:.0%}")
    return missed


def write(path: Path, weight: torch.Tensor, kind: str | None) -> Checkpoint:
    """A model whose one large layer is this weight, as GGUF of a type or in float32."""
    small = {name: torch.ones(2, 2) for name in MARKS}
    if kind is None:
        save_file(small | {LAYER: weight}, path)
    else:
        if kind == "BF16":
            stored = weight.bfloat16().view(torch.uint8).numpy()
        else:
            stored = ggml.quantised(weight, kind)
        ggml.write_gguf(path, {name: (value.numpy(), "F32") for name, value in small.items()} | {LAYER: (stored, kind)})
    return Checkpoint(path)


def extractions(folder: Path) -> list[str]:
    """Print what extraction finds of changes of several sizes against bases of several types; the goals that were missed."""
    missed = []
    generator = torch.Generator().manual_seed(1)
    rows = torch.exp(SPREAD * torch.randn(SIDE, 1, generator=generator))
    base = 0.03 * rows * torch.randn(SIDE, SIDE, generator=generator)
    up, down = (torch.linalg.qr(torch.randn(SIDE, RANK, generator=generator))[0] for _ in range(2))
    name = f"diffusion_model.{LAYER}"
    print(f"a change of rank {RANK} of a layer {SIDE} x {SIDE}: rank found, error, error expected of rounding alone")
    for kind in BASES:
        packed = write(folder / f"{kind}.gguf", base, kind)
        cells = []
        for size in CHANGES:
            change = size * float(base.norm()) / math.sqrt(RANK) * up @ down.T
            tuned = write(folder / f"{kind}-{size}.safetensors", base + change, None)
            pair = compare(tuned, packed)
            try:
                found = extract(pair, Settings(RankChoice("full", 0.0), biases_and_norms=False)).differences[name]
            except ValueError as error:
                assert "distinguished from noise" in str(error), error
                cells.append("refused")
                continue
            error = float((found.low_rank.up @ found.low_rank.down - change).norm() / max(float(change.norm()), 1e-9))
            # To first order each direction takes up the noise of one row and one column.
            expected = found.deviation * math.sqrt(RANK * 2 * SIDE) / max(float(change.norm()), 1e-9)
            cells.append(f"{found.low_rank.rank}, {error:.2f}, {expected:.2f}")
            if found.low_rank.rank != RANK or error > MOST_ERROR * expected:
                missed.append(f"{kind}, a change of {size:.1%}: {cells[-1]}")
        print(f"| {kind} | {' | '.join(cells)} |")
    return missed


def main() -> int:
    if ggml.library() is None:
        print(ggml.ABSENT)
        return 1
    missed = roundings()
    with tempfile.TemporaryDirectory() as folder:
        missed += extractions(Path(folder))
    print("\n".join(f"missed: {line}" for line in missed) or "all goals met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
