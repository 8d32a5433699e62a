"""The weights of loaded models: as they are stored, without patches, or with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import torch

from ...delta.extraction.pair import Pair, compare
from ...delta.files.stored_weight import SIDE_ENDINGS, StoredWeight
from ...delta.linear_algebra.noise import arithmetic_variance, step_variance, stored_variance
from .gguf_weights import PackedWeight, packed_weight, plain_weight, true_shapes

# ComfyUI makes these where a file lacks them, and leaves what was in the memory.
UNSET = ("clip_l.logit_scale", "clip_l.transformer.text_projection.weight", "clip_h.logit_scale")

# The attachment of a patcher that holds the changes that are kept beside its weights; see `beside`.
KEPT = "styledelta_beside"
# Beside NVFP4 weights that were smoothed as AWQ does.
SMOOTHING = "pre_quant_scale"
# Of two numbers of 4 bits in a byte.
LOWEST_BITS = 0x11

PatchKey = str | tuple  # A weight's name, or (name, slice) for a part of a fused weight.
# The host's patch: strength, value, strength of the weight itself, (dim, start, length) of a part, order of its numbers.
Patch = tuple[float, Any, float, tuple[int, int, int] | None, Any]


def parts(key: PatchKey) -> tuple[str, tuple[int, int, int] | None, Callable | None]:
    """A key as the host's `add_patches` reads it: the weight, the part of it, what turns an update to its order."""
    if isinstance(key, str):
        return key, None, None
    return key[0], key[1], key[2] if len(key) > 2 else None


def parameter_count(model: Any) -> int:
    """The number of parameters of a MODEL's diffusion model."""
    return sum(math.prod(parameter.shape) for parameter in model.model.diffusion_model.parameters())


def module_classes(model: Any) -> dict[str, str]:
    """The class of every module of a MODEL's diffusion model by its path, as `norm_sites` takes them."""
    return {name: type(module).__name__ for name, module in model.model.diffusion_model.named_modules()}


def model_weights(patcher: Any) -> dict[str, torch.Tensor]:
    """The weights of a MODEL or CLIP by name, as they are stored; of those of GGUF the shapes alone."""
    model = getattr(patcher, "patcher", patcher).model
    return true_shapes(model, model.state_dict())


def base_weight(patcher: Any, key: str) -> torch.Tensor:
    """A weight as it was loaded, without patches, dequantised to float32, on the CPU."""
    if packed := packed_of(patcher, key):
        return packed.unpack(packed.stored.to("cpu"))
    stored, convert = stored_weight(patcher, key)
    weight = comfy.model_management.cast_to_device(stored, torch.device("cpu"), torch.float32, copy=True)
    # Older hosts dequantise to the dtype in which the model computes, whatever they are asked for.
    return (weight if convert is None else convert(weight, inplace=True)).detach().float()


def stored_weight(patcher: Any, key: str) -> tuple[torch.Tensor, Callable | None]:
    """A weight as it was loaded, in the form in which it is stored, and the function that dequantises it, as the host calls
    its own: with what it has copied, and `inplace`."""
    weight, convert = _attached(patcher, key)
    packed = packed_weight(key, weight)
    return (plain_weight(weight), convert) if packed is None else (packed.stored, packed.unpack)


def packed_of(patcher: Any, key: str) -> PackedWeight | None:
    """A weight that is stored in blocks of GGUF, as it was loaded; None for any other."""
    return packed_weight(key, _attached(patcher, key)[0])


def _attached(patcher: Any, key: str) -> tuple[torch.Tensor, Callable | None]:
    """As `stored_weight`, for what the model itself holds, of whatever class."""
    patcher = getattr(patcher, "patcher", patcher)
    weight, _, convert = comfy.model_patcher.get_key_weight(patcher.model, key)
    if key in patcher.object_patches or key in patcher.object_patches_backup:
        # Replaced as an object, by this clone or by another one that is loaded.
        weight = patcher.get_model_object(key)
    elif key in patcher.backup:
        weight = patcher.backup[key].weight
    return weight, convert


def kept(patcher: Any) -> dict[str, list[Patch]]:
    """The changes that a MODEL or CLIP keeps beside its weights, as the host's patches, by the weight."""
    return getattr(patcher, "patcher", patcher).get_attachment(KEPT) or {}


def patches_of(patcher: Any, key: str) -> list[Patch]:
    """All patches of a weight, as the host has them: those that it adds to the weight, and those kept beside it."""
    return [*patcher.patches.get(key, ()), *kept(patcher).get(key, ())]


def is_skipped(patcher: Any, key: str) -> bool:
    """Whether the host takes patches of this parameter and never applies them, as all versions seen do where a module
    owns parameters beside child modules that have some: Wan `modulation`, LTX `scale_shift_table`."""
    return is_skipped_in(getattr(patcher, "patcher", patcher).model, key)


