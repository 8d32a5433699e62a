"""Saving a LoRA with proof: what a loader makes of the file is compared, layer by layer, before the file is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensor_files import write_tensors
from ..progress import Step
from .adapters import Layer
from .file import CAST_LOSS, STALE_METADATA, LoraModel, group, read_layers, write_layers
from .naming import rename

AS_IT_IS = "as it is"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# A product of two rounded factors differs by the loss of both.
PRODUCT_LOSS = 2.5

# apply(layer name, its tensors by ending, shape) -> the update [shape] that a loader makes of the layer, float32.
Apply = Callable[[str, Mapping[str, Tensor], tuple[int, ...]], Tensor]


def save_lora(
    model: LoraModel,
    path: str | Path,
    dtype: str,
    apply: Apply,
    naming: str = AS_IT_IS,
    on_step: Step = lambda done, total: None,
) -> str:
    """Write a LoRA and return a report of what became of every tensor.

    The written tensors are read back, and `apply` tells what a loader makes of each layer; a layer that differs from the
    original by more than rounding makes the save fail and leaves no file. naming is `as it is` or a convention of
    `lora_naming`. on_step(done, total) is called after each layer and may raise to cancel. Raises ValueError for an empty
    LoRA, an unknown dtype, values that do not fit it, and as `lora_naming.rename` does.
    """
    if dtype not in DTYPES:
        raise ValueError(f"There is no dtype {dtype}. Choose one of: {', '.join(DTYPES)}.")
    source = read_layers(model)
    if not source.layers:
        raise ValueError(f"{model.name} holds no LoRA tensors, so there is nothing to save.")
    layers = source.layers if naming == AS_IT_IS else rename(source.layers, naming)
    written = write_layers(layers, DTYPES[dtype])
    worst = [("", 0.0)]

    def check(tensors: dict[str, Tensor]) -> None:
        grouped, _ = group(tensors)
        for done, (name, layer) in enumerate(layers.items(), start=1):
            difference = _difference(name, layer, grouped.get(name, {}), apply)
            if difference > PRODUCT_LOSS * CAST_LOSS[DTYPES[dtype]]:
                raise ValueError(
                    f"{name}: a loader would apply something else than was saved (relative difference {difference:.3g}). "
                    "Nothing was kept; save as float32 and report this file."
                )
            worst[0] = max(worst[0], (name, difference), key=lambda row: row[1])
            on_step(done, len(layers))

    metadata = {key: text for key, text in model.metadata.items() if key not in STALE_METADATA}
    write_tensors(path, written, metadata, check)
    return _report(path, layers, written, source.foreign, worst[0])


def _difference(name: str, layer: Layer, tensors: Mapping[str, Tensor], apply: Apply) -> float:
    """Relative difference between the update of a layer and what a loader makes of the file."""
    expected = layer.dense()
    if expected is None or not expected.any():
        return 0.0
    applied = apply(name, tensors, tuple(expected.shape))
    return float(torch.linalg.vector_norm(applied - expected) / torch.linalg.vector_norm(expected))


def _report(
    path: str | Path,
    layers: Mapping[str, Layer],
    written: Mapping[str, Tensor],
    foreign: list[str],
    worst: tuple[str, float],
) -> str:
    kinds = {
        "low-rank updates": sum(layer.low_rank is not None for layer in layers.values()),
        "dense updates": sum(layer.full is not None and layer.full.dim() > 1 for layer in layers.values()),
        "norm updates": sum(layer.full is not None and layer.full.dim() == 1 for layer in layers.values()),
        "bias updates": sum(layer.bias is not None for layer in layers.values()),
        "replaced weights": sum(layer.new_weight is not None for layer in layers.values()),
    }
    size = sum(tensor.numel() * tensor.element_size() for tensor in written.values())
    lines = [f"saved {path}", f"{len(written)} tensors, {size / 1e6:.2f} MB"]
    lines += [f"{kind}: {count}" for kind, count in kinds.items() if count]
    lines.append(
        f"read back and applied: largest relative difference {worst[1]:.2g}" + (f" at {worst[0]}" if worst[0] else "")
    )
    lines += [f"not a LoRA tensor, left out: {name}" for name in foreign]
    return "\n".join(lines)
