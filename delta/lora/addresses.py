"""Where in a model the layers of LoRA files are: the identity of a weight is its place, not its name.

A connected model tells by the host's own key map. Without one the records of the families tell, where all names of a
diffusion model fit one family; what is not known is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch

from ..blocks.paths import weight_path
from ..families import text_encoders
from ..families.record import Family, Place
from ..families.registry import DENOISER, families_of_layers, family_of, first_alike, place_of, spelling
from .adapters import Layer
from .fused import fuse, split, swap_halves
from .layer_names import layer_id, layer_path


class Rows(NamedTuple):
    """Some rows of a weight, in units that the parts of the weight have in common."""

    start: int
    length: int
    total: int


class Address(NamedTuple):
    """A place in a model.

    weight: ComfyUI's name without `.weight`, behind `diffusion_model.` or `text_encoders.`; rows: which of its rows, None
    for all; swapped: whether the two halves of the rows are the other way round.
    """

    weight: str
    rows: Rows | None = None
    swapped: bool = False

    @property
    def is_whole(self) -> bool:
        return self.rows is None and not self.swapped


@dataclass(frozen=True)
class ModelNames:
    """What a connected model tells of names.

    key_map: every name of a layer that the host reads, to the weight it stands for, as the host writes it: a name, or (name,
    (axis, start, length)), or the same with a function; shapes: of the model's weights by these names.
    """

    key_map: Mapping[str, Any]
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @cached_property
    def family(self) -> Family | None:
        """The family of the diffusion model."""
        return family_of(name for name in self.weights if name.startswith(DENOISER))

    @cached_property
    def weights(self) -> set[str]:
        """The names of all weights."""
        # The host maps names of other variants of a family too, to weights that this model does not have.
        return set(self.shapes) or {_key_name(key) for key in self.key_map.values()}

    @cached_property
    def _ends(self) -> dict[str, int]:
        """How many rows the parts of each fused weight have in all, where its shape is not known."""
        ends: dict[str, int] = {}
        for key in self.key_map.values():
            if not isinstance(key, str) and key[1] is not None:
                ends[key[0]] = max(ends.get(key[0], 0), key[1][1] + key[1][2])
        return ends

    def address(self, name: str) -> Address | None:
        """What a layer's name stands for: by the host's key map, else by another name that the family has for a weight of
        this model. None where it is no layer of the model."""
        key = self.key_map.get(name)
        if key is not None:
            return self._of_key(key)
        place = self.family and place_of(name, self.family)
        if not place or text_encoders.text_layer(name):
            return None
        address = of_place(place)
        known = {address.weight, *(f"{address.weight}.{ending}" for ending in ("weight", "scale"))}
        return address if known & self.weights else None

    def own_name(self, weight: str) -> str:
        """The name by which the host means a weight as a whole, of an address."""
        gain = f"{weight}.scale"
        return gain if gain in self.weights and f"{weight}.weight" not in self.weights else weight

    def _of_key(self, key: Any) -> Address:
        name = _key_name(key)
        weight = text_name(name).removesuffix(".weight")
        gain = weight.removesuffix(".scale")
        if gain != weight and self.family and self.family.place(gain.removeprefix(DENOISER), own_only=True):
            # Hosts differ in what they call the weight of such a norm.
            weight = gain
        if isinstance(key, str):
            return Address(weight)
        rows = None
        if key[1] is not None:
            axis, start, length = key[1]
            if axis:
                return Address(str(key))
            rows = Rows(start, length, self.shapes[name][0] if name in self.shapes else self._ends[name])
        if len(key) > 2 and not _swaps_halves(key[2]):
            return Address(str(key))
        return Address(weight, rows, len(key) > 2)


def _key_name(key: Any) -> str:
    return key if isinstance(key, str) else key[0]


def text_name(key: str) -> str:
    """A weight's name with the beginning that ComfyUI's own LoRA names have."""
    return key if key.startswith((DENOISER, text_encoders.PREFIX)) else text_encoders.PREFIX + key


def _swaps_halves(change: Any) -> bool:
    return change(torch.arange(4)).tolist() == [2, 3, 0, 1]


def of_place(place: Place) -> Address:
    """The address of a place in a family's record."""
    weight, part = place
    if part is None:
        return Address(DENOISER + weight.comfy)
    rows = None
    if len(weight.parts) > 1:
        rows = Rows(sum(weight.shares[:part]), weight.shares[part], sum(weight.shares))
    return Address(DENOISER + weight.comfy, rows, weight.swapped)


