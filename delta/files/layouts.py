"""Layouts of model files: which weight of ComfyUI's a tensor holds, told from the names of all tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..families.record import SCALE_NORMS, Family, Place
from ..families.registry import DENOISER, families, family_of, foreign_families
from .file_kinds import DIFFUSION_MODEL, kind_of
from .headers import StoredTensor
from .prefixes import CERTAIN_PREFIXES, Behind, behind_prefixes
from .released import released_targets
from .stored_weight import INDEX_DTYPES
from .targets import Target, swap_halves
from .text_layouts import text_targets

SD3 = "Stable Diffusion 3"
ENDINGS = ("weight", "bias", "scale")
# The share of a file's names that must be another program's for one family, so that it is no model of ComfyUI's.
MOSTLY = 0.5
FOR_COMFYUI = "Use the version for ComfyUI."

Shapes = Mapping[str, tuple[int, ...]]


class Layout(NamedTuple):
    """What the tensors of a component hold, by their names; those that hold nothing of a model are not in it.

    is_unknown: whether there is a diffusion model of a family that is not known, whose weights keep their names.
    """

    targets: dict[str, list[Target]]
    is_unknown: bool = False


def layout_of(tensors: Mapping[str, StoredTensor]) -> Layout:
    """What the tensors of a component of a model hold.

    Raises ValueError for a diffusion model under another program's names, which cannot all be translated.
    """
    text = text_targets(tensors)
    rest = {name: tensor for name, tensor in tensors.items() if name not in text}
    places = list(behind_prefixes(rest))
    for behind in places:
        shapes = {body: rest[name].shape for body, name in behind.names.items() if rest[name].dtype not in INDEX_DTYPES}
        if (found := _known_targets(shapes, _file_name(behind, rest))) is not None:
            return Layout(text | _in_file(found, behind))
    for behind in places:
        if behind.prefix in CERTAIN_PREFIXES or _is_nothing_else(behind, rest):
            _refuse_nearly_translated(list(behind.names), _file_name(behind, rest))
            return Layout(text | _in_file({body: [Target(body)] for body in behind.names}, behind), is_unknown=True)
    return Layout(text)


def _in_file(found: Mapping[str, list[Target]], behind: Behind) -> dict[str, list[Target]]:
    return {
        behind.names[body]: [target._replace(name=DENOISER + target.name) for target in targets]
        for body, targets in found.items()
    }


def _file_name(behind: Behind, tensors: Mapping[str, StoredTensor]) -> str:
    return tensors[next(iter(behind.names.values()))].file.name


def _is_nothing_else(behind: Behind, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether all tensors stand behind the prefix, and look like a diffusion model without it."""
    return len(behind.names) == len(tensors) and kind_of(behind.names) == DIFFUSION_MODEL


def _known_targets(shapes: Shapes, file: str) -> dict[str, list[Target]] | None:
    """What the tensors of a diffusion model of a known family hold; None where the family is not known."""
    family, strangers = family_of(shapes), foreign_families(shapes)
    if family is None and (translated := _translated(shapes)) is not None:
        return translated
    if strangers and (family is None or family in strangers):
        kinds = " or ".join(each.name for each in strangers)
        raise ValueError(f"{file} is {kinds} for diffusers, whose names are not ComfyUI's. {FOR_COMFYUI}")
    if family is None:
        return None
    renamed = any(place is not None and _target(*place).name != name for name, place in _places(family, shapes).items())
    if renamed and (unknown := _unknown_name(family, shapes)):
        raise ValueError(
            f"{file} looks like {family.name} under the names of another program, but {unknown} is not one of its weights. "
            f"{FOR_COMFYUI}"
        )
    return _targets(family, shapes)


def _translated(shapes: Shapes) -> dict[str, list[Target]] | None:
    """What the tensors of a diffusion model of diffusers hold: all of them must have a name of the family."""
    found = []
    for family in families():
        if _unknown_name(family, shapes) is None:
            targets = _targets(family, shapes)
            if family_of(target.name for held in targets.values() for target in held) is family:
                found.append(targets)
    return found[0] if len(found) == 1 else None


def _refuse_nearly_translated(names: list[str], file: str) -> None:
    """Raise ValueError where most names are another program's for a family, and fewer are ComfyUI's for any."""
    others, own = 0, 0
    for family in families():
        places = [place for name in names if (place := _place(family, name))]
        renamed = sum(place.part is not None for place, _ in places)
        others, own = max(others, renamed), max(own, len(places) - renamed)
    if others > max(own, MOSTLY * len(names)):
        raise ValueError(f"{file} has names of diffusers, and not all of them are those of one family. {FOR_COMFYUI}")


def _unknown_name(family: Family, shapes: Shapes) -> str | None:
    return next((n for n in shapes if _place(family, n) is None and not released_targets(family, n, shapes)), None)


def _places(family: Family, shapes: Shapes) -> dict[str, tuple[Place, str] | None]:
    return {name: _place(family, name) for name in shapes}


def _place(family: Family, name: str) -> tuple[Place, str] | None:
    """What a tensor's name stands for, and the ending behind the weight's path."""
    layer, _, ending = name.rpartition(".")
    for path, end in ((layer, ending), (name, "")) if ending in ENDINGS else ((name, ""),):
        # What ComfyUI calls so comes first: diffusers has some of these names for other layers.
        if place := family.place(path, own_only=True) or family.place(path):
            return place, end
    return None


def _target(place: Place, ending: str) -> Target:
    weight, part = place
    if part is not None and ending == "weight" and weight.comfy.endswith(SCALE_NORMS):
        ending = "scale"
    name = f"{weight.comfy}.{ending}" if ending else weight.comfy
    if part is None:
        return Target(name)
    return Target(name, part, len(weight.parts), change=swap_halves if weight.swapped else None)


def _targets(family: Family, shapes: Shapes) -> dict[str, list[Target]]:
    """What the tensors of a model of this family hold; those that it does not know keep their names."""
    found = {}
    for name, place in _places(family, shapes).items():
        found[name] = released_targets(family, name, shapes) or [_target(*place) if place else Target(name)]
    return _with_halves_swapped(found) if family.name == SD3 else found


def _with_halves_swapped(targets: dict[str, list[Target]]) -> dict[str, list[Target]]:
    """Diffusers has shift and scale the other way round in the last block's norm of Stable Diffusion 3."""
    numbers = [int(match[1]) for name in targets if (match := re.match(r"transformer_blocks\.(\d+)\.", name))]
    last = f"transformer_blocks.{max(numbers, default=0)}.norm1_context.linear."
    return {
        name: [target._replace(change=swap_halves) for target in held] if name.startswith(last) else held
        for name, held in targets.items()
    }
