"""Which family names belong to: the only judge. Records are found by themselves, one file a family."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from .record import Family, Place

DENOISER = "diffusion_model."
# How a layer of a diffusion model begins in LoRA files, and whether ComfyUI's own paths stand behind that only.
BEGINNINGS = (
    ("lora_unet_", True),
    ("lora_prior_unet_", True),
    ("diffusion_model.", True),
    ("lora_transformer_", False),
    ("lycoris_", False),
    ("unet.base_model.model.", False),
    ("base_model.model.", False),
    ("transformer.", False),
    ("unet.", False),
    ("", False),
)


class Spelling(NamedTuple):
    """A layer's name in two pieces. beginning: one of BEGINNINGS; body: the rest; own_only: see there."""

    beginning: str
    body: str
    own_only: bool


def spelling(name: str) -> Spelling:
    """The name of a layer of a diffusion model, taken apart."""
    beginning, own_only = next(row for row in BEGINNINGS if name.startswith(row[0]))
    return Spelling(beginning, name.removeprefix(beginning).replace(".processor.to_", ".to_"), own_only)


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """Every record: FAMILY or FAMILIES of every module of this package. Where names have the same meaning in several, the
    first of them counts."""
    found: list[Family] = []
    for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__):
        loaded = importlib.import_module(f"{__package__}.{module.name}")
        given = (*getattr(loaded, "FAMILIES", ()), getattr(loaded, "FAMILY", None))
        found += [family for family in given if isinstance(family, Family)]
    return tuple(found)


def family_named(name: str) -> Family | None:
    """The record of this name."""
    return next((family for family in families() if family.name == name), None)


def family_of(weights: Iterable[str]) -> Family | None:
    """The family of a model, by the names of all its weights, with `diffusion_model.` in front or bare.

    None where the marks of no family, or of more than one, are there.
    """
    names = {name.removeprefix(DENOISER) for name in weights}
    found = [
        family
        for family in families()
        if family.marks and names.issuperset(family.marks) and names.isdisjoint(family.lacks)
    ]
    return found[0] if len(found) == 1 else None


def foreign_families(weights: Iterable[str]) -> list[Family]:
    """The families whose files for diffusers have these names; without those of which another one has more signs."""
    names = set(weights)
    found = [family for family in families() if family.foreign and names.issuperset(family.foreign)]
    return [family for family in found if not any(set(family.foreign) < set(other.foreign) for other in found)]


def place_of(name: str, family: Family) -> Place | None:
    """What a layer's name in a LoRA file stands for in a family; None where it is no weight of it."""
    beginning, body, own_only = spelling(name)
    both = family.behind_own if beginning == DENOISER else family.whole_diffusers
    return None if family.is_by_depth(body) else family.place(body, own_only and not both)


def families_of_layers(names: Iterable[str], sizes: Mapping[str, Sequence[int]] | None = None) -> list[Family]:
    """The families of which all these names of a LoRA's layers are weights. Text encoders must not be among them.

    sizes: rows and columns of the updates, where they are known; a family whose weights have other proportions is none of
    them.
    """
    names = list(names)
    return [
        family
        for family in families()
        if names
        and all((place := place_of(name, family)) and _fits(family, place, (sizes or {}).get(name)) for name in names)
    ]


def family_of_layers(names: Iterable[str], sizes: Mapping[str, Sequence[int]] | None = None) -> Family | None:
    """The family of a LoRA's layers, where it is known for certain: all names fit, and no other family gives any of them
    another meaning."""
    names = list(names)
    return first_alike(families_of_layers(names, sizes), names)


def first_alike(found: Sequence[Family], names: Sequence[str]) -> Family | None:
    """The first of the families that these names fit, where all of them give every name the same meaning."""
    if not found:
        return None
    alike = all(
        _meaning(place_of(name, family)) == _meaning(place_of(name, found[0])) for family in found[1:] for name in names
    )
    return found[0] if alike else None


def _meaning(place: Place) -> tuple:
    weight, part = place
    return (weight.comfy,) if part is None else (weight.comfy, weight.shares, part, weight.swapped)


def _fits(family: Family, place: Place, size: Sequence[int] | None) -> bool:
    ratio = family.ratio(place)
    return size is None or ratio is None or Fraction(size[0], size[1]) == ratio
