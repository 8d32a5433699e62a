"""A LoRA under the names of kohya, ComfyUI or diffusers, with fused weights split and split ones fused exactly.

For Stable Diffusion and SDXL the kohya names are those that A1111, diffusers and ComfyUI all read: diffusers' block
numbers behind `lora_unet_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..families.architectures import ARCHITECTURES, SCALE_NORMS, TEXT_ENCODERS, UNETS, Architecture, Weight
from .adapters import Layer
from .fused import add, fuse, split, swap_halves
from .layer_names import encoder_and_body

NAMINGS = ("kohya", "ComfyUI", "diffusers")
# How the names of each convention begin.
BEGINNINGS = {
    "kohya": ("lora_unet_", "lora_te"),
    "ComfyUI": ("diffusion_model.", "text_encoders."),
    "diffusers": ("unet.", "transformer.", "text_encoder.", "text_encoder_2."),
}
TEXT_BEGINNINGS = {
    "kohya": {"te1": "lora_te1_", "te2": "lora_te2_", "te3": "lora_te3_"},
    "ComfyUI": {
        "te1": "text_encoders.clip_l.transformer.",
        "te2": "text_encoders.clip_g.transformer.",
        "te3": "text_encoders.t5xxl.transformer.",
    },
    "diffusers": {"te1": "text_encoder.", "te2": "text_encoder_2."},
}
# Stable Diffusion 2 has a text encoder of this width, CLIP-H, where the others have CLIP-L.
CLIP_H_WIDTH = 1024


def naming_of(names: Iterable[str]) -> str | None:
    """The convention that all these names of layers follow, or None."""
    names = list(names)
    return next((naming for naming, starts in BEGINNINGS.items() if all(n.startswith(starts) for n in names)), None)


def architecture_of(names: Iterable[str]) -> Architecture | None:
    """The architecture that has most of these layers, None where no one has any. Text encoders tell nothing."""
    found = [encoder_and_body(name) for name in names]
    bodies = [body for encoder, body in found if encoder is None]
    hits = {architecture: sum(body in architecture.places for body in bodies) for architecture in ARCHITECTURES}
    best = max(hits, key=hits.__getitem__)
    return best if hits[best] else None


def knows(architecture: Architecture, name: str) -> bool:
    """Whether a layer is one of the architecture, or of a text encoder."""
    encoder, body = encoder_and_body(name)
    return encoder is not None or body in architecture.places


def rename(layers: Mapping[str, Layer], naming: str, keep_unknown: bool = False) -> dict[str, Layer]:
    """The same updates under the names of a convention; updates of one weight under two names are added up.

    keep_unknown: whether a layer without a name in the convention keeps its own. Raises ValueError for such a layer
    otherwise, for an unknown convention, and for a layer that cannot be divided.
    """
    if naming not in NAMINGS:
        raise ValueError(f"There is no naming {naming}. Choose one of: {', '.join(NAMINGS)}.")
    architecture = architecture_of(layers)
    renamed: dict[str, Layer] = {}
    weights: dict[Weight, dict[int | None, Layer]] = {}
    for name, layer in layers.items():
        encoder, body = encoder_and_body(name)
        place = None if architecture is None or encoder is not None else architecture.places.get(body)
        if place is not None and (naming != "diffusers" or place.weight.parts):
            _add_to(weights.setdefault(place.weight, {}), place.part, layer)
            continue
        new = _text_name(name, encoder, body, layer, naming, architecture) if encoder is not None else None
        if new is None and not keep_unknown:
            raise ValueError(_no_name(name, naming, architecture if encoder is None and place is not None else None))
        _add_to(renamed, new or name, layer)
    for weight, given in weights.items():
        try:
            if naming == "diffusers":
                renamed |= _by_diffusers(weight, given, architecture)
            else:
                renamed[_whole_name(weight, architecture, naming)] = _whole(weight, given)
        except ValueError as error:
            raise ValueError(f"{weight.comfy} cannot be renamed: {error}. Keep the names as they are.") from error
    return renamed


def usual_names(layers: Mapping[str, Layer], matrices: Iterable[str]) -> Mapping[str, Layer]:
    """Under kohya's names, which most programs read, where the architecture has them; else the names given.

    matrices: the names of all layers of the model with factors. A U-Net of unusual depth keeps ComfyUI's names, because the
    blocks of kohya's are numbered by the usual one.
    """
    matrices = list(matrices)
    unet = architecture_of(matrices)
    if unet in UNETS and not all(knows(unet, name) for name in matrices):
        return layers
    return rename(layers, "kohya", keep_unknown=True)


def _no_name(name: str, naming: str, architecture: Architecture | None) -> str:
    if architecture is not None:
        return f"{architecture.name} has no diffusers names that ComfyUI reads too. Choose the naming ComfyUI."
    return f"{name} has no known {naming} name. Choose another naming, or keep the names as they are."


def _add_to(layers: dict, key: object, layer: Layer) -> None:
    layers[key] = add([layers[key], layer]) if key in layers else layer


def _whole_name(weight: Weight, architecture: Architecture, naming: str) -> str:
    if weight.comfy.endswith(SCALE_NORMS):
        # The diffusers name is the only one that every version of ComfyUI reads.
        return architecture.diffusers_prefix + weight.parts[0]
    if naming == "ComfyUI":
        return f"diffusion_model.{weight.comfy}"
    path = weight.parts[0] if architecture in UNETS else weight.comfy
    return "lora_unet_" + path.replace(".", "_")


def _whole(weight: Weight, given: Mapping[int | None, Layer]) -> Layer:
    """The one layer of a weight, from its layer as a whole and those of its diffusers parts."""
    layers = [given[None]] if None in given else []
    parts = [given.get(index) for index in range(len(weight.parts))]
    if any(part is not None for part in parts):
        whole = parts[0] if len(parts) == 1 else fuse(parts, weight.shares)
        layers.append(swap_halves(whole) if weight.swapped else whole)
    return add(layers)


def _by_diffusers(weight: Weight, given: Mapping[int | None, Layer], architecture: Architecture) -> dict[str, Layer]:
    """The layers of the diffusers parts of a weight."""
    renamed: dict[str, Layer] = {}
    if len(weight.parts) > 1 or weight.swapped:
        biases = {index: Layer(bias=layer.bias) for index, layer in given.items() if layer.bias is not None}
        if biases:
            # ComfyUI applies the bias of such a weight under its own name only.
            renamed[_whole_name(weight, architecture, "ComfyUI")] = _whole(weight, biases)
        given = {index: replace(layer, bias=None) for index, layer in given.items()}
    layers: dict[int, Layer] = {index: layer for index, layer in given.items() if index is not None}
    if None in given:
        whole = swap_halves(given[None]) if weight.swapped else given[None]
        pieces = [whole] if len(weight.parts) == 1 else split(whole, weight.shares)
        for index, piece in enumerate(pieces):
            _add_to(layers, index, piece)
    names = [architecture.diffusers_prefix + _in_diffusers(part, architecture) for part in weight.parts]
    return renamed | {names[index]: layer for index, layer in layers.items()}


def _in_diffusers(path: str, architecture: Architecture) -> str:
    """The path as ComfyUI reads it too: the attention of a U-Net by diffusers' earlier attention processors."""
    if architecture in UNETS and ".to_" in path:
        return path.replace(".to_", ".processor.to_").removesuffix(".0")
    return path


def _text_name(
    name: str, encoder: str, body: str, layer: Layer, naming: str, architecture: Architecture | None
) -> str | None:
    """The name of a layer of a text encoder, None where the convention has none."""
    place = TEXT_ENCODERS.places.get(body)
    if naming == "kohya" and place is not None and not place.weight.parts:
        # Norms and embeddings have no kohya name; ComfyUI's own is the only one that is read.
        naming = "ComfyUI"
    beginning = TEXT_BEGINNINGS[naming].get(encoder)
    if beginning is None or place is None or (naming == "diffusers" and not place.weight.parts):
        return None
    if naming == "kohya":
        # Where there is one text encoder only, it has no number.
        alone = encoder == "te1" and (name.startswith("lora_te_") or architecture is UNETS[0])
        return ("lora_te_" if alone else beginning) + body
    if naming == "ComfyUI" and encoder == "te1" and CLIP_H_WIDTH in _shape(layer):
        beginning = beginning.replace("clip_l", "clip_h")
    return beginning + place.weight.comfy


def _shape(layer: Layer) -> tuple[int, ...]:
    given = (layer.low_rank, layer.full, layer.new_weight, layer.bias)
    return next(tuple(update.shape) for update in given if update is not None)
