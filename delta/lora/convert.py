"""A LoRA under the names of another program, with an account of what became of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .adapters import Layer
from .addresses import Located, ModelNames, is_text
from .costs import Job
from .file import NAMES_FOR, STALE_METADATA, LoraModel
from .naming import COMFYUI, KOHYA, Renaming
from .save import UNPROVEN, NameProof, Prove, kept_line, names_line, readable, renamed, tensors_of, unread_sentence

# Who the names of a convention are made for, besides ComfyUI.
READERS = {
    KOHYA: "programs that read kohya's names",
    "diffusers": "diffusers",
    "PEFT": "PEFT",
    "OneTrainer": "OneTrainer",
    "SimpleTuner LyCORIS": "LyCORIS",
    "musubi-tuner": "musubi-tuner",
}


def convert_lora(
    model: LoraModel, naming: str, names: ModelNames | None = None, prove: Prove = lambda tensors: UNPROVEN
) -> Job:
    """The same updates in float32 under the names of a convention, and a report.

    names: of a connected model; prove: as in `save_lora`. Names that ComfyUI does not read are given where they are those of
    another program, which the metadata then names, so that Save LoRA writes them. Raises ValueError as `renamed` does, and
    for names of ComfyUI or kohya that ComfyUI would not read.
    """
    source, kept = readable(model)
    result = renamed(source.layers, kept, naming, names, unread=True)
    tensors = tensors_of(result.layers, result.kept, torch.float32)
    proof = prove(tensors)
    foreign = naming not in (COMFYUI, KOHYA)
    if proof.unread and not foreign:
        raise ValueError(unread_sentence(proof.unread, len(tensors)))
    metadata = {key: text for key, text in model.metadata.items() if key not in (NAMES_FOR, *STALE_METADATA)}
    if foreign:
        metadata[NAMES_FOR] = naming
    account = [*_account(result.changes, source.layers), *([f"{len(kept)} kept unchanged"] if kept else [])]
    lines = [
        names_line(proof, len(tensors), naming),
        f"{len(source.layers) + len(kept)} layers under the names of {naming}: {', '.join(account)}",
        f"family: {_family(result.located)}",
        f"read by: {', '.join(_readers(naming, proof))}",
        *map(kept_line, result.kept),
        *(f"not a LoRA tensor, left out: {name}" for name in source.foreign),
    ]
    return Job(LoraModel(tensors, metadata, model.name), "\n".join(lines), [])


def _account(changes: Sequence[Renaming], layers: Mapping[str, Layer]) -> list[str]:
    """How many layers were kept, renamed, fused, split and added up."""
    kept = renamed = twins = biases = 0
    fused, split = [0, 0], [0, 0]
    for change in changes:
        twins += len(change.old) - change.places
        new = [layer for layer in change.new.values() if _has_weight(layer)] or list(change.new.values())
        biases += len(change.new) - len(new)
        if len(new) > change.places:
            split = [split[0] + change.places, split[1] + len(new)]
        elif len(new) < change.places or _height(layers[change.old[0]]) != _height(new[0]):
            fused = [fused[0] + change.places, fused[1] + len(new)]
        else:
            same = sum(name in change.old for name in change.new)
            kept, renamed = kept + same, renamed + len(new) - same
    counts = [
        f"{renamed} renamed" if renamed else "",
        f"{fused[0]} fused into {fused[1]}" if fused[0] else "",
        f"{split[0]} split into {split[1]}" if split[0] else "",
        f"{twins} added to others for the same weight" if twins else "",
        f"{kept} kept" if kept else "",
        f"{biases} biases under ComfyUI's names, which other programs do not read" if biases else "",
    ]
    return [count for count in counts if count]


def _has_weight(layer: Layer) -> bool:
    return any(part is not None for part in (layer.low_rank, layer.full, layer.new_weight))


def _height(layer: Layer) -> int:
    """How many rows a layer changes."""
    given = (layer.low_rank, layer.full, layer.new_weight, layer.bias)
    return next(part.shape[0] for part in given if part is not None)


def _family(located: Located) -> str:
    if all(is_text(name) for name in located.addresses):
        return "none, all layers belong to text encoders"
    return " or ".join(family.name for family in located.candidates) or "not known"


def _readers(naming: str, proof: NameProof) -> list[str]:
    """Who reads the names, ComfyUI by the proof."""
    comfyui = "not ComfyUI" if proof.unread else "ComfyUI, unproven" if proof == UNPROVEN else "ComfyUI"
    return [comfyui, *([READERS[naming]] if naming in READERS else [])]
