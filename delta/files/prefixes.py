"""How the names of a diffusion model begin in files, and which family is behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..families.record import Family
from ..families.registry import DENOISER, family_of

# Behind these stands a diffusion model, whatever its family.
CERTAIN_PREFIXES = ("model.diffusion_model.", DENOISER, "model.model.")
# ComfyUI takes these off too, the last from PixelDiT; other models than diffusion models have them as well.
OTHER_PREFIXES = ("net.", "model.", "core.")


class Behind(NamedTuple):
    """The tensors of a file behind a prefix: their names without it, with those in the file."""

    prefix: str
    names: dict[str, str]


def behind_prefixes(names: Iterable[str]) -> Iterator[Behind]:
    """The tensors behind each of the prefixes that the file has, most telling first, and last all tensors as they are."""
    names = list(names)
    for prefix in (*CERTAIN_PREFIXES, *OTHER_PREFIXES, ""):
        if found := {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}:
            yield Behind(prefix, found)


def family_in_file(names: Iterable[str]) -> Family | None:
    """The family of the diffusion model that a file holds under ComfyUI's names, behind any of the prefixes or bare."""
    return next((family for behind in behind_prefixes(names) if (family := family_of(behind.names))), None)
