"""Under which of two old names `norms.difference` knows a model's family, until its naming asks the records itself."""

from __future__ import annotations

from .norm_sites import PREFIX, NormSites, Shapes
from .registry import family_of

FLUX = ("Flux.1", "Ovis-Image")


def find_sites(shapes: Shapes) -> NormSites:
    """The old name of a model's family, with no sites."""
    found = family_of(shapes)
    unet = f"{PREFIX}input_blocks.0.0.weight" in shapes
    flux = found is not None and found.name in FLUX
    return NormSites("U-Net of Stable Diffusion" if unet else "Flux" if flux else "", {})
