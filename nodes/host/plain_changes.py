"""What a LORA_MODEL adds to weights as it stands, without factors: changes of norms, biases and whole or parts of weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ...delta.files import adapter_names
from .loras import as_lora_model
from .names import lora_key_map, match_lora
from .weights import PatchKey, model_weights, parts


class PlainChanges(NamedTuple):
    """The changes of a LORA_MODEL that are added to weights, by weight, and lines about all else that it holds."""

    name: str
    by_weight: dict[str, torch.Tensor]
    notes: list[str]


def plain_changes(lora: dict[str, torch.Tensor], model: Any) -> PlainChanges:
    """What a LORA_MODEL adds to weights of a MODEL, of all their parts that it names.

    Raises ValueError as `match_lora` does, and for a part of another shape.
    """
    given = as_lora_model(lora)
    match = match_lora(given, lora_key_map(model, None))
    added = {
        key: patch[1][0] for key, patch in match.patches.items() if isinstance(patch, tuple) and patch[0] == "diff"
    }
    weights = model_weights(model)
    plain: dict[str, torch.Tensor] = {}
    for key, change in added.items():
        weight, offset, function = parts(key)
        ordered = change if function is None else function(change)
        whole = ordered if offset is None else _widened(given.name, key, ordered, tuple(weights[weight].shape))
        plain[weight] = plain[weight] + whole if weight in plain else whole
    notes = []
    if len(match.patches) > len(added):
        notes.append(
            f"skipped, not plain changes: {len(match.patches) - len(added)} layers with factors or new weights"
        )
    text = [name for name in match.unmatched if adapter_names.is_text_encoder_name(name)]
    if text:
        notes.append(f"skipped, text encoder: {len(text)} tensors")
    notes += [f"matched nothing: {name}" for name in match.unmatched if name not in set(text)]
    return PlainChanges(given.name, plain, notes)


def _widened(name: str, key: PatchKey, change: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A change of a part of a weight as one of the whole weight."""
    whole = change.new_zeros(shape)
    part = whole.narrow(*parts(key)[1])
    if part.shape != change.shape:
        raise ValueError(
            f"{name}: the change to a part of {key[0]} is {tuple(change.shape)}, but the part is "
            f"{tuple(part.shape)} in the connected model. Choose a LoRA that was made for this model."
        )
    part.copy_(change)
    return whole
