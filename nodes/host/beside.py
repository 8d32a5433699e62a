"""Changes of weights that are stored in few bits, kept beside them.

ComfyUI adds a LoRA to the dequantised weight and rounds the sum to the weight's format again, up or down by chance: of a
small LoRA little is left. Here the weight stays as it is stored, and the change is made each time the layer runs:
- by a branch (`delta.lora.branches`) that adds its part to the layer's output, from a forward hook;
- where an adapter has no branch, by adding to the dequantised weight, from the host's own weight wrappers;
- a parameter of one dimension is kept in float32 instead (`patches.replace`).

A patcher's attachment holds all its changes, as the host's patches; the hooks and wrappers are made of it. ComfyUI's own
bypass (since 0.10) is not used: it knows one LoRA, drops the scale of a DoRA and slices of fused weights, and its hooks,
taken out in the order in which they were put in, leave each other behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import comfy.weight_adapter
import torch
from comfy.patcher_extension import PatcherInjection
from comfy.quant_ops import QuantizedTensor

from ...delta.lora.branches import Branch, Kernel, Part, branch_of
from . import adapters, weights

MODES = AUTOMATIC, BYPASS, BAKE = "automatic", "bypass", "bake"
CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d")
# A function of newer hosts that runs a quantised layer without calling it, so that no hook of the layer is called.
UNCALLED = "linear_input_act"
# Dynamic VRAM gives smaller modules no weight wrappers (ModelPatcherDynamic.load).
SMALL_BYTES = 16 * 1024

Changes = Mapping[str, Sequence[weights.Patch]]


def check_mode(mode: str) -> None:
    """Raise ValueError for what is none of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"There is no mode {mode!r} for quantised weights. Choose one of: {', '.join(MODES)}.")


def stored_format(weight: torch.Tensor) -> str | None:
    """The name of the format of few bits that a weight is stored in, None for plain numbers of 16 bits and more."""
    if isinstance(weight, QuantizedTensor):
        layout = getattr(weight, "_layout_cls", None) or weight._layout_type
        name = layout if isinstance(layout, str) else layout.__name__
        return name.removeprefix("TensorCore").removeprefix("TensorWise").removesuffix("Layout")
    if weight.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        return str(weight.dtype).removeprefix("torch.")
    return None


def format_of(patcher: Any, key: weights.PatchKey) -> str | None:
    """As `stored_format`, of a weight of a patcher."""
    return stored_format(comfy.utils.get_attr(getattr(patcher, "patcher", patcher).model, weights.parts(key)[0]))


def is_dynamic(patcher: Any) -> bool:
    """Whether the host casts and patches weights as they are used (dynamic VRAM), which older ones cannot."""
    return hasattr(patcher, "is_dynamic") and patcher.is_dynamic()


def is_kept(patcher: Any, key: weights.PatchKey, mode: str) -> bool:
    """Whether a change of this weight is to be kept beside it, and can be."""
    path, _, last = weights.parts(key)[0].rpartition(".")
    module = patcher.model.get_submodule(path)
    stored = getattr(module, last)
    if last != "weight" or stored.ndim < 2 or not _is_layer(module):
        return False
    if mode == BAKE:
        # The host would add a change of the true weight to one whose columns are divided by this scale (AWQ).
        return hasattr(module, weights.SMOOTHING)
    if mode == AUTOMATIC and stored_format(stored) is None:
        return False
    return not is_dynamic(patcher) or comfy.model_management.module_size(module) > SMALL_BYTES


def keep(patcher: Any, patches: Mapping[weights.PatchKey, Any], strength: float) -> None:
    """Keep patches of a cloned MODEL or CLIP beside its weights."""
    changes = {name: list(rows) for name, rows in weights.kept(patcher).items()}
    for key, patch in patches.items():
        name, offset, function = weights.parts(key)
        changes.setdefault(name, []).append((strength, patch, 1.0, offset, function))
    _install(patcher, changes)


def bake(patcher: Any, names: Sequence[str]) -> None:
    """Make patches of what a cloned MODEL or CLIP keeps beside these weights."""
    patcher = getattr(patcher, "patcher", patcher)
    changes = dict(weights.kept(patcher))
    for name in names:
        for strength, patch, own, offset, function in changes.pop(name, ()):
            patcher.add_patches({name if offset is None else (name, offset, function): patch}, strength, own)
    if len(changes) < len(weights.kept(patcher)):
        _install(patcher, changes)


def _install(patcher: Any, changes: Changes) -> None:
    """Let a patcher make exactly these changes beside its weights."""
    branches = {name: _branches(patcher, name, rows) for name, rows in changes.items()}
    hooked = {name.rpartition(".")[0]: found for name, found in branches.items() if found}
    wrapped = {name: rows for name, rows in changes.items() if not branches[name]}
    if changes:
        patcher.set_attachments(weights.KEPT, dict(changes))
        patcher.set_injections(weights.KEPT, [_injection(hooked)])
        patcher.set_additional_models(weights.KEPT, [_as_model(patcher, hooked)] if hooked else [])
    else:
        patcher.remove_attachments(weights.KEPT)
        patcher.remove_injections(weights.KEPT)
        patcher.remove_additional_models(weights.KEPT)
    wrappers = patcher.weight_wrapper_patches
    for name in changes.keys() | {name for name, functions in wrappers.items() if any(map(_is_ours, functions))}:
        others = [function for function in wrappers.get(name, []) if not _is_ours(function)]
        ours = [_Added(name, wrapped[name], _input_scale(patcher, name))] if name in wrapped else []
        wrappers[name] = others + ours
        if not wrappers[name]:
            del wrappers[name]
    # The host loads a model anew, wrappers included, only when its patches are others.
    patcher.add_patches({})


