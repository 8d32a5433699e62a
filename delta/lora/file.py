"""A LoRA file as layers, and layers as a LoRA file: every tensor accounted for, nothing side by side on one weight."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank
from . import adapters
from .adapters import Layer, NeedsBaseError, NotServedError
from .metadata import RECIPE, TAGS, added_tags

# bake(layer name, its tensors by ending) -> what the adapter adds to its weight at strength 1, float32.
Bake = Callable[[str, Mapping[str, Tensor]], Tensor]

# The program that a LoRA was renamed for, where that may be another one than ComfyUI.
NAMES_FOR = "styledelta.names_for"
# What other programs say of the tensors of a file, wrong as soon as they are written anew.
STALE_METADATA = ("sshs_model_hash", "sshs_legacy_hash", "lora_adapter_metadata")
# What casting may lose of a factor, relative to its norm, before a file is refused: far above rounding, far below use.
CAST_LOSS = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}

# How many tensors an error names of a file of which nothing is read.
NAMED_TENSORS = 3


class LoraModel(dict):
    """A LORA_MODEL: a plain state dict in a LoRA file's naming, that remembers its metadata and name."""

    metadata: dict[str, str]
    name: str

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, name: str = "LoRA"):
        super().__init__(tensors)
        self.metadata, self.name = dict(metadata or {}), name


@dataclass
class LoraLayers:
    """layers by their name in the file; foreign: names of tensors that no adapter has; needs_base: what cannot be read
    without the weight it is applied to, as sentences by the layer's name."""

    layers: dict[str, Layer] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    needs_base: dict[str, str] = field(default_factory=dict)


def group(tensors: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Tensors by layer and ending, and the names that no adapter has.

    Raises ValueError for a file of several PEFT adapters, and for two tensors that mean the same.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    origins: dict[tuple[str, str], str] = {}
    foreign = []
    for name, tensor in tensors.items():
        parts = adapters.split_name(name)
        if parts is None:
            foreign.append(name)
            continue
        if parts in origins:
            raise adapters.ambiguous(_name_of(tensors), origins[parts], name)
        origins[parts] = name
        layers.setdefault(parts[0], {})[parts[1]] = tensor
    named = dict.fromkeys(filter(None, map(adapters.adapter_of, tensors)))
    if len(named) > 1:
        raise ValueError(
            f"{_name_of(tensors)} holds {len(named)} adapters: {', '.join(named)}. Use a file with only one."
        )
    return layers, foreign


def _name_of(tensors: Mapping[str, Tensor]) -> str:
    return getattr(tensors, "name", "The LoRA")


def _refuse_infinite(tensors: Mapping[str, Tensor]) -> None:
    """Files are checked when they are read; other nodes may hand over anything."""
    for name, tensor in tensors.items():
        # Not all operations exist for numbers of one byte.
        values = tensor.float() if tensor.element_size() == 1 else tensor
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{_name_of(tensors)}: the tensor {name} holds NaN or infinite values. Use another copy of the LoRA."
            )


