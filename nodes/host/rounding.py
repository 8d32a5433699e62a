"""What baking would leave of a change of weights that are stored in few bits, measured with the host's own rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.float
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch

from ...delta.lora.stack import Rounding
from . import beside, weights

# Weights of which a LoRA's loss is told: evenly chosen, because whole models take too long.
SAMPLE = 4


def rounding_of(
    patcher: Any,
    patches: Mapping[weights.PatchKey, Any],
    strength: Callable[[weights.PatchKey], float],
    keys: Sequence[weights.PatchKey],
) -> Rounding | None:
    """How much of the patches of some quantised weights baking leaves, None where they change nothing."""
    patcher = getattr(patcher, "patcher", patcher)
    chosen = keys[:: -(-len(keys) // SAMPLE)] if keys else []
    inner = meant = made = 0.0
    for key in chosen:
        change, baked = _changes(patcher, key, patches[key], strength(key))
        inner += float((change * baked).sum())
        meant += float(change.square().sum())
        made += float(baked.square().sum())
    if not meant:
        return None
    cosine = inner / math.sqrt(meant * made) if made else 0.0
    return Rounding(beside.format_of(patcher, keys[0]), len(keys), len(chosen), cosine)


def _changes(patcher: Any, key: weights.PatchKey, patch: Any, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What a patch is to change a weight by, and what it does after the host has rounded the sum as it does when it loads it."""
    name, offset, function = weights.parts(key)
    device = comfy.model_management.get_torch_device()
    base = weights.base_weight(patcher, name).to(device)
    changed = comfy.lora.calculate_weight([(strength, patch, 1.0, offset, function)], base.clone(), name)
    stored, store, convert = comfy.model_patcher.get_key_weight(patcher.model, name)
    if store is None:
        rounded = comfy.float.stochastic_rounding(changed, stored.dtype, seed=_seed(name))
    else:
        rounded = store(changed.clone(), inplace_update=False, seed=_seed(name), return_weight=True)
    wide = comfy.model_management.cast_to_device(rounded, device, torch.float32, copy=True)
    return changed - base, (wide if convert is None else convert(wide, inplace=True)) - base


def _seed(name: str) -> int:
    """The seed of the rounding of a weight, by the function that newer hosts have moved."""
    home = comfy.utils if hasattr(comfy.utils, "string_to_seed") else comfy.model_patcher
    return home.string_to_seed(name)