class _Added:
    """Adds changes to a dequantised weight. scale: what the layer multiplies the weight's columns with later on."""

    def __init__(self, name: str, rows: Sequence[weights.Patch], scale: torch.Tensor | None):
        self.name, self.rows, self.scale = name, list(rows), scale

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        true = weight.to(torch.float32, copy=True)
        scale = None if self.scale is None else self.scale.to(true)
        if scale is not None:
            true *= scale
        changed = comfy.lora.calculate_weight(self.rows, true, self.name)
        return (changed if scale is None else changed / scale).to(weight.dtype)


def _is_ours(function: Any) -> bool:
    return isinstance(function, _Added)


def _input_scale(patcher: Any, name: str) -> torch.Tensor | None:
    """What a layer multiplies its input with, or its whole weight after the wrappers (0.3.75's scaled fp8)."""
    module = patcher.model.get_submodule(name.rpartition(".")[0])
    scales = (getattr(module, scale, None) for scale in (weights.SMOOTHING, "scale_weight"))
    return next((scale.detach() for scale in scales if scale is not None), None)


def _is_layer(module: torch.nn.Module) -> bool:
    """Whether a module is one of the host's own linear layers or plain convolutions, whose forward is known."""
    kind = type(module).__name__
    if type(module).__module__ != "comfy.ops" or not hasattr(module, "weight_function"):
        return False
    return kind == "Linear" or (kind in CONVOLUTIONS and module.padding_mode == "zeros")


def _branches(patcher: Any, name: str, rows: Sequence[weights.Patch]) -> list[Branch]:
    """The branches of all changes of a weight, in their order; none where one has no branch, as the order counts then."""
    path = name.rpartition(".")[0]
    module = patcher.model.get_submodule(path)
    kernel = _kernel(module)
    if kernel is None or _runs_uncalled(patcher.model, path):
        return []
    found = [_branch(module, kernel, *row) for row in rows]
    return [] if None in found else found


def _kernel(module: torch.nn.Module) -> Kernel | None:
    """How a layer slides; None for a convolution of groups, of which low-rank factors are no convolutions."""
    if type(module).__name__ == "Linear":
        return Kernel()
    if module.groups != 1 or isinstance(module.padding, str):
        return None
    return Kernel(module.stride, module.padding, module.dilation)


def _runs_uncalled(model: torch.nn.Module, path: str) -> bool:
    """Whether a module above may run this layer by that function. Its own code says whether it knows the function."""
    if not hasattr(comfy.ops, UNCALLED):
        return False
    names = path.split(".")
    above = [model.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
    codes = (getattr(type(module).forward, "__code__", None) for module in above)
    return any(code is not None and UNCALLED in code.co_names for code in codes)


def _branch(module: torch.nn.Module, kernel: Kernel, *patch: Any) -> Branch | None:
    strength, value, own, offset, function = patch
    if not isinstance(value, comfy.weight_adapter.WeightAdapterBase) or own != 1.0 or function is not None:
        return None
    shape = (
        [module.out_features, module.in_features] if type(module).__name__ == "Linear" else list(module.weight.shape)
    )
    if offset is not None:
        shape[offset[0]] = offset[2]
    tensors = adapters.by_endings(value)
    return tensors and branch_of(tensors, strength, tuple(shape), kernel, None if offset is None else Part(*offset))


def _as_model(patcher: Any, branches: Mapping[str, Sequence[Branch]]) -> Any:
    """The factors of all branches as a model beside the patcher's, which the host moves to the device with it."""
    held = torch.nn.ModuleList([branch for found in branches.values() for branch in found])
    kind = vars(comfy.model_patcher).get("CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(held, load_device=patcher.load_device, offload_device=patcher.offload_device)


def _injection(branches: Mapping[str, Sequence[Branch]]) -> PatcherInjection:
    """Hooks on the modules of the patcher that is loaded; clones share the injection, and the model has one of them at a time."""
    handles: list[torch.utils.hooks.RemovableHandle] = []

    def eject(_patcher: Any) -> None:
        while handles:
            handles.pop().remove()

    def inject(patcher: Any) -> None:
        eject(patcher)
        for path, found in branches.items():
            module = patcher.model.get_submodule(path)
            handles.append(module.register_forward_hook(partial(_add, found), with_kwargs=True))

    return PatcherInjection(inject, eject)


def _add(
    branches: Sequence[Branch], _module: torch.nn.Module, given: tuple, named: Mapping[str, Any], outputs: torch.Tensor
) -> torch.Tensor:
    inputs = given[0] if given else named["input"]
    if isinstance(inputs, QuantizedTensor):
        inputs = inputs.dequantize()
    for branch in branches:
        outputs = branch(inputs, outputs)
    return outputs