def needs_base(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What `read_layers` says of the layers that it leaves out without `bake`, without reading the others."""
    reasons = {name: adapters.why_not_served(name, parts) for name, parts in group(tensors)[0].items()}
    return {name: str(reason) for name, reason in reasons.items() if reason is not None}


def left_out(tensors: Mapping[str, Tensor]) -> list[str]:
    """Lines of a report about the layers in `needs_base`."""
    return [f"left out: {sentence}" for sentence in needs_base(tensors).values()]


def read_layers(tensors: Mapping[str, Tensor], bake: Bake | None = None) -> LoraLayers:
    """Every layer of a LoRA state dict as an update. `bake` computes the updates that depend on the base weight; without
    it, or where it raises NeedsBaseError, such layers are in `needs_base` and the others are served.

    Raises NotServedError when no layer can be served, NeedsBaseError where the base would help, and ValueError for a file
    of which nothing is read, for NaN and infinite values, for damaged layers and for tensors of a layer that nothing uses,
    such as a second set of factors under another naming.
    """
    _refuse_infinite(tensors)
    grouped, foreign = group(tensors)
    result = LoraLayers(foreign=foreign)
    reasons: list[NotServedError] = []
    for name, parts in grouped.items():
        try:
            result.layers[name] = _read_or_bake(name, parts, bake)
        except NotServedError as error:
            reasons.append(error)
            result.needs_base[name] = str(error)
    if not result.layers:
        raise reasons[0] if reasons else ValueError(_nothing_read(tensors))
    return result


def _read_or_bake(name: str, parts: Mapping[str, Tensor], bake: Bake | None) -> Layer:
    try:
        layer = adapters.read_layer(name, parts)
    except NeedsBaseError:
        if bake is None:
            raise
        # Hosts add the update of a bias by itself, whatever the adapter of the weight is.
        biases = {ending: parts[ending] for ending in adapters.BIASES if ending in parts}
        layer = adapters.read_layer(name, biases)
        layer.full = bake(name, {ending: tensor for ending, tensor in parts.items() if ending not in biases})
        layer.used |= parts.keys() - {*adapters.PLAIN}
    unused = parts.keys() - layer.used - {"alpha"}
    if unused:
        raise adapters.ambiguous(name, ", ".join(sorted(unused)), ", ".join(sorted(layer.used)))
    return layer


def _nothing_read(tensors: Mapping[str, Tensor]) -> str:
    """What a file holds of which no tensor is one of an adapter."""
    if not tensors:
        return f"{_name_of(tensors)} holds no LoRA tensors: it is empty. Choose another LoRA."
    named = ", ".join(list(tensors)[:NAMED_TENSORS])
    return (
        f"{_name_of(tensors)} holds no LoRA tensors, only {len(tensors)} others, such as {named}. Choose another LoRA."
    )


def write_layers(layers: Mapping[str, Layer], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """A state dict of LoRA tensors for layers by name.

    Where names have an alpha it is the same for all layers, the highest rank, because diffusers takes one alpha for many;
    see `endings`. The factors of a layer are balanced, so that neither is too small or too large for `dtype`.

    A low-rank and a dense update of one weight become one dense update. Raises ValueError when a value does not fit
    `dtype`.
    """
    tensors: dict[str, Tensor] = {}
    alpha = max((layer.low_rank.rank for layer in layers.values() if layer.low_rank is not None), default=0)
    for name, layer in layers.items():
        if layer.new_weight is not None:
            if layer.low_rank is not None or layer.full is not None:
                raise ValueError(f"{name} has both a new weight and an update of the old one; only one can be saved.")
            tensors[f"{name}.set_weight"] = _cast(f"{name}.set_weight", layer.new_weight, dtype)
        low_rank, full = layer.low_rank, layer.full
        if low_rank is not None and full is not None:
            low_rank, full = None, layer.dense()
        if low_rank is not None and low_rank.rank:
            up_ending, down_ending, has_alpha = endings(name)
            up, down = _balanced(low_rank)
            if has_alpha and low_rank.rank != alpha:
                share = math.sqrt(low_rank.rank / alpha)
                up, down = up * share, down * share
            ones = (1,) * (len(low_rank.shape) - 2)
            up, down = up.reshape(*up.shape, *ones), down.reshape(low_rank.rank, *low_rank.shape[1:])
            tensors[name + up_ending] = _cast(name + up_ending, up, dtype)
            tensors[name + down_ending] = _cast(name + down_ending, down, dtype)
            if has_alpha:
                tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
        # A norm is a weight of one dimension; both names of an update mean the same to loaders.
        norm = full is not None and full.dim() == 1
        for ending, update in (("w_norm" if norm else "diff", full), ("b_norm" if norm else "diff_b", layer.bias)):
            if update is not None:
                tensors[f"{name}.{ending}"] = _cast(f"{name}.{ending}", update, dtype)
        if layer.new_shape is not None:
            tensors[f"{name}.reshape_weight"] = torch.tensor(layer.new_shape)
    return tensors


def _balanced(update: LowRank) -> tuple[Tensor, Tensor]:
    """up and down, with equal norms of each column of the one and row of the other to within a factor of 2.

    A file with an alpha far below its rank would otherwise have an `up` too small for float16. Powers of two are exact in
    every type, and leave balanced factors as they are.
    """
    norms = [torch.linalg.vector_norm(part.double(), dim=dim) for part, dim in ((update.up, 0), (update.down, 1))]
    share = (norms[1] / norms[0]).log2().div(2).round()
    share = torch.where(share.isfinite(), share, 0).exp2()
    return (update.up * share).to(update.up.dtype), (update.down / share[:, None]).to(update.down.dtype)


def endings(name: str) -> tuple[str, str, bool]:
    """(ending of up, ending of down, whether an alpha stands beside them), as usual after a name of this convention.

    diffusers has three: one for text encoders, one for the attention of U-Nets and PEFT's for the rest.
    """
    if name.startswith(("text_encoder.", "text_encoder_2.")):
        return ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight", False
    if name.startswith("unet."):
        joint = "_" if ".processor." in name else "."
        return f"{joint}lora.up.weight", f"{joint}lora.down.weight", False
    if "." in name:
        return ".lora_B.weight", ".lora_A.weight", False
    return ".lora_up.weight", ".lora_down.weight", True


def _cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in `dtype`, contiguous. Raises ValueError when it overflows or mostly vanishes there."""
    cast = tensor.to(dtype).contiguous()
    if not torch.isfinite(cast).all():
        raise ValueError(f"{name} has values up to {tensor.abs().max():.3g}, too large for {dtype}. Save as float32.")
    norm = torch.linalg.vector_norm(tensor)
    if torch.linalg.vector_norm(cast.float() - tensor) > CAST_LOSS[dtype] * norm:
        raise ValueError(f"{name} has values too small for {dtype}; they would be lost. Save as bfloat16 or float32.")
    return cast


def merged_metadata(sources: Iterable[LoraModel], recipe: Mapping[str, object]) -> dict[str, str]:
    """Metadata of a file made from others: what the first says of itself, all tags added up, and the recipe.

    Later sources fill in entries that the first lacks. What `metadata.unread_entries` tells is left out. The recipe is stored as JSON under `styledelta.recipe`.
    """
    sources = list(sources)
    metadata: dict[str, str] = {}
    for source in reversed(sources):
        metadata |= source.metadata
    # They describe the factors of one source and would be wrong for the result.
    for key in ("ss_network_dim", "ss_network_alpha", NAMES_FOR, *STALE_METADATA):
        metadata.pop(key, None)
    if TAGS in metadata:
        metadata[TAGS] = json.dumps(added_tags(source.metadata for source in sources))
    metadata[RECIPE] = json.dumps(recipe)
    return metadata
