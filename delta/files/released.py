"""Weights that released files hold in another form than the model, which ComfyUI changes as it loads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from ..families.record import Family
from .targets import Target

# The parts of torch's fused attention: Stable Cascade, and the music encoder of Wan Dancer.
IN_PROJ = re.compile(r"(.+)\.in_proj_(weight|bias)")
QUERY_KEY_VALUE = (("to_q", "to_k", "to_v"), ("q_proj", "k_proj", "v_proj"))
# PixelDiT: shift, scale and gate of the attention and of the MLP alternate, for each pixel of a patch.
PIXEL_MODULATION = re.compile(r"(pixel_blocks\.\d+)\.adaLN_modulation\.0\.(weight|bias)")
PIXEL_EMBEDDER = "pixel_embedder.proj.weight"
PIXEL_LAYERS = ("adaLN_modulation_msa", "adaLN_modulation_mlp")


def released_targets(family: Family, name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[Target]:
    """The weights of a family's model that a tensor holds in such a form; none for all others."""
    if match := IN_PROJ.fullmatch(name):
        layer, ending = match.groups()
        for parts in QUERY_KEY_VALUE:
            if all(family.place(f"{layer}.{part}", own_only=True) for part in parts):
                return [Target(f"{layer}.{part}.{ending}", third=third) for third, part in enumerate(parts)]
    if (match := PIXEL_MODULATION.fullmatch(name)) and PIXEL_EMBEDDER in shapes:
        block, ending = match.groups()
        width = shapes[PIXEL_EMBEDDER][0]
        return [
            Target(f"{block}.{layer}.{ending}", change=partial(_half_of_pixels, width=width, half=half))
            for half, layer in enumerate(PIXEL_LAYERS)
        ]
    return []


def _half_of_pixels(value: Tensor, width: int, half: int) -> Tensor:
    rows = value.reshape(-1, 2, 3 * width, *value.shape[1:])[:, half]
    return rows.reshape(-1, *value.shape[1:])
