"""Saving a LoRA with proof: what a loader makes of the file is compared, layer by layer, before the file is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.tensor_files import write_tensors
from ..progress import Step
from .adapters import Layer, NeedsBaseError, join_name
from .addresses import Address, Located, ModelNames, locate
from .file import (
    CAST_LOSS,
    NAMES_FOR,
    STALE_METADATA,
    LoraLayers,
    LoraModel,
    group,
    needs_base,
    read_layers,
    write_layers,
)
from .fused import add
from .naming import CONVENTIONS, Renaming, new_layers, renamings

AS_IT_IS = "as it is"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# In place of an update that cannot be told: what is done to its rows shows whether they stay as they are. So many rows can be
# divided into all small numbers of parts.
STAND_IN = torch.arange(5040.0)
# A product of two rounded factors differs by the loss of both.
PRODUCT_LOSS = 2.5

# apply(layer name, its tensors by ending, shape) -> the update [shape] that a loader makes of the layer, float32.
Apply = Callable[[str, Mapping[str, Tensor], tuple[int, ...]], Tensor]


class NameProof(NamedTuple):
    """What a loader reads of written tensors by their names. line: one sentence for the report; unread: names of tensors that
    it would not read."""

    line: str
    unread: Sequence[str] = ()


# prove(the written tensors) -> what the loader of the host reads of them, by a model's own map of names.
Prove = Callable[[Mapping[str, Tensor]], NameProof]
_TWICE = (
    "{} would be changed by two layers of this LoRA, one of which depends on the weight it is applied to. Merge LoRAs with the "
    "model connected bakes that one in and adds them up."
)
UNPROVEN = NameProof("names unproven: connect the model to prove that it reads them")


def save_lora(
    model: LoraModel,
    path: str | Path,
    dtype: str,
    apply: Apply,
    naming: str = AS_IT_IS,
    on_step: Step = lambda done, total: None,
    names: ModelNames | None = None,
    prove: Prove = lambda tensors: UNPROVEN,
) -> str:
    """Write a LoRA and return a report of what became of every tensor.

    The written tensors are read back: `prove` tells which of their names a loader reads, and `apply` what it makes of each
    layer. A name that is not read, or a layer that differs from the original by more than rounding, makes the save fail and
    leaves no file; names that `convert` gave for another program are written, and the first line tells how many of them are
    not read. naming is `as it is` or a convention of `delta.lora.naming`; names: of a connected model. on_step(done, total)
    is called after each layer and may raise to cancel. Raises ValueError for an empty LoRA, an unknown dtype, values that do
    not fit it, and as `renamed` does.
    """
    if dtype not in DTYPES:
        raise ValueError(f"There is no dtype {dtype}. Choose one of: {', '.join(DTYPES)}.")
    source, kept = readable(model)
    metadata = {key: text for key, text in model.metadata.items() if key not in STALE_METADATA}
    if naming == AS_IT_IS:
        layers, notes = _without_twins(source.layers, names)
    else:
        metadata.pop(NAMES_FOR, None)
        layers, kept, *_ = renamed(source.layers, kept, naming, names)
        notes = []
    if both := sorted(kept.keys() & layers.keys()):
        raise ValueError(_TWICE.format(both[0]))
    program = metadata.get(NAMES_FOR)
    written = tensors_of(layers, kept, DTYPES[dtype])
    proofs, worst = [UNPROVEN], [("", 0.0)]

    def check(tensors: dict[str, Tensor]) -> None:
        proofs[0] = prove(tensors)
        if (unread := proofs[0].unread) and program not in CONVENTIONS:
            raise ValueError(unread_sentence(unread, len(tensors)))
        grouped, _ = group(tensors)
        for done, (name, layer) in enumerate(layers.items(), start=1):
            difference = _difference(name, layer, grouped.get(name, {}), apply)
            if difference > PRODUCT_LOSS * CAST_LOSS[DTYPES[dtype]]:
                raise ValueError(
                    f"{name}: a loader would not apply what was saved (relative difference {difference:.3g}). "
                    "Nothing was kept; save as float32 and report this file."
                )
            worst[0] = max(worst[0], (name, difference), key=lambda row: row[1])
            on_step(done, len(layers))

    write_tensors(path, written, metadata, check)
    notes += map(kept_line, kept)
    notes += [f"not a LoRA tensor, left out: {name}" for name in source.foreign]
    return "\n".join([names_line(proofs[0], len(written), program), _report(path, layers, written, worst[0]), *notes])


def kept_line(name: str) -> str:
    """A line of a report about a layer that no other form can hold without the weight it is applied to."""
    return f"kept unchanged, because it depends on the weight it is applied to: {name}"


# Layers that depend on the weight they are applied to: their tensors by ending.
Kept = Mapping[str, Mapping[str, Tensor]]


def readable(model: LoraModel) -> tuple[LoraLayers, Kept]:
    """The layers of a LoRA that can be told from its tensors alone, none of one that is DoRA throughout; and the others."""
    dependent = needs_base(model)
    kept = {name: tensors for name, tensors in group(model)[0].items() if name in dependent}
    try:
        return read_layers(model), kept
    except NeedsBaseError:
        return LoraLayers(foreign=group(model)[1], needs_base=dict.fromkeys(kept, "")), kept


def tensors_of(layers: Mapping[str, Layer], kept: Kept, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a file of both."""
    written = write_layers(layers, dtype)
    return written | {join_name(name, ending): part for name, parts in kept.items() for ending, part in parts.items()}