class Located(NamedTuple):
    """The addresses of the layers of files, by name; None for those that are not known. family: of the diffusion model,
    None where it is not known for certain; candidates: the families that all the names fit."""

    addresses: Mapping[str, Address | None]
    family: Family | None
    candidates: Sequence[Family]


def locate(files: Sequence[Mapping[str, Layer]], model: ModelNames | None = None) -> Located:
    """Where the layers of files for one model are. See `Located`."""
    layers = {name: layer for file in files for name, layer in file.items()}
    denoiser = [name for name in layers if not is_text(name)]
    if model is not None:
        family, candidates = model.family, [model.family] if model.family else []
    else:
        sizes = {name: size for file in files for name, layer in file.items() if (size := _size(layer))}
        candidates = families_of_layers(denoiser, sizes)
        family = first_alike(candidates, denoiser)
    addresses = {name: _address(name, layers[name], model, family) for name in layers}
    twins = text_encoders.same_language_model(name for name in layers if is_text(name))
    addresses |= {name: Address(own) for name, own in twins.items() if addresses[name] is None}
    return Located(addresses, family, candidates)


def is_gain(name: str, address: Address) -> bool:
    """Whether a name calls the weight of a norm `scale`, as some versions of the host do and others do not."""
    return name.endswith((".scale", "_scale")) and not address.weight.endswith("scale")


def is_text(name: str) -> bool:
    """Whether a layer is one of a text encoder."""
    return name.startswith((text_encoders.PREFIX, "text_encoder", "lora_te", "te1.", "te2.", "lora_prior_te"))


def _address(name: str, layer: Layer, model: ModelNames | None, family: Family | None) -> Address | None:
    if model is not None and (address := model.address(name)) is not None:
        return address
    if is_text(name):
        own = text_encoders.comfy_name(name, _width(layer))
        return None if own is None else Address(own)
    place = None if model is not None or family is None else place_of(name, family)
    return None if place is None else of_place(place)


def _size(layer: Layer) -> tuple[int, int] | None:
    """Rows and columns of a matrix that a layer changes."""
    update = layer.low_rank if layer.low_rank is not None else layer.full
    return tuple(update.shape) if update is not None and len(update.shape) == 2 else None


def _width(layer: Layer) -> int | None:
    given = (layer.low_rank, layer.full, layer.new_weight, layer.bias)
    shape = next((tuple(update.shape) for update in given if update is not None), ())
    return text_encoders.CLIP_H_WIDTH if text_encoders.CLIP_H_WIDTH in shape else None


def block_path(name: str, address: Address | None) -> tuple[str, ...]:
    """The path of a layer for block rules and reports: by its place in the model, or by its name where that is not known."""
    if address is None:
        return layer_path(layer_id(name))
    return weight_path(address.weight.removeprefix(text_encoders.PREFIX))


def as_whole(layer: Layer, address: Address) -> Layer:
    """The update of the whole weight, from the one of the rows at an address. Raises ValueError as `fuse` does."""
    if address.swapped:
        layer = swap_halves(layer)
    if address.rows is None:
        return layer
    start, length, total = address.rows
    return fuse([None, layer, None], (start, length, total - start - length))


def part_of_whole(layer: Layer, address: Address) -> Layer:
    """The update of the rows at an address, from the one of the whole weight. Raises ValueError as `split` does."""
    if address.rows is not None:
        start, length, total = address.rows
        layer = split(layer, (start, length, total - start - length))[1]
    return swap_halves(layer) if address.swapped else layer


def overlapping(addresses: Iterable[Address]) -> set[str]:
    """The weights of which addresses have rows in common without being the same, so that they meet as whole weights only."""
    by_weight: dict[str, set[Address]] = {}
    for address in addresses:
        by_weight.setdefault(address.weight, set()).add(address)
    return {weight for weight, found in by_weight.items() if len(found) > 1 and not _disjoint(found)}


def _disjoint(addresses: Iterable[Address]) -> bool:
    addresses = list(addresses)
    if any(address.rows is None or address.swapped for address in addresses):
        return False
    if len({address.rows.total for address in addresses}) > 1:
        return False
    ends = 0
    for rows in sorted(address.rows for address in addresses):
        if rows.start < ends:
            return False
        ends = rows.start + rows.length
    return True


def beginnings(names: Iterable[str]) -> set[str]:
    """How the names of a diffusion model's layers begin in a file."""
    return {spelling(name).beginning for name in names if not is_text(name)}
