"""The host's side: model folders, devices, progress and cancel, saving, and LoRA patches.

Only this module and its siblings host_*.py call comfy.* and folder_paths.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.model_patcher
import comfy.utils
import comfy.weight_adapter
import folder_paths
import torch
from server import PromptServer

from ..delta.extraction.extract import Pair, compare
from ..delta.families import norm_sites
from ..delta.files import adapter_names, file_kinds, tensor_files
from ..delta.files.stored_weight import SIDE_ENDINGS, StoredWeight
from ..delta.linear_algebra.noise import arithmetic_variance, stored_variance
from ..delta.lora.adapters import join_name
from ..delta.lora.file import Bake, LoraModel
from ..delta.lora.stack import read_stack

STYLE_NETWORKS = "style_networks"
CONTROL_NETS = "controlnet"
STYLE_VECTORS = "style_vectors"
FEATURE_STATISTICS = "feature_statistics"
CACHED_BYTES = 2_000_000_000
# Seconds after which the rest of a long run is estimated, and between two estimates.
TOLD_AFTER, TOLD_EVERY = 3.0, 1.0
# ComfyUI makes these where a file lacks them, and leaves what was in the memory.
UNSET = ("clip_l.logit_scale", "clip_l.transformer.text_projection.weight", "clip_h.logit_scale")
MODEL_FOLDERS = ("checkpoints", "diffusion_models", "diffusers")
UNFINISHED = "styledelta_unfinished"

PatchKey = str | tuple  # A weight's name, or (name, slice) for a part of a fused weight.


def register_model_folders() -> None:
    """Make models/<kind> and output/<kind> known, so that what a node saves can be chosen after a refresh."""
    for kind in (STYLE_NETWORKS, STYLE_VECTORS, FEATURE_STATISTICS):
        for root in (folder_paths.models_dir, folder_paths.get_output_directory()):
            folder_paths.add_model_folder_path(kind, os.path.join(root, kind))
        folder_paths.folder_names_and_paths[kind][1].update({".safetensors", ".pth"})
    # The host knows this folder among the models only.
    folder_paths.add_model_folder_path(CONTROL_NETS, os.path.join(folder_paths.get_output_directory(), CONTROL_NETS))


def file_names(kind: str) -> list[str]:
    """The names of the files of a kind, for a combo."""
    return folder_paths.get_filename_list(kind)


def file_path(kind: str, name: str) -> str:
    """The path of a named file, whichever way its folders are separated. Raises FileNotFoundError with the remedy."""
    path = folder_paths.get_full_path(kind, name.replace("\\", "/"))
    if path is None:
        folders = ", ".join(folder_paths.get_folder_paths(kind))
        raise FileNotFoundError(f"{name} is not in {folders}. Put the file there and refresh, or choose another one.")
    return path


def file_stamp(kind: str, name: str) -> str:
    """Changes when the file does, so that the host runs a node again. Empty for a file that is not there."""
    path = folder_paths.get_full_path(kind, name.replace("\\", "/"))
    if path is None:
        return ""
    status = os.stat(path)
    return f"{path}:{status.st_mtime_ns}:{status.st_size}"


def output_path(prefix: str) -> str:
    """A new path for a safetensors file in the output folder. The host refuses prefixes that lead out of it."""
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return os.path.join(folder, f"{name}_{counter:05}_.safetensors")


def compute_device(working_bytes: int) -> torch.device:
    """The device to compute on, with room made for that many bytes."""
    device = comfy.model_management.get_torch_device()
    if device.type != "cpu":
        comfy.model_management.free_memory(working_bytes, device)
    return device


def to_output(image: torch.Tensor) -> torch.Tensor:
    """The tensor on the device where the host keeps what nodes hand on."""
    return image.to(comfy.model_management.intermediate_device())


def progress(node_id: str | None = None) -> Callable[[int, int], None]:
    """A function step(done, total) that shows progress on the running node and obeys Cancel.

    With the node's id it also shows there how long the rest will take, as soon as that can be told.
    """
    bar, start, shown = None, time.monotonic(), 0.0

    def step(done: int, total: int) -> None:
        nonlocal bar, shown
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar = bar or comfy.utils.ProgressBar(total)
        bar.update_absolute(done, total)
        now = time.monotonic()
        if node_id is not None and now - start > TOLD_AFTER and now - shown > TOLD_EVERY:
            shown = now
            _show_on_node(node_id, f"about {_duration((now - start) * (total - done) / done)} left")

    return step


def _show_on_node(node_id: str, text: str) -> None:
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def model_names() -> list[str]:
    """The names of the model files that can be read weight by weight, and of diffusers folders, each behind its folder."""
    names = [f"{folder}/{name}" for folder in MODEL_FOLDERS[:2] for name in file_names(folder)]
    names = [name for name in names if name.endswith((".safetensors", ".sft"))]
    for root in folder_paths.get_folder_paths(MODEL_FOLDERS[2]):
        if os.path.isdir(root):
            names += [f"{MODEL_FOLDERS[2]}/{entry.name}" for entry in os.scandir(root) if entry.is_dir()]
    return names


def model_path(name: str) -> str:
    """The path of a model by the name that `model_names` gives. Raises FileNotFoundError with the remedy."""
    folder, _, name = name.replace("\\", "/").partition("/")
    if folder not in MODEL_FOLDERS:
        raise FileNotFoundError(
            f"{folder}/{name} is in none of {', '.join(MODEL_FOLDERS)}. Choose a model of the list."
        )
    if folder != MODEL_FOLDERS[2]:
        return file_path(folder, name)
    roots = folder_paths.get_folder_paths(folder)
    paths = [os.path.join(root, name) for root in roots if name in os.listdir(root)]
    if not paths:
        raise FileNotFoundError(
            f"{name} is not in {', '.join(roots)}. Put the folder there and refresh, or choose another."
        )
    return paths[0]


def model_stamp(name: str) -> str:
    """Changes when the model's file or folder does. Empty for one that is not there."""
    try:
        status = os.stat(model_path(name))
    except OSError:
        return ""
    return f"{name}:{status.st_mtime_ns}:{status.st_size}"