def is_skipped_in(model: torch.nn.Module, key: str) -> bool:
    """As `is_skipped`, for the model of a patcher."""
    return any("." in name for name, _ in model.get_submodule(key.rpartition(".")[0]).named_parameters())


class LoadedWeights:
    """The weights of a MODEL and, if given, a CLIP with all their patches, one at a time: a source for extraction.

    modules: see `module_classes`; exact: names of the weights of which the other source has the same stored one: rounding of the storage cancels, and only
    that of the float32 arithmetic of patches remains.
    """

    def __init__(self, name: str, model: Any, clip: Any | None):
        self.name, self.architecture, self.exact = name, type(model.model).__name__, set()
        self.modules = module_classes(model)
        self.places = {key: (model, key) for key in _own_weights(model, "diffusion_model.")}
        if clip is not None:
            self.places |= {f"text_encoders.{key}": (clip.patcher, key) for key in _own_weights(clip.patcher, "")}
        self.shapes = {name: tuple(_attached(*place)[0].shape) for name, place in self.places.items()}

    def _variance(self, name: str, weight: torch.Tensor) -> float:
        """The mean variance of the rounding in a weight, of which this is the value without patches."""
        stored = _attached(*self.places[name])[0]
        if packed := packed_weight(name, stored):
            return packed.variance()
        stored = plain_weight(stored)
        if (steps := _next_steps(stored)) is not None:
            return step_variance(weight, steps)
        # Without the scales of a quantised one.
        return stored_variance(getattr(stored, "_qdata", stored).detach().cpu(), weight)

    def is_patched(self, name: str) -> bool:
        patcher, key = self.places[name]
        return bool(patches_of(patcher, key)) or key in patcher.object_patches

    def read(self, name: str) -> StoredWeight:
        """One weight in float32 on the CPU. Raises ValueError for NaN and infinite values, and for a type of GGUF that cannot
        be read."""
        patcher, key = self.places[name]
        if hasattr(patcher.model.get_submodule(key.rpartition(".")[0]), SMOOTHING):
            raise ValueError(
                f"{self.name}: {key} expects an input that is scaled first ({SMOOTHING}), so a LoRA made for it "
                "would do something else. Use a version of the model in another format."
            )
        weight = base_weight(patcher, key)
        variance = 0.0 if name in self.exact else self._variance(name, weight)
        patches = [] if is_skipped(patcher, key) else patches_of(patcher, key)
        if patches:
            weight = comfy.lora.calculate_weight(patches, weight, key)
            if name in self.exact:
                # Each patch is added with the rounding of float32.
                variance = len(patches) * arithmetic_variance(weight)
        if not torch.isfinite(weight).all():
            raise ValueError(f"{self.name}: {key} holds NaN or infinite values. Use another copy of the model.")
        return StoredWeight(weight, variance)


def _next_steps(stored: torch.Tensor) -> torch.Tensor | None:
    """A weight dequantised by the host from other numbers, each one step off, where it holds two numbers of 4 bits in a byte
    and is not NVFP4, whose steps are known; None for others."""
    numbers = getattr(stored, "_qdata", None)
    if numbers is None or numbers.shape == stored.shape or numbers.is_floating_point() or "NVFP4" in stored._layout_cls:
        return None
    others = stored._copy_with(qdata=numbers ^ LOWEST_BITS)
    return comfy.model_management.cast_to_device(others.dequantize(), torch.device("cpu"), torch.float32)


def _own_weights(patcher: Any, prefix: str) -> list[str]:
    """The names of the parameters behind a prefix, without the scales of quantised ones and what no file may have set."""
    names = (name for name, _ in patcher.model.named_parameters())
    return [name for name in names if name.startswith(prefix) and not name.endswith((*SIDE_ENDINGS, *UNSET))]


def loaded_pair(model: Any, base_model: Any, clip: Any | None, base_clip: Any | None) -> Pair:
    """The weights of two MODELs and, where both are given, two CLIPs.

    Where the two are one stored model with other patches, only what the patches change is compared. Raises ValueError
    for models of different kinds.
    """
    if (clip is None) != (base_clip is None):
        raise ValueError("One CLIP is connected. Connect clip and base_clip, or neither.")
    tuned, base = LoadedWeights("tuned model", model, clip), LoadedWeights("base model", base_model, base_clip)
    pair = compare(tuned, base)
    tuned.exact = base.exact = {n for n in pair.names if tuned.places[n][0].model is base.places[n][0].model}
    same = {name for name in tuned.exact if not (tuned.is_patched(name) or base.is_patched(name))}
    return pair._replace(names=[name for name in pair.names if name not in same])
