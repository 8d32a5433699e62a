"""A full ControlNet of a Control-LoRA and a base model: the same net for every loader, and faster to run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..families.registry import DENOISER
from ..files.checkpoint import Checkpoint
from ..files.file_errors import read_back_differently
from ..files.tensor_files import write_tensors
from ..lora.file import RECIPE
from ..progress import Step
from .format import ENCODER, FIRST, ControlLora, context_width, family, is_own
from .save import Load, cast


def bake_control_lora(
    lora: ControlLora,
    base: Checkpoint,
    precision: str,
    on_step: Step = lambda done, total: None,
) -> dict[str, Tensor]:
    """All tensors of the full ControlNet under ComfyUI's names without a prefix: the base's encoder with the updates added.

    With another base than the file was made from, the net moves onto that base. on_step is called after each weight and may
    raise to cancel. Raises ValueError for a base of another kind or size, and for values that do not fit the precision.
    """
    theirs = context_width(base.shapes)
    if lora.context_width != theirs:
        what = "no U-Net" if theirs is None else family(theirs)
        raise ValueError(
            f"{lora.name} is for {family(lora.context_width)}, but {base.name} is {what}. Choose a base of the same kind."
        )
    encoder = [name.removeprefix(DENOISER) for name in base.shapes if name.startswith(DENOISER)]
    encoder = [name for name in encoder if name.startswith(ENCODER)]
    _check_layers(lora, base, encoder)
    tensors: dict[str, Tensor] = {}
    for done, name in enumerate(encoder, start=1):
        tensors |= cast({name: _weight(lora, base, name)}, precision)
        on_step(done, len(encoder))
    return tensors | cast({name: tensor for name, tensor in lora.whole.items() if name not in tensors}, precision)


def write_baked(
    path: str | Path, tensors: dict[str, Tensor], lora: ControlLora, sources: Sequence[dict[str, Any]], load: Load
) -> str:
    """Write a full ControlNet as a new file, read it back by the host's loader, and return a report.

    Raises as `tensor_files.write_tensors`, and ValueError where the host would make something else of the file.
    """

    def check(written: dict[str, Tensor]) -> None:
        # The host may run the net in another precision than the file's.
        loaded = load(written)
        if loaded.keys() != tensors.keys() or not all(
            torch.equal(value.to(tensors[name].device), tensors[name].to(value.dtype)) for name, value in loaded.items()
        ):
            raise read_back_differently(Path(path).name)

    write_tensors(path, tensors, {RECIPE: json.dumps({"method": "bake Control-LoRA", "sources": list(sources)})}, check)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    lines = [
        f"saved {path}",
        f"full ControlNet for {family(lora.context_width)}: {len(tensors)} tensors, {size / 1e6:.2f} MB; "
        f"{len(lora.factors)} weights are the base's plus an update, {len(lora.whole)} tensors are the file's own",
        "read back as ComfyUI loads it: identical bit for bit",
        *lora.notes,
    ]
    return "\n".join(lines)


def _check_layers(lora: ControlLora, base: Checkpoint, encoder: Sequence[str]) -> None:
    """Every update and every weight in place of the base's must have its place there, of its size."""
    known = set(encoder)
    sizes = {f"{layer}.weight": part.shape for layer, part in lora.factors.items()}
    # The whole first convolution fits any base, also those for inpainting.
    sizes |= {name: tuple(tensor.shape) for name, tensor in lora.whole.items() if not is_own(name) and name != FIRST}
    for name, shape in sizes.items():
        theirs = base.shapes[DENOISER + name] if name in known else None
        if theirs is None or math.prod(shape) != math.prod(theirs):
            hint = " An inpainting base does not fit; choose the normal one." if name == FIRST else ""
            raise ValueError(
                f"{name} is {shape} in {lora.name}, but {theirs or 'not there'} in {base.name}. Choose the base "
                f"that the file was made from, or one of the same kind.{hint}"
            )


def _weight(lora: ControlLora, base: Checkpoint, name: str) -> Tensor:
    """One weight of the encoder in float32."""
    if name in lora.whole:
        return lora.whole[name].float()
    value = base.read(DENOISER + name).value
    part = lora.factors.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
    return value if part is None else value.add_(part.to_dense().reshape(value.shape))