def unfinished_folder() -> str:
    """Where long extractions keep what they have finished."""
    return os.path.join(folder_paths.get_user_directory(), UNFINISHED)


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


def parameter_count(model: Any) -> int:
    """The number of parameters of a MODEL's diffusion model."""
    return sum(parameter.numel() for parameter in model.model.diffusion_model.parameters())


class _ReadLedger(dict):
    """A state dict that remembers which of its tensors were taken."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        super().__init__(tensors)
        self.taken: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.taken.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default


def lora_key_map(model: Any | None, clip: Any | None) -> dict[str, PatchKey]:
    """Every LoRA name that the host knows for this model and text encoder, to the weight it stands for.

    Without a model no name is known.
    """
    if model is None:
        return {}
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    for key in list(key_map.values()):
        if isinstance(key, str):
            # What other versions of the host call the same parameter.
            key_map |= {alias: key for alias in norm_sites.lora_names(key) if alias not in key_map}
    return key_map if clip is None else comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)


class LoraMatch(NamedTuple):
    """The host's patches by weight, and the names of the tensors that matched no weight."""

    patches: dict[PatchKey, Any]
    unmatched: list[str]


def match_lora(tensors: dict[str, torch.Tensor], key_map: dict[str, PatchKey]) -> LoraMatch:
    """Turn a LoRA file's tensors into patches with the host's own adapters."""
    ledger = _ReadLedger(comfy.lora_convert.convert_lora(tensors))
    try:
        patches = comfy.lora.load_lora(ledger, key_map, log_missing=False)
    except KeyError as error:
        name = tensors.name if isinstance(tensors, LoraModel) else "The LoRA"
        raise ValueError(f"{name} lacks the tensor {error}, the other half of a layer. Use another copy.") from error
    return LoraMatch(patches, [name for name in ledger if name not in ledger.taken])


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


