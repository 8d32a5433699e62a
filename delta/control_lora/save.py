"""Writing a Control-LoRA with proof: the file is read back as ComfyUI loads it and compared, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..files.file_errors import read_back_differently
from ..files.tensor_files import write_tensors
from ..linear_algebra.factors import LowRank
from ..lora.file import CAST_LOSS
from ..lora.save import PRODUCT_LOSS
from .format import ControlLora, parse_control_lora, to_tensors

PRECISIONS = {"float16": torch.float16, "float32": torch.float32}

# load(the tensors of a file) -> the tensors that the host's loader keeps of it
Load = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def save_control_lora(lora: ControlLora, path: str | Path, precision: str, load: Load) -> str:
    """Write a Control-LoRA as a new file, and return a line about what was compared.

    precision: `float16` or `float32`; load: the host's loader. Nothing stays of a file that cannot be written whole, or of
    which the host would make something else. Raises ValueError, FileExistsError and OSError with the remedy.
    """
    tensors = cast(to_tensors(lora), precision)
    worst = [("", 0.0)]

    def check(written: dict[str, Tensor]) -> None:
        read = parse_control_lora(Path(path).name, load(written))
        if set(read.factors) != set(lora.factors) or set(read.whole) != set(lora.whole):
            raise read_back_differently(Path(path).name)
        limit = CAST_LOSS[PRECISIONS[precision]]
        for name, part in lora.factors.items():
            worst[0] = max(
                worst[0], (name, _compared(name, part, read.factors[name], PRODUCT_LOSS * limit)), key=_second
            )
        for name, tensor in lora.whole.items():
            worst[0] = max(worst[0], (name, _compared(name, tensor, read.whole[name], limit)), key=_second)

    write_tensors(path, tensors, lora.metadata, check)
    return f"read back as ComfyUI loads it: largest relative difference {worst[0][1]:.2g} at {worst[0][0]}"


def cast(tensors: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Tensors in the precision of a file. Raises ValueError that names a tensor that does not fit it."""
    if precision not in PRECISIONS:
        raise ValueError(f"There is no precision {precision}. Choose one of: {', '.join(PRECISIONS)}.")
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.to(PRECISIONS[precision])
        if not torch.isfinite(found[name]).all():
            raise ValueError(f"{name} holds values too large for {precision}. Save as float32; nothing was written.")
    return found


def _compared(name: str, ours: Tensor | LowRank, theirs: Tensor | LowRank, limit: float) -> float:
    """The relative difference between what was meant and what a file gives. Raises ValueError beyond the limit."""
    ours, theirs = (x.to_dense() if isinstance(x, LowRank) else x.float() for x in (ours, theirs))
    norm = float(torch.linalg.vector_norm(ours))
    difference = float(torch.linalg.vector_norm(theirs.reshape(ours.shape) - ours))
    # Weights near zero lose their last digits to float16's smallest steps, which are of no account.
    if difference > limit * norm + 1e-6 * ours.numel() ** 0.5:
        raise ValueError(
            f"{name}: ComfyUI would not read what was saved (relative difference {difference / max(norm, 1e-30):.3g}). "
            "Nothing was kept; save as float32."
        )
    return difference / norm if norm else 0.0


def _second(row: tuple[str, float]) -> float:
    return row[1]
