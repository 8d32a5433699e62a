"""LoRAs in the host: read from its folders, matched to a model's weights, and as patches of its own adapters."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any, NamedTuple

import comfy.lora
import comfy.lora_convert
import comfy.weight_adapter
import torch

from ...delta.blocks.rules import parse_block_weights
from ...delta.files import adapter_names, file_kinds, tensor_files
from ...delta.lora.adapters import join_name
from ...delta.lora.file import Bake, LoraModel
from ...delta.lora.stack import EntryReport, StackEntry, read_stack
from .folders import file_path
from .names import LoraMatch, lora_key_map, match_lora
from .patches import add_weighted_patches
from .weights import PatchKey, base_weight, model_weights

CACHED_BYTES = 2_000_000_000


class _FileCache:
    """The adapter files used last, by path, as long as their time of change and size stay the same."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.files: OrderedDict[str, tuple[tuple[int, int], LoraModel]] = OrderedDict()

    def read(self, path: str, name: str) -> LoraModel:
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size)
        if self.files.get(path, (None,))[0] != stamp:
            self.files[path] = stamp, LoraModel(*tensor_files.read_tensors(path), name)
        self.files.move_to_end(path)
        while len(self.files) > 1 and sum(size for (_, size), _ in self.files.values()) > self.capacity:
            self.files.popitem(last=False)
        return self.files[path][1]


_adapter_files = _FileCache(CACHED_BYTES)


def read_adapter(name: str) -> LoraModel:
    """A LoRA file in models/loras: its tensors, with its metadata and name.

    Raises FileNotFoundError, or ValueError when the file is damaged, holds NaN, or is no LoRA.
    """
    tensors = _adapter_files.read(file_path("loras", name), name)
    if not adapter_names.is_adapter(tensors):
        raise ValueError(f"{name} is not a LoRA but {file_kinds.kind_of(tensors)}. Choose a LoRA file.")
    return tensors


def as_lora_model(tensors: dict[str, torch.Tensor]) -> LoraModel:
    """A LORA_MODEL of any node with metadata and a name, in the names that the host gives some trainers' files.

    Core's own LORA_MODEL is a plain state dict.
    """
    given = tensors if isinstance(tensors, LoraModel) else LoraModel(tensors)
    return LoraModel(comfy.lora_convert.convert_lora(dict(given)), given.metadata, given.name)


def stack_models(stack: list) -> list[tuple[LoraModel, float, float, str]]:
    """The files of a LORA_STACK with their strengths and block rules; none for an empty stack."""
    entries = read_stack(stack) if stack else []
    return [(as_lora_model(read_adapter(entry[0])), entry[1], entry[2], entry.block_weights) for entry in entries]


class PlainChanges(NamedTuple):
    """The changes of a LORA_MODEL that are added to whole weights, by weight, and lines about all else that it holds."""

    name: str
    by_weight: dict[str, torch.Tensor]
    notes: list[str]


def plain_changes(lora: dict[str, torch.Tensor], model: Any) -> PlainChanges:
    """What a LORA_MODEL adds to whole weights of a MODEL. Raises ValueError as `match_lora` does."""
    given = as_lora_model(lora)
    match = match_lora(given, lora_key_map(model, None))
    plain = {
        key: patch[1][0] for key, patch in match.patches.items() if isinstance(patch, tuple) and patch[0] == "diff"
    }
    notes = []
    if len(match.patches) > len(plain):
        notes.append(f"skipped, no plain changes: {len(match.patches) - len(plain)} layers with factors or new weights")
    text = [name for name in match.unmatched if adapter_names.is_text_encoder_name(name)]
    if text:
        notes.append(f"skipped, of a text encoder: {len(text)} tensors")
    notes += [f"matched nothing: {name}" for name in match.unmatched if name not in set(text)]
    return PlainChanges(given.name, plain, notes)


def first_misfit(patches: dict[PatchKey, Any], weights: dict[str, torch.Tensor]) -> str | None:
    """A sentence about the first patch whose shape is not that of its weight, or None.

    The host would only log it and go on. Weights stored in a packed form are left to the host.
    """
    for key, patch in patches.items():
        name = key if isinstance(key, str) else key[0]
        weight = weights.get(name)
        if weight is None or not weight.is_floating_point() or not isinstance(key, str):
            continue
        size = _patch_size(patch)
        if size is not None and size != (weight.shape[0], weight[0].numel()):
            return f"{name} is {tuple(weight.shape)} in the model, but the LoRA's change is {size[0]} x {size[1]}"
    return None