def model_weights(patcher: Any) -> dict[str, torch.Tensor]:
    """The weights of a MODEL or CLIP by name, as they are stored."""
    return getattr(patcher, "patcher", patcher).model.state_dict()


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


def base_weight(patcher: Any, key: str) -> torch.Tensor:
    """A weight as it was loaded, without patches, dequantised to float32, on the CPU."""
    stored, convert = stored_weight(patcher, key)
    weight = comfy.model_management.cast_to_device(stored, torch.device("cpu"), torch.float32, copy=True)
    return (weight if convert is None else convert(weight, inplace=True)).detach()


def stored_weight(patcher: Any, key: str) -> tuple[torch.Tensor, Callable | None]:
    """A weight as it was loaded, in the form in which it is stored, and the host's function that dequantises it."""
    patcher = getattr(patcher, "patcher", patcher)
    weight, _, convert = comfy.model_patcher.get_key_weight(patcher.model, key)
    if key in patcher.object_patches or key in patcher.object_patches_backup:
        # Replaced as an object, by this clone or by another one that is loaded.
        weight = patcher.get_model_object(key)
    elif key in patcher.backup:
        weight = patcher.backup[key].weight
    if hasattr(weight, "tensor_type"):
        raise ValueError(f"{key} is stored as GGUF, which cannot be read. Load the model from a safetensors file.")
    return weight, convert


def is_skipped(patcher: Any, key: str) -> bool:
    """Whether the host takes patches of this parameter and never applies them, as all versions seen do where a module
    owns parameters beside child modules that have some: Wan `modulation`, LTX `scale_shift_table`."""
    owner = getattr(patcher, "patcher", patcher).model.get_submodule(key.rpartition(".")[0])
    return any("." in name for name, _ in owner.named_parameters())


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


class LoadedWeights:
    """The weights of a MODEL and, if given, a CLIP with all their patches, one at a time: a source for extraction.

    exact: names of the weights of which the other source has the same stored one: rounding of the storage cancels, and only
    that of the float32 arithmetic of patches remains.
    """

    def __init__(self, name: str, model: Any, clip: Any | None):
        self.name, self.architecture, self.exact = name, type(model.model).__name__, set()
        self.places = {key: (model, key) for key in _own_weights(model, "diffusion_model.")}
        if clip is not None:
            self.places |= {f"text_encoders.{key}": (clip.patcher, key) for key in _own_weights(clip.patcher, "")}
        self.shapes = {name: tuple(stored_weight(*place)[0].shape) for name, place in self.places.items()}

    def _raw(self, name: str) -> torch.Tensor:
        """The numbers of a weight as they are stored, without the scales of a quantised one."""
        stored = stored_weight(*self.places[name])[0]
        return getattr(stored, "_qdata", stored).detach().cpu()

    def is_patched(self, name: str) -> bool:
        patcher, key = self.places[name]
        return key in patcher.patches or key in patcher.object_patches

    def read(self, name: str) -> StoredWeight:
        """One weight in float32 on the CPU. Raises ValueError for NaN and infinite values, and for GGUF."""
        patcher, key = self.places[name]
        weight = base_weight(patcher, key)
        patches = [] if is_skipped(patcher, key) else patcher.patches.get(key, [])
        if patches:
            weight = comfy.lora.calculate_weight(patches, weight, key)
        if name in self.exact:
            # Each patch is added with the rounding of float32.
            variance = len(patches) * arithmetic_variance(weight) if patches else 0.0
        else:
            variance = stored_variance(self._raw(name), weight)
        if not torch.isfinite(weight).all():
            raise ValueError(f"{self.name}: {key} holds NaN or infinite values. Use another copy of the model.")
        return StoredWeight(weight, variance)


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
