"""LoRAs in the host: read from its folders, matched to a model's weights, and as patches of its own adapters."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.lora
import comfy.lora_convert
import comfy.weight_adapter
import torch

from ...delta.blocks.paths import weight_path
from ...delta.blocks.rules import BlockWeights, parse_block_weights
from ...delta.files import adapter_names, file_kinds, tensor_files
from ...delta.lora.adapter_sizes import misfit
from ...delta.lora.adapters import ROW_OFFSET, NeedsBaseError, join_name, kronecker_size
from ...delta.lora.file import Bake, LoraModel
from ...delta.lora.save import NameProof, Prove
from ...delta.lora.stack import EntryReport, Rounding, StackEntry, read_stack
from . import beside
from . import names as host_names
from .adapters import by_endings
from .folders import file_path, stamp_of
from .lora_files import check_stack
from .names import LoraMatch, lora_key_map, match_lora
from .patches import Applied, add_weighted_patches
from .rounding import rounding_of
from .weights import PatchKey, base_weight, model_weights, parts

CACHED_BYTES = 2_000_000_000


class _FileCache:
    """The adapter files used last, by path, as long as their stamps stay the same."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.files: OrderedDict[str, tuple[str, LoraModel]] = OrderedDict()

    def read(self, path: str, name: str) -> LoraModel:
        stamp = stamp_of(path)
        if self.files.get(path, (None,))[0] != stamp:
            self.files[path] = stamp, LoraModel(*tensor_files.read_tensors(path), name)
        self.files.move_to_end(path)
        while len(self.files) > 1 and sum(map(_bytes, self.files.values())) > self.capacity:
            self.files.popitem(last=False)
        return self.files[path][1]


def _bytes(kept: tuple[str, LoraModel]) -> int:
    return sum(tensor.nbytes for tensor in kept[1].values())


_adapter_files = _FileCache(CACHED_BYTES)


def read_adapter(name: str) -> LoraModel:
    """A LoRA file in models/loras: its tensors, with its metadata and name.

    Raises FileNotFoundError, or ValueError when the file is damaged, holds NaN, or is no LoRA.
    """
    tensors = _adapter_files.read(file_path("loras", name), name)
    if not adapter_names.is_adapter(tensors):
        raise ValueError(f"{name} is not a LoRA; it is {file_kinds.kind_of(tensors)}. Choose a LoRA file.")
    return tensors


def as_lora_model(tensors: dict[str, torch.Tensor]) -> LoraModel:
    """A LORA_MODEL of any node with metadata and a name, in the names that the host gives some trainers' files.

    Core's own LORA_MODEL is a plain state dict.
    """
    given = tensors if isinstance(tensors, LoraModel) else LoraModel(tensors)
    return LoraModel(comfy.lora_convert.convert_lora(dict(given)), given.metadata, given.name)


def stack_models(stack: list) -> list[tuple[LoraModel, float, float, str]]:
    """The files of a LORA_STACK with their strengths and block rules; none for an empty stack."""
    entries = read_stack(stack)
    check_stack(entries)
    return [(as_lora_model(read_adapter(entry[0])), entry[1], entry[2], entry.block_weights) for entry in entries]


def first_misfit(patches: dict[PatchKey, Any], weights: dict[str, torch.Tensor]) -> str | None:
    """A sentence about the first patch that the host would not apply to its weight, or None.

    The host would only log it and go on. Weights stored in a packed form are left to the host.
    """
    for key, patch in patches.items():
        name = key if isinstance(key, str) else key[0]
        weight = weights.get(name)
        if weight is None or not weight.is_floating_point():
            continue
        problem, shape = _misfit(patch, key, tuple(weight.shape))
        if problem is not None:
            return f"{name} is {shape} in the model, but {problem}"
    return None


def why_unfit(
    tensors: Mapping[str, torch.Tensor],
    match: LoraMatch,
    weights: dict[str, torch.Tensor],
    needs_clip: Sequence[str],
) -> str | None:
    """Why a LoRA does not fit a model's weights, or None. needs_clip: its tensors for a text encoder that is not there."""
    unmatched = set(match.unmatched)
    for_model = [tensor for tensor in tensors if not adapter_names.is_text_encoder_name(tensor)]
    if for_model and unmatched.issuperset(for_model):
        return f"none of its {len(for_model)} tensors for the diffusion model matches"
    if not match.patches and not needs_clip:
        return f"none of its {len(tensors)} tensors matches"
    return first_misfit(match.patches, weights)


