"""The tensors of a loaded model as they are stored, with its patches beside them."""

from __future__ import annotations

from typing import Any

import torch

from ...delta.families.registry import DENOISER
from .gguf_weights import STAND_IN, PackedWeight
from .quantised import StoredTensors, is_side
from .weights import KEPT, is_skipped, kept, packed_of, patches_of, stored_weight

# What a MODEL may carry that changes its weights and is none of its patches.
CARRIED = {
    "injections": "injected layers, such as LoRAs applied by bypass: apply them baked into the weights",
    "hook_patches": "LoRAs of hooks, which change while sampling: apply them with Apply LoRA Stack",
    "weight_wrapper_patches": "wrapped weights: leave out the node that wraps them",
}


class LoadedTensors:
    """The tensors of a MODEL and, if given, a CLIP, as they are stored without patches, by the host's names.

    owners: the patcher and its name of each tensor; packed: the weights of GGUF, whose tensors are bytes.
    """

    def __init__(self, model: Any, clip: Any | None):
        self.owners: dict[str, tuple[Any, str]] = {}
        self.packed: dict[str, PackedWeight] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self._add(model, model.model.diffusion_model, DENOISER)
        if clip is not None:
            self._add(clip.patcher, clip.cond_stage_model, "")
        types = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors.items()}
        layers = getattr(model.model.model_config, "layer_quant_config", None) or {}
        self.stored = StoredTensors("the model", types, self._read, layers)

    def _add(self, patcher: Any, module: torch.nn.Module, prefix: str) -> None:
        _refuse_carried(patcher)
        parameters = {name for name, _ in patcher.model.named_parameters()}
        for name, tensor in module.state_dict().items():
            key = prefix + name
            if name.endswith(STAND_IN):
                continue
            found = {key: tensor}
            if key in parameters and not is_side(key):
                # A loaded model may hold the patched weight in its place.
                stored = stored_weight(patcher, key)[0]
                found = _plain_tensors(key, stored)
                self.owners[key] = patcher, key
                if packed := packed_of(patcher, key):
                    self.packed[key] = packed
            elif key in self.tensors:
                continue
            self.tensors |= {each: value.detach() for each, value in found.items()}

    def _read(self, name: str) -> torch.Tensor:
        return self.tensors[name].cpu()

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self.packed:
            return self.packed[name].shape
        patcher, key = self.owners[name]
        return tuple(stored_weight(patcher, key)[0].shape)

    def is_numbers(self, name: str) -> bool:
        """Whether a weight stands for numbers that a float type can hold."""
        is_float = self.stored.types[name][0].is_floating_point
        return is_float or name in self.packed or bool(self.stored.sides(name))

    def kinds(self) -> str:
        """The types of GGUF among the weights."""
        return ", ".join(sorted({weight.kind for weight in self.packed.values()}))

    def patches(self, name: str) -> list:
        """The patches of a weight that the host applies, and those that are kept beside it."""
        if name not in self.owners:
            return []
        patcher, key = self.owners[name]
        return [] if is_skipped(patcher, key) else patches_of(patcher, key)

    def never_applied(self) -> list[str]:
        """The weights of which the host takes patches and never applies them."""
        owners = self.owners.items()
        return [name for name, (patcher, key) in owners if key in patcher.patches and is_skipped(patcher, key)]


def _plain_tensors(name: str, stored: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors of a weight that the host keeps quantised, by the names of files; any other as it is."""
    if not hasattr(stored, "_qdata"):
        return {name: stored}
    if hasattr(stored, "state_dict"):
        return stored.state_dict(name)
    return {name: stored._qdata, f"{name}_scale": stored._layout_params["scale"]}


def _refuse_carried(patcher: Any) -> None:
    # What the pack itself keeps beside weights of few bits is known as patches.
    own = {KEPT, *kept(patcher)}
    for attribute, remedy in CARRIED.items():
        if any(found for name, found in getattr(patcher, attribute, {}).items() if name not in own):
            raise ValueError(
                f"The model carries changes that a weights file cannot hold: {remedy}. Nothing was written."
            )