def names_line(proof: NameProof, total: int, program: str | None) -> str:
    """The first line of a report on written names. program: that the names are for, where it may be another than ComfyUI."""
    if not proof.unread:
        return proof.line
    return f"names for {program}; ComfyUI does not read {len(proof.unread)} of {total} tensors"


def _without_twins(layers: Mapping[str, Layer], names: ModelNames | None) -> tuple[Mapping[str, Layer], list[str]]:
    """The layers, with those of one place in the model added up under the first name: a loader would apply one of them only."""
    located = locate([layers], names)
    first: dict[Address, str] = {}
    merged: dict[str, Layer] = {}
    notes = []
    for name, layer in layers.items():
        address = located.addresses[name]
        known = name if address is None else first.setdefault(address, name)
        if known != name:
            notes.append(f"added up under {known}, which means the same weight: {name}")
        merged[known] = add([merged[known], layer]) if known in merged else layer
    return merged, notes


class Renamed(NamedTuple):
    """Layers and kept layers under new names, what became of the former, weight by weight, and where all of them were."""

    layers: dict[str, Layer]
    kept: dict[str, Mapping[str, Tensor]]
    changes: Sequence[Renaming]
    located: Located


def renamed(
    layers: Mapping[str, Layer], kept: Kept, naming: str, names: ModelNames | None = None, unread: bool = False
) -> Renamed:
    """A whole LoRA under the names of a convention.

    names: of a connected model; unread: see `naming.renamings`. Raises ValueError as that does, and for a layer that depends
    on its weight where the weight is divided or has another update under another name.
    """
    stand_ins = {name: Layer(full=STAND_IN) for name in kept}
    located = locate([layers, stand_ins], names)
    changes = renamings(layers, naming, located, names, unread) if layers else []
    moved_layers = new_layers(changes)
    new_kept: dict[str, Mapping[str, Tensor]] = {}
    for name, stand_in in stand_ins.items():
        (change,) = renamings({name: stand_in}, naming, located, names, unread)
        new, moved = next(iter(change.new.items()))
        divided = len(change.new) != 1 or not torch.equal(moved.full, STAND_IN)
        if divided or new in moved_layers or new in new_kept:
            reason = "is split or fused" if divided else "coincides with another update of its weight"
            raise ValueError(
                f"{name} depends on the weight it is applied to and {reason} under the naming {naming}. Bake it with "
                "Bake Block Weights and the model connected, or keep the names as they are."
            )
        new_kept[new] = kept[name]
    return Renamed(moved_layers, new_kept, changes, located)


def unread_sentence(names: Sequence[str], total: int) -> str:
    """What to say of tensors that a loader would not read, with the remedy."""
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{len(names)} of {total} tensors would not be read by ComfyUI: {some}. Nothing was kept. Choose the naming ComfyUI, and "
        "connect the model that the LoRA is for."
    )


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
    return "\n".join(lines)