def prover(model: Any | None, clip: Any | None) -> Prove:
    """As `names.prover`, which also raises ValueError for updates that are read and do not fit the connected model."""
    prove = host_names.prover(model, clip)
    if model is None:
        return prove
    key_map = host_names.host_key_map(model, clip)
    weights = model_weights(model) | ({} if clip is None else model_weights(clip))

    def prove_and_fit(tensors: dict[str, torch.Tensor]) -> NameProof:
        proof = prove(tensors)
        problem = None if proof.unread else first_misfit(match_lora(dict(tensors), key_map).patches, weights)
        if problem is not None:
            raise ValueError(
                f"The LoRA does not fit the connected model: {problem}. Nothing was kept. Connect the model that it is for."
            )
        return proof

    return prove_and_fit


def _misfit(patch: Any, key: PatchKey, shape: tuple[int, ...]) -> tuple[str | None, tuple[int, ...]]:
    """Why the host would not apply a patch to a weight of this shape, if so; and the shape of the part that it is for."""
    offset = _offset(key)
    if offset is not None:
        dim, start, length = offset
        if start + length > shape[dim]:
            return f"the LoRA is for its rows {start} to {start + length}", shape
        shape = (*shape[:dim], length, *shape[dim + 1 :])
    if isinstance(patch, comfy.weight_adapter.WeightAdapterBase):
        tensors = _by_endings(patch, key, shape)
        return (None if tensors is None else misfit(tensors, shape) or _failure(patch, tensors, shape)), shape
    if isinstance(patch, tuple) and patch[0] in ("diff", "set") and len(patch[1]) == 1 and patch[1][0].shape != shape:
        return f"the LoRA's change is {' x '.join(map(str, patch[1][0].shape))}", shape
    return None, shape


def _offset(key: PatchKey) -> tuple[int, int, int] | None:
    """(dim, start, length) of the part of a fused weight that a patch is for; None for the whole weight."""
    return None if isinstance(key, str) else key[1]


def _by_endings(patch: Any, key: PatchKey, shape: tuple[int, ...]) -> dict[str, torch.Tensor] | None:
    """As `adapters.by_endings`, with the row of a weight at which a part of a fused LoKr begins."""
    tensors = by_endings(patch)
    if tensors is not None and patch.name == "lokr":
        offset = _row_offset(patch, key, kronecker_size("The LoRA", tensors), shape)
        tensors |= {} if offset is None else {ROW_OFFSET: torch.tensor(offset)}
    return tensors


def _row_offset(patch: Any, key: PatchKey, size: tuple[int, int], shape: tuple[int, ...]) -> int | None:
    """Where the rows of a part of a fused LoKr begin. Hosts before 0.38 know no parts."""
    given = getattr(patch, "row_offset", None)
    host_rule = vars(comfy.weight_adapter.lokr).get("fused_qkv_row_offset")
    if given is not None or host_rule is None or size[0] == shape[0]:
        return given
    by_weight = host_rule(*size, key if isinstance(key, str) else key[0], shape[0])
    return host_rule(*size, patch.key or "") if by_weight is None else by_weight


def _failure(patch: Any, tensors: dict[str, torch.Tensor], shape: tuple[int, ...]) -> str | None:
    """What the host says of an adapter that fits but cannot be computed, in the two cases where that was seen: a LoKr with
    a Tucker core, and a BOFT without an alpha."""
    if (patch.name == "lokr" and "lokr_t2" in tensors) or (patch.name == "boft" and "alpha" not in tensors):
        with errors_logged() as errors:
            patch.calculate_weight(torch.zeros(shape), "weight", 1.0, 1.0, None, lambda update: update)
        if errors:
            return f"ComfyUI cannot apply the LoRA's {patch.name} to it ({errors[0]}); Resize LoRA converts it"
    return None


