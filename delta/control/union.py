"""What the control types of union nets are called, family by family: numbers mean other things in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class UnionFamily:
    """A family of union nets: what to call it, and the number of each type that it was trained with."""

    name: str
    numbers: Mapping[str, int]


# xinsir/controlnet-union-sdxl-1.0; the last two came with ProMax.
XINSIR = {
    "pose": 0,
    "depth": 1,
    "soft edge": 2,
    "scribble": 2,
    "canny": 3,
    "line art": 3,
    "straight lines": 3,
    "normal": 4,
    "segmentation": 5,
    "tile": 6,
    "inpaint": 7,
}
# InstantX/FLUX.1-dev-Controlnet-Union and Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro.
FLUX = {"canny": 0, "tile": 1, "depth": 2, "blur": 3, "pose": 4, "grey": 5, "low quality": 6}
TYPES = (AUTO, *XINSIR, *(name for name in FLUX if name not in XINSIR))


def sdxl_union(count: int) -> UnionFamily:
    """The family of an SDXL union net with so many types."""
    known = {name: number for name, number in XINSIR.items() if number < count}
    return UnionFamily(f"SDXL union ControlNet with {count} types", known)


def flux_union(count: int) -> UnionFamily:
    """The family of a Flux union net with a table of so many modes, some of which may be unused."""
    return UnionFamily("Flux union ControlNet", {name: number for name, number in FLUX.items() if number < count})


def type_numbers(family: UnionFamily | None, name: str) -> list[int] | None:
    """The numbers that a net is told for a type: an empty list for `auto`, None where there is nothing to tell.

    Raises ValueError with the types that the net has.
    """
    if family is None:
        if name == AUTO:
            return None
        raise ValueError(
            f"This ControlNet has no types: it reads only the kind of hint it was made for. Set type to {AUTO}, or remove "
            "Union Type. (Flux Union-Pro 2.0 and the Qwen-Image union net detect the type themselves.)"
        )
    if name == AUTO:
        return []
    if name not in family.numbers:
        more = " Tile and inpaint need the ProMax version." if name in XINSIR and "SDXL" in family.name else ""
        raise ValueError(f"This {family.name} has no type `{name}`. It has: {AUTO}, {', '.join(family.numbers)}.{more}")
    return [family.numbers[name]]