def _patch_size(patch: Any) -> tuple[int, int] | None:
    """Rows and columns of what a patch changes, where they can be told without computing it."""
    if isinstance(patch, comfy.weight_adapter.LoRAAdapter):
        up, down, _, mid, _, reshape = patch.weights
        if mid is None and reshape is None:
            return up.shape[0], down[0].numel()
    elif isinstance(patch, tuple) and patch[0] in ("diff", "set"):
        return len(patch[1][0]), patch[1][0][0].numel()
    return None


def baker(model: Any | None, clip: Any | None, key_map: dict[str, PatchKey]) -> Bake | None:
    """A function that computes, by the host's own adapter, what an adapter adds to the base weight; None without a model.

    It raises ValueError for a layer that the model does not have.
    """
    if model is None:
        return None

    def bake(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        key = key_map.get(name)
        if not isinstance(key, str):
            raise ValueError(f"{name} is not a layer of the connected model, so its adapter cannot be baked in.")
        weight = base_weight(model if key.startswith("diffusion_model.") else clip, key)
        return _apply_layer(name, tensors, key, weight.clone()) - weight

    return bake


def apply_written(name: str, tensors: dict[str, torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    """The update that the host's own loader makes of one layer of a LoRA file, [shape], float32."""
    return _apply_layer(name, tensors, "weight", torch.zeros(shape))


def _apply_layer(name: str, tensors: dict[str, torch.Tensor], key: str, weight: torch.Tensor) -> torch.Tensor:
    """The weight after the host has applied the tensors of one layer, given by their endings, at strength 1."""
    named = {join_name(name, ending): tensor for ending, tensor in tensors.items()}
    patch = comfy.lora.load_lora(named, {name: key}, log_missing=False)[key]
    return comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weight, key)


class Target:
    """Clones of a model and a text encoder, to which LoRAs are applied."""

    def __init__(self, model: Any, clip: Any | None):
        self.model, self.clip = model.clone(), None if clip is None else clip.clone()
        self.key_map = lora_key_map(model, clip)
        self.model_weights = model_weights(model)
        self.clip_weights = {} if clip is None else model_weights(clip)

    def apply(self, entry: StackEntry, tensors: dict[str, torch.Tensor]) -> EntryReport:
        """Patch with one LoRA. Raises ValueError when it does not fit this model."""
        name, strength_model, strength_clip = entry
        blocks = parse_block_weights(entry.block_weights)
        match = match_lora(tensors, self.key_map)
        needs_clip = []
        if self.clip is None:
            needs_clip = [tensor for tensor in match.unmatched if adapter_names.is_text_encoder_name(tensor)]
        self._check_fit(name, tensors, match, needs_clip)
        on_model = add_weighted_patches(self.model, match.patches, strength_model, blocks, self.model_weights)
        on_clip = add_weighted_patches(self.clip, match.patches, strength_clip, blocks, self.clip_weights)
        switched_off = on_model.switched_off + on_clip.switched_off
        return EntryReport(
            entry,
            on_model.patched,
            on_clip.patched,
            switched_off,
            [tensor for tensor in match.unmatched if tensor not in set(needs_clip)],
            blocks.unused(on_model.patched + on_clip.patched + switched_off),
            needs_clip,
        )

    def _check_fit(self, name: str, tensors: dict, match: LoraMatch, needs_clip: list[str]) -> None:
        problem = first_misfit(match.patches, self.model_weights | self.clip_weights)
        unmatched = set(match.unmatched)
        for_model = [tensor for tensor in tensors if not adapter_names.is_text_encoder_name(tensor)]
        if for_model and unmatched.issuperset(for_model):
            problem = f"none of its {len(for_model)} tensors for the diffusion model matches"
        elif not match.patches and not needs_clip:
            problem = f"none of its {len(tensors)} tensors matches"
        if problem:
            raise ValueError(
                f"{name} does not fit this model: {problem}. It has {adapter_names.naming(tensors)}; the model is a "
                f"{type(self.model.model).__name__}. Choose a LoRA that was made for this kind of model."
            )