def baker(model: Any | None, clip: Any | None, key_map: dict[str, PatchKey]) -> Bake | None:
    """A function that computes, by the host's own adapter, what an adapter adds to the base weight; None without a model.

    Of a part of a fused weight it is what is added to that part, as a file that names the part holds it. It raises
    NeedsBaseError for a layer that the model does not have, and ValueError where the host fails.
    """
    if model is None:
        return None

    def bake(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        key = key_map.get(name)
        if key is None:
            raise NeedsBaseError(f"{name} is not a layer of the connected model, so its adapter cannot be baked in.")
        whole, offset, function = parts(key)
        weight = base_weight(model if whole.startswith("diffusion_model.") else clip, whole)
        part = weight if offset is None else weight.narrow(*offset)
        changed = _apply_layer(name, tensors, whole, part.clone(), function)
        if changed.shape != part.shape:
            raise ValueError(
                f"{name} pads its weight, so its adapter cannot be baked in. Apply the LoRA with Apply LoRA."
            )
        update = changed - part
        return update if function is None else _undone(name, update, function)

    return bake


def _undone(name: str, update: torch.Tensor, function: Callable) -> torch.Tensor:
    """The update that the host's function turns into this one. Those seen swap two halves, and undo themselves."""
    before = function(update)
    if not torch.equal(function(before), update):
        raise ValueError(
            f"{name} is stored in a different order from its weight, which cannot be undone, so its adapter cannot "
            "be baked in."
        )
    return before


def apply_written(name: str, tensors: dict[str, torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    """The update that the host's own loader makes of one layer of a LoRA file, [shape], float32."""
    return _apply_layer(name, tensors, "weight", torch.zeros(shape))


def _apply_layer(
    name: str, tensors: dict[str, torch.Tensor], key: str, weight: torch.Tensor, function: Callable | None = None
) -> torch.Tensor:
    """The weight after the host has applied the tensors of one layer, given by their endings, at strength 1.

    Raises ValueError where the host makes nothing of them, or fails, which it only logs.
    """
    named = {join_name(name, ending): tensor for ending, tensor in tensors.items()}
    patch = comfy.lora.load_lora(named, {name: key}, log_missing=False).get(key)
    if patch is None:
        raise ValueError(f"{name} has {', '.join(tensors)}, from which ComfyUI makes no update. Use another copy.")
    with errors_logged() as errors:
        changed = comfy.lora.calculate_weight([(1.0, patch, 1.0, None, function)], weight, key)
    if errors:
        raise ValueError(f"{name} cannot be applied by ComfyUI: {errors[0]}")
    return changed


class _Errors(logging.Handler):
    """Remembers what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def errors_logged() -> Iterator[list[str]]:
    """What the host logs as errors meanwhile."""
    handler = _Errors()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.messages
    finally:
        logging.getLogger().removeHandler(handler)


class Target:
    """Clones of a model and a text encoder, to which LoRAs are applied. mode: of `beside`, for quantised weights."""

    def __init__(self, model: Any, clip: Any | None, mode: str = beside.AUTOMATIC):
        beside.check_mode(mode)
        self.mode = mode
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
        on_model, *of_model = self._patch(self.model, match.patches, strength_model, blocks, self.model_weights)
        on_clip, *of_clip = self._patch(self.clip, match.patches, strength_clip, blocks, self.clip_weights)
        switched_off = on_model.switched_off + on_clip.switched_off
        return EntryReport(
            entry,
            on_model.patched,
            on_clip.patched,
            switched_off,
            [tensor for tensor in match.unmatched if tensor not in set(needs_clip)],
            blocks.unused(on_model.patched + on_clip.patched + switched_off),
            needs_clip,
            *(list(filter(None, rows)) for rows in zip(of_model, of_clip)),
        )

    def _patch(
        self, patcher: Any, patches: dict, strength: float, blocks: BlockWeights, names: Container[str]
    ) -> tuple[Applied, Rounding | None, Rounding | None]:
        """Patch one of the two; what baking would cost what is kept beside quantised weights, and what it costs the rest."""
        before = None if patcher is None else patcher.clone()
        applied = add_weighted_patches(patcher, patches, strength, blocks, names, self.mode)

        def strength_at(key: PatchKey) -> float:
            return strength * blocks.factor(weight_path(parts(key)[0]))

        return applied, *(rounding_of(before, patches, strength_at, keys) for keys in (applied.kept, applied.rounded))

    def _check_fit(self, name: str, tensors: dict, match: LoraMatch, needs_clip: list[str]) -> None:
        problem = why_unfit(tensors, match, self.model_weights | self.clip_weights, needs_clip)
        if problem:
            raise ValueError(
                f"{name} does not fit this model: {problem}. It has {adapter_names.naming(tensors)}; the model is a "
                f"{type(self.model.model).__name__}. Choose a LoRA that was made for this kind of model."
            )
