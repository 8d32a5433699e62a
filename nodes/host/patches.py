"""Patches of weights that every host really applies, and the weights that result.

ComfyUI, in all versions seen, takes patches of parameters that a module owns beside child modules (Wan `modulation`, LTX
`scale_shift_table`) and never applies them. Those are replaced as objects of the clone instead.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import comfy.lora
import comfy.utils
import torch
from comfy.patcher_extension import CallbacksMP

from ...delta.blocks.paths import weight_path
from ...delta.blocks.rules import BlockWeights
from . import beside, weights

CALLBACK = "styledelta_verify"


def add_patches(
    patcher: Any, patches: Mapping[weights.PatchKey, Any], strength: float, mode: str = beside.AUTOMATIC
) -> set[weights.PatchKey]:
    """Add the host's patches to a cloned MODEL or CLIP, also those of parameters that the host would skip.

    mode: of `beside`, for weights that are stored in few bits. Returns what was not rounded to the weight's own format.
    """
    patcher = getattr(patcher, "patcher", patcher)
    kept = {key for key in patches if beside.is_kept(patcher, key, mode)}
    skipped = {key for key in patches if isinstance(key, str) and _is_replaced(patcher, key, mode)}
    if kept:
        beside.keep(patcher, {key: patches[key] for key in kept}, strength)
    patcher.add_patches({key: patch for key, patch in patches.items() if key not in kept | skipped}, strength)
    for key in skipped:
        value = comfy.lora.calculate_weight(
            [(strength, patches[key], 1.0, None, None)], weights.base_weight(patcher, key), key
        )
        replace(patcher, key, value)
    _verify_after_loading(patcher)
    return kept | skipped


def _is_replaced(patcher: Any, key: str, mode: str) -> bool:
    """Whether a parameter is replaced instead of patched: the host skips it, or would round its change to 8 bits."""
    if weights.is_skipped(patcher, key):
        return True
    stored = patcher.get_model_object(key)
    return mode != beside.BAKE and stored.ndim == 1 and stored.dtype.itemsize == 1


class Applied(NamedTuple):
    """Paths of the weights that a patcher took, and of those that the block weights switched off; the names of what is
    stored in few bits: kept beside the weight, or baked into it."""

    patched: list[tuple[str, ...]]
    switched_off: list[tuple[str, ...]]
    kept: list[weights.PatchKey]
    rounded: list[weights.PatchKey]


def add_weighted_patches(
    patcher: Any,
    patches: dict[weights.PatchKey, Any],
    strength: float,
    blocks: BlockWeights,
    names: Container[str],
    mode: str = beside.AUTOMATIC,
) -> Applied:
    """Add patches to a cloned MODEL or CLIP, each with strength times the factor of its block.

    `names` are the weights of this patcher; patches of other weights are left alone.
    """
    by_factor: dict[float, list[tuple[tuple[str, ...], weights.PatchKey]]] = {}
    for key in patches:
        name = key if isinstance(key, str) else key[0]
        if name in names:
            path = weight_path(name)
            by_factor.setdefault(blocks.factor(path), []).append((path, key))
    patched, off, kept, rounded = [], [], [], []
    for factor, group in by_factor.items():
        paths = [path for path, _ in group]
        if strength * factor == 0:
            off += paths
        else:
            wide = add_patches(patcher, {key: patches[key] for _, key in group}, strength * factor, mode)
            narrow = [key for _, key in group if beside.format_of(patcher, key) is not None]
            kept += [key for key in narrow if key in wide]
            rounded += [key for key in narrow if key not in wide]
            patched += paths
    return Applied(patched, off, kept, rounded)


def replace(patcher: Any, key: str, value: torch.Tensor) -> None:
    """Put a value in place of a parameter while this clone is loaded."""
    stored = patcher.get_model_object(key)
    dtype = torch.float32 if stored.dtype.itemsize == 1 else stored.dtype
    patcher.add_object_patch(key, torch.nn.Parameter(value.to(dtype), requires_grad=False))


def _verify_after_loading(patcher: Any) -> None:
    patcher.remove_callbacks_with_key(CallbacksMP.ON_LOAD, CALLBACK)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, CALLBACK, _verify)


def _verify(patcher: Any, *_: Any) -> None:
    """After loading: every promised parameter moved, or sampling fails."""
    promised = (key for key, value in patcher.object_patches.items() if isinstance(value, torch.nn.Parameter))
    missing = [key for key in promised if not _is_there(patcher, key)]
    if missing:
        raise RuntimeError(
            f"{missing[0]} and {len(missing) - 1} more parameters were not replaced when the model was loaded. Another node "
            "replaces the same parameters: remove one of the two."
        )
    for key in _left_out(patcher):
        patcher.patch_weight_to_device(key)


def _is_there(patcher: Any, key: str) -> bool:
    """Whether a parameter is the promised one. Dynamic VRAM puts a copy on the device in its place, and remembers the
    promised one as what the model had before, which it would give the next clone."""
    held, promised = comfy.utils.get_attr(patcher.model, key), patcher.object_patches[key]
    if held is promised or not beside.is_dynamic(patcher):
        return held is promised
    patcher.backup.pop(key, None)
    return held.shape == promised.shape and torch.equal(held.to(promised), promised.to(held.dtype).to(promised))


def _left_out(patcher: Any) -> list[str]:
    """Patched parameters that the host left as they were because the model did not fit: those of modules that cannot cast
    their weights, such as the norms of query and key of Flux on older hosts."""
    if beside.is_dynamic(patcher):
        return []
    return [
        key
        for key in patcher.patches
        if key not in patcher.backup
        and not weights.is_skipped(patcher, key)
        and not hasattr(patcher.model.get_submodule(key.rpartition(".")[0]), "comfy_cast_weights")
    ]


def swap_weights(patcher: Any, other: Any, amounts: Mapping[str, float]) -> None:
    """Move weights of a cloned MODEL towards those of another MODEL, patches included: by 1 they are the other's.

    The other's weights are not copied; the host reads them when it loads the clone.
    """
    beside.bake(patcher, [name for name in amounts if name in weights.kept(patcher)])
    for amount in sorted(set(amounts.values())):
        names = [name for name, value in amounts.items() if value == amount]
        theirs = {name: _patch_to(other, name) for name in names}
        for name in [name for name in names if weights.is_skipped(patcher, name)]:
            step = [(amount, theirs.pop(name), 1 - amount, None, None)]
            replace(patcher, name, comfy.lora.calculate_weight(step, weights.base_weight(patcher, name), name))
        patcher.add_patches(theirs, amount, 1 - amount)
    _verify_after_loading(patcher)


def _patch_to(other: Any, name: str) -> Any:
    """A weight with its patches, as the host takes it in place of a patch."""
    if weights.is_skipped(other, name):
        return ("diff", (weights.base_weight(other, name),))
    stored, convert = weights.stored_weight(other, name)
    return [(stored, convert or _as_it_is), *weights.patches_of(other, name)]


def _as_it_is(weight: torch.Tensor, **_: Any) -> torch.Tensor:
    return weight
