"""LoRAs as sources of a merge: their layers by the weight that they change, with their strengths; and what they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..blocks.paths import weight_path
from ..blocks.rules import parse_block_weights
from ..linear_algebra.factors import LowRank, zeros
from .adapters import Layer, same_weight
from .file import RECIPE, Bake, LoraModel, read_layers
from .layer_names import layer_id, layer_path
from .naming import naming_of, rename


class MergeInput(NamedTuple):
    """A LoRA to merge, its strengths, and block rules as text."""

    model: LoraModel
    strength_model: float
    strength_clip: float
    block_weights: str = ""


class SourceRead(NamedTuple):
    """A LoRA as a source: its layers, the names of tensors that no adapter has, and the block rules without effect."""

    layers: Source
    foreign: list[str]
    unused: list[str]


def content_hash(model: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and values of all tensors, whatever file they came in."""
    digest = hashlib.sha256()
    for name in sorted(model):
        digest.update(name.encode())
        digest.update(model[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def source_recipe(row: MergeInput) -> dict[str, Any]:
    """What a recipe says of one input."""
    return {
        **provenance(row.model),
        "strength_model": row.strength_model,
        "strength_clip": row.strength_clip,
        "block_weights": row.block_weights,
    }


def provenance(model: LoraModel) -> dict[str, Any]:
    """Name and hash of a source, and the recipe that it was made by; None for one that was trained."""
    recipe = json.loads(model.metadata[RECIPE]) if RECIPE in model.metadata else None
    return {"name": model.name, "sha256": content_hash(model), "recipe": recipe}


def read_sources(
    inputs: Sequence[MergeInput], key_map: Mapping[str, Any] | None = None, bake: Bake | None = None
) -> list[SourceRead]:
    """The layers of LoRAs by the weight they change, with strength times block factor. See `merge_job`.

    Raises ValueError for two layers of a file that mean the same weight, and as `read_layers` does.
    """
    reads = [read_layers(row.model, bake) for row in inputs]
    result = []
    for row, read, layers in zip(inputs, reads, _in_one_naming([read.layers for read in reads], key_map or {})):
        source, unused = _source(row, layers, key_map or {})
        result.append(SourceRead(source, read.foreign, unused))
    return result


def _in_one_naming(files: Sequence[Mapping[str, Layer]], key_map: Mapping[str, Any]) -> Sequence[Mapping[str, Layer]]:
    """The layers of several files under the names of the first where they differ, so that what one file has fused meets
    what another has split. Layers that are in no table of names, and files whose new names would mean other weights of
    the model, are left as they are."""
    namings = [naming_of(layers) for layers in files]
    if len(set(namings)) == 1:
        return files
    renamed = [rename(layers, namings[0] or "kohya", keep_unknown=True) for layers in files]
    same = all(_weights(old, key_map) == _weights(new, key_map) for old, new in zip(files, renamed))
    return renamed if same else files


def _weights(names: Iterable[str], key_map: Mapping[str, Any]) -> set[str]:
    keys = (key_map[name] for name in names if name in key_map)
    return {key if isinstance(key, str) else key[0] for key in keys}


def _source(row: MergeInput, named: Mapping[str, Layer], key_map: Mapping[str, Any]) -> tuple[Source, list[str]]:
    """The layers of one LoRA by their weight, with strength times block factor; and the rules without effect."""
    blocks = parse_block_weights(row.block_weights)
    layers: dict[str, SourceLayer] = {}
    for name, layer in named.items():
        identity, path = _identify(name, key_map)
        if identity in layers:
            raise ValueError(
                f"{row.model.name} has both {layers[identity].name} and {name}, which mean the same weight. "
                "Remove the duplicate from the file."
            )
        strength = row.strength_clip if path[0] == "text" else row.strength_model
        layers[identity] = SourceLayer(name, path, layer, strength * blocks.factor(path))
    return layers, blocks.unused([layer.path for layer in layers.values()])


def _identify(name: str, key_map: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What a layer's name stands for, the same for all namings; and its path for block rules and reports."""
    key = key_map.get(name)
    if key is None:
        identity = layer_id(name)
        return identity, layer_path(identity)
    weight = key if isinstance(key, str) else key[0]
    return str(key), weight_path(weight)


class SourceLayer(NamedTuple):
    """One layer of a source: its name in the file, the path of the weight for reports, what it does, how strongly."""

    name: str
    path: tuple[str, ...]
    layer: Layer
    strength: float


# A LoRA to merge: its layers by an identity that all sources share.
Source = Mapping[str, SourceLayer]


def alike(updates: Sequence[LowRank | None], name: str) -> list[LowRank]:
    """The updates in one shape: some files store a kernel of one pixel, or a whole kernel, as a matrix. None is nothing.

    Raises ValueError for updates that cannot be of one weight. `name` is the layer's, for the message.
    """
    shape = max((update.shape for update in updates if update is not None), key=len)
    for update in updates:
        if update is not None and not same_weight(update.shape, shape):
            raise ValueError(
                f"{name} is {update.shape} in one LoRA and {shape} in another: they are for different models. "
                "Choose LoRAs of one kind of model."
            )
    return [zeros(shape) if update is None else LowRank(update.up, update.down, shape) for update in updates]
