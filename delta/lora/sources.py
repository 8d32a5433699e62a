"""LoRAs as sources of a merge: their layers by the weight that they change, with their strengths; and what they were."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..blocks.rules import parse_block_weights
from ..linear_algebra.factors import LowRank, zeros
from .adapters import Layer, same_weight
from .addresses import (
    Address,
    Located,
    ModelNames,
    as_whole,
    beginnings,
    block_path,
    is_gain,
    is_text,
    locate,
    overlapping,
)
from .file import Bake, LoraModel, read_layers
from .fused import add
from .layer_names import layer_id
from .metadata import recipe_of, unread_entries
from .naming import COMFYUI, KOHYA, naming_of, whole_name


class MergeInput(NamedTuple):
    """A LoRA to merge, its strengths, and block rules as text."""

    model: LoraModel
    strength_model: float
    strength_clip: float
    block_weights: str = ""


class SourceRead(NamedTuple):
    """A LoRA as a source: its layers, and lines about what was left out and which block rules match nothing."""

    layers: Source
    notes: list[str]


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
    return {"name": model.name, "sha256": content_hash(model), "recipe": recipe_of(model.metadata)}


def read_sources(
    inputs: Sequence[MergeInput], model: ModelNames | None = None, bake: Bake | None = None
) -> list[SourceRead]:
    """The layers of LoRAs by the weight they change, with strength times block factor. See `merge_job`.

    Layers of one weight under several names are added up; where one file has fused what another has split, they meet as
    whole weights. Raises ValueError for files of different namings whose weights cannot be brought together for certain, for a
    file of which nothing is a layer of the connected model, and as `read_layers` does.
    """
    reads = [read_layers(row.model, bake) for row in inputs]
    files = [read.layers for read in reads]
    located = locate(files, model)
    if model is None:
        _refuse_strangers(inputs, files, located)
    named = _result_names(files, located, model)
    result = []
    for row, read in zip(inputs, reads):
        notes = [f"not a LoRA tensor, left out: {name}" for name in read.foreign]
        notes += [f"left out: {sentence}" for sentence in read.needs_base.values()]
        notes += unread_entries(row.model.metadata)
        layers = read.layers
        if model is not None:
            layers, unread = _of_model(row.model.name, layers, located)
            notes += unread
        source, unused = _source(row, layers, located, named)
        notes += [f"the rule {rule} matches nothing" for rule in unused]
        result.append(SourceRead(source, notes))
    return result


# What layers of one weight have in common: their address, or their name where no address is known.
Identity = Address | str


def _identity(name: str, located: Located, wholes: Container[str]) -> Identity:
    address = located.addresses[name]
    if address is None:
        return layer_id(name)
    return Address(address.weight) if address.weight in wholes else address


def _result_names(
    files: Sequence[Mapping[str, Layer]], located: Located, model: ModelNames | None
) -> dict[Identity, str]:
    """The name of every weight, or part of one, in the result: the one that the first file has for it, as long as all files
    follow one convention; else kohya's, where the first file has those, or ComfyUI's."""
    addresses = [address for address in located.addresses.values() if address is not None]
    wholes, conventions = overlapping(addresses), {naming_of(layers) for layers in files}
    mixed = len(conventions) > 1
    placed = {name: address for name, address in located.addresses.items() if address is not None and not is_text(name)}
    unread = set() if model is None else placed.keys() - model.key_map.keys()
    # Only whole weights have a name that is the same in all conventions, and one that is read for certain.
    wholes |= {address.weight for name, address in placed.items() if not address.is_whole and (mixed or name in unread)}
    # Hosts apply the bias of a weight, and drop that of a part of one.
    with_bias = {name for layers in files for name, layer in layers.items() if layer.bias is not None}
    wholes |= {placed[name].weight for name in placed.keys() & with_bias if not placed[name].is_whole}
    convention = KOHYA if naming_of(files[0]) == KOHYA else COMFYUI
    names: dict[Identity, str] = {}
    for name in (name for layers in files for name in layers):
        identity = _identity(name, located, wholes)
        if name in placed and (mixed or name in unread or identity != placed[name]):
            gain = is_gain(name, identity)
            names.setdefault(identity, whole_name(identity.weight, convention, located.candidates, model, gain))
        else:
            names.setdefault(identity, name)
    return names


def _refuse_strangers(inputs: Sequence[MergeInput], files: Sequence[Mapping[str, Layer]], located: Located) -> None:
    """Raises ValueError for files of different namings with a layer whose place in the model is not known for certain."""
    found = [beginnings(layers) for layers in files]
    unknown = [name for layers in files for name in layers if located.addresses[name] is None and not is_text(name)]
    differ = next((index for index, begin in enumerate(found) if begin and found[0] and begin != found[0]), None)
    if not unknown or differ is None:
        return
    families = " and ".join(family.name for family in located.candidates) or "no known family"
    one, other = (next(name for name in files[index] if not is_text(name)) for index in (0, differ))
    raise ValueError(
        f"{inputs[0].model.name} and {inputs[differ].model.name} name their layers differently, such as {one} and "
        f"{other}, and it is not certain which of them mean the same weight: the names fit {families}. Connect the "
        "model."
    )


def _of_model(name: str, layers: Mapping[str, Layer], located: Located) -> tuple[Mapping[str, Layer], list[str]]:
    """The layers that the connected model has, with those of text encoders; and a line about the others."""
    unread = [layer for layer in layers if located.addresses[layer] is None and not is_text(layer)]
    if not unread:
        return layers, []
    strange = set(unread)
    left = {layer: update for layer, update in layers.items() if layer not in strange}
    if all(map(is_text, left)):
        raise ValueError(
            f"{name} does not fit the connected model: none of its {len(unread)} layers, such as {unread[0]}, "
            "exists in the model. Connect the model that the LoRA is for."
        )
    some = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
    return left, [f"left out, not layers of the connected model: {len(unread)} ({some})"]


def _source(
    row: MergeInput, layers: Mapping[str, Layer], located: Located, named: Mapping[Identity, str]
) -> tuple[Source, list[str]]:
    """The layers of one LoRA by their weight, with strength times block factor; and the rules without effect."""
    blocks = parse_block_weights(row.block_weights)
    wholes = {identity.weight for identity in named if isinstance(identity, Address) and identity.is_whole}
    found: dict[Identity, list[Layer]] = {}
    for name, layer in layers.items():
        identity, address = _identity(name, located, wholes), located.addresses[name]
        if address is not None and identity != address:
            layer = as_whole(layer, address)
        found.setdefault(identity, []).append(layer)
    source: dict[str, SourceLayer] = {}
    for identity, updates in found.items():
        path = block_path(named[identity], identity if isinstance(identity, Address) else None)
        strength = row.strength_clip if path[0] == "text" else row.strength_model
        source[str(identity)] = SourceLayer(named[identity], path, add(updates), strength * blocks.factor(path))
    return source, blocks.unused([layer.path for layer in source.values()])


class SourceLayer(NamedTuple):
    """One layer of a source: its name in the file, the path of the weight for reports, what it does, how strongly."""

    name: str
    path: tuple[str, ...]
    layer: Layer
    strength: float


# A LoRA to merge: its layers by an identity that all sources share.
Source = Mapping[str, SourceLayer]


def different_models(name: str, one: Sequence[int], other: Sequence[int]) -> ValueError:
    return ValueError(
        f"{name} is {tuple(one)} in one LoRA and {tuple(other)} in another: they are for different models. Choose LoRAs for "
        "the same kind of model."
    )


def alike(updates: Sequence[LowRank | None], name: str) -> list[LowRank]:
    """The updates in one shape: some files store a kernel of one pixel, or a whole kernel, as a matrix. None is nothing.

    Raises ValueError for updates that cannot be of one weight. `name` is the layer's, for the message.
    """
    shape = max((update.shape for update in updates if update is not None), key=len)
    for update in updates:
        if update is not None and not same_weight(update.shape, shape):
            raise different_models(name, update.shape, shape)
    return [zeros(shape) if update is None else LowRank(update.up, update.down, shape) for update in updates]
