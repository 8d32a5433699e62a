"""What a state dict is, told from the names of its tensors: for errors that help."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..families.registry import families_of_layers

ADAPTER_MARKS = (
    ".lora_up.",
    ".lora_down.",
    ".lora_A",
    ".lora_B",
    ".lora_magnitude_vector",
    "_lora.up.",
    "_lora.down.",
    ".lora.up.",
    ".lora.down.",
    ".lora_linear_layer.",
    ".hada_w1_",
    ".hada_w2_",
    ".lokr_w",
    ".oft_blocks",
    ".oft_diag",
    ".oft_R",
    ".boft_R",
    ".boft_s",
    ".hra_u",
    ".vera_lambda_",
    ".a1.weight",
)
ADAPTER_ENDINGS = (".diff", ".diff_b", ".w_norm", ".b_norm", ".set_weight")
# What stands beside them.
SIDE_ENDINGS = (".alpha", ".dora_scale", ".rescale", ".a2.weight", ".b1.weight", ".b2.weight", ".reshape_weight")
TEXT_ENCODER_PREFIXES = ("lora_te", "text_encoder", "te1.", "te2.", "lora_prior_te")
# Of more families than these, only the first are listed.
MOST_FAMILIES = 6
OUTPUT_MARKS, INPUT_MARKS = (".lora_up.", ".lora_B."), (".lora_down.", ".lora_A.")


def is_adapter(names: Iterable[str]) -> bool:
    """Whether any name is one of a LoRA or another adapter."""
    return any(name.endswith(ADAPTER_ENDINGS) or any(mark in name for mark in ADAPTER_MARKS) for name in names)


def is_text_encoder_name(name: str) -> bool:
    """Whether a LoRA tensor belongs to a text encoder."""
    return name.startswith(TEXT_ENCODER_PREFIXES)


def naming(tensors: Iterable[str] | Mapping[str, Any]) -> str:
    """The naming convention of an adapter file, and the families of models that have the layers that it names.

    tensors: their names, or the tensors by name, whose sizes may tell families of the same names apart.
    """
    names = list(tensors)
    if any(name.startswith("lora_unet_") for name in names):
        convention = "kohya names (lora_unet_...)"
    elif any(name.startswith("lycoris_") for name in names):
        convention = "LyCORIS names (lycoris_...)"
    elif any(name.startswith("diffusion_model.") for name in names):
        convention = "ComfyUI names (diffusion_model....)"
    elif any(".lora_A" in name or ".lora_B" in name for name in names):
        convention = "diffusers/PEFT names (....lora_A)"
    else:
        convention = f"names such as {names[0]}" if names else "no tensors"
    layers = _layers(names)
    if not layers:
        return convention
    found = _families(layers, tensors)
    return f"{convention}, as for {_in_words(found)}"


def families_of_adapter(tensors: Mapping[str, Any]) -> list[str]:
    """The names of the families of models that have the layers of an adapter: several where the names leave it open, none
    where it has layers of text encoders only, or of an unknown family. tensors: things with `ndim` and `shape`, by name."""
    layers = _layers(tensors)
    return _families(layers, tensors) if layers else []


def _layers(names: Iterable[str]) -> set[str]:
    # Text encoders are shared by many families.
    return {layer for name in names if not is_text_encoder_name(name) and (layer := _layer_of(name))}


def _families(layers: Iterable[str], tensors: Iterable[str] | Mapping[str, Any]) -> list[str]:
    sizes = _sizes(tensors) if isinstance(tensors, Mapping) else {}
    return [family.name for family in families_of_layers(layers, sizes)]


def _layer_of(name: str) -> str | None:
    """The layer that an adapter's tensor is for; None for another tensor."""
    ends = [name.find(mark) for mark in (*ADAPTER_MARKS, *SIDE_ENDINGS) if mark in name]
    ends += [len(name) - len(ending) for ending in ADAPTER_ENDINGS if name.endswith(ending)]
    return name[: min(ends)] if ends else None


def _sizes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Rows and columns of the layers of which both factors are there."""
    rows, columns = {}, {}
    for name, tensor in tensors.items():
        if any(mark in name for mark in OUTPUT_MARKS) and tensor.ndim > 1:
            rows[_layer_of(name)] = tensor.shape[0]
        elif any(mark in name for mark in INPUT_MARKS) and tensor.ndim > 1:
            columns[_layer_of(name)] = math.prod(tensor.shape[1:])
    return {layer: (rows[layer], columns[layer]) for layer in rows.keys() & columns.keys()}


def _in_words(names: list[str]) -> str:
    if not names:
        return "an unknown family"
    if len(names) > MOST_FAMILIES:
        names = [*names[: MOST_FAMILIES - 1], f"{len(names) - MOST_FAMILIES + 1} others"]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
