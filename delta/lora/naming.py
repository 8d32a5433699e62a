"""A LoRA under the names of another program, with fused weights split and split ones fused exactly.

For Stable Diffusion and SDXL the kohya names are those that A1111, diffusers and ComfyUI all read: diffusers' block
numbers behind `lora_unet_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..families import text_encoders
from ..families.record import SCALE_NORMS, Family, Weight
from ..families.registry import DENOISER, family_of
from ..families.stable_diffusion import SD
from .adapters import Layer
from .addresses import Address, Located, ModelNames, as_whole, is_gain, is_text, locate
from .fused import add, split, swap_halves


class Naming(NamedTuple):
    """How a program names the layers of a diffusion model.

    beginning: of every name, None for the one behind which ComfyUI reads diffusers' names of the family; diffusers: whether
    diffusers' modules stand behind it, else ComfyUI's paths; flat: whether with underscores for dots; text: the convention
    for text encoders.
    """

    beginning: str | None
    diffusers: bool
    flat: bool
    text: str


KOHYA, COMFYUI, DIFFUSERS = NAMINGS = ("kohya", "ComfyUI", "diffusers")
CONVENTIONS = {
    KOHYA: Naming("lora_unet_", False, True, KOHYA),
    COMFYUI: Naming(DENOISER, False, False, COMFYUI),
    DIFFUSERS: Naming(None, True, False, DIFFUSERS),
    "PEFT": Naming("base_model.model.", True, False, DIFFUSERS),
    "OneTrainer": Naming("lora_transformer_", True, True, KOHYA),
    "SimpleTuner LyCORIS": Naming("lycoris_", True, True, KOHYA),
}
# How the names of each convention begin.
BEGINNINGS = {
    KOHYA: ("lora_unet_", "lora_te"),
    COMFYUI: (DENOISER, text_encoders.PREFIX),
    DIFFUSERS: ("unet.", "transformer.", "text_encoder.", "text_encoder_2."),
    "PEFT": ("base_model.model.",),
    "OneTrainer": ("lora_transformer_", "lora_te"),
    "SimpleTuner LyCORIS": ("lycoris_",),
}
KEEP = "or keep the names as they are"


def naming_of(names: Iterable[str]) -> str | None:
    """The convention that all these names of layers follow, or None."""
    names = list(names)
    return next((naming for naming, starts in BEGINNINGS.items() if all(n.startswith(starts) for n in names)), None)


def rename(layers: Mapping[str, Layer], naming: str, model: ModelNames | None = None) -> dict[str, Layer]:
    """The same updates under the names of a convention; updates of one weight under two names are added up.

    model: what a connected model tells of names. Without one the family has to be known by the names. Raises ValueError for
    an unknown convention, for a layer whose place in the model or whose new name is not known for certain, and for one that
    cannot be divided.
    """
    if naming not in CONVENTIONS:
        raise ValueError(f"There is no naming {naming}. Choose one of: {', '.join(CONVENTIONS)}.")
    located = locate([layers], model)
    if CONVENTIONS[naming].diffusers and naming_of(layers) == naming and len(located.candidates) != 1:
        # The names are the wanted ones already, whichever family they are of.
        return dict(layers)
    renamed: dict[str, Layer] = {}
    weights: dict[str, dict[Address, Layer]] = {}
    gains: set[str] = set()
    for name, layer in layers.items():
        address = located.addresses[name]
        if address is None:
            if naming_of([name]) != naming:
                raise ValueError(_unknown(name, located, model is not None))
            _add_to(renamed, name, layer)
        elif is_text(name):
            _add_to(renamed, _text_name(name, address.weight, naming, located, model), layer)
        else:
            _add_to(weights.setdefault(address.weight, {}), address, layer)
            gains |= {address.weight} if is_gain(name, address) else set()
    for weight, given in weights.items():
        try:
            new = _renamed(weight, given, naming, located, model, weight in gains)
        except ValueError as error:
            raise ValueError(f"{weight} cannot be renamed: {error}.") from error
        if both := sorted(renamed.keys() & new.keys()):
            raise ValueError(f"{both[0]} would be the {naming} name of two weights. Choose another naming, {KEEP}.")
        renamed |= new
    return renamed


def whole_name(
    weight: str, naming: str, families: Sequence[Family], model: ModelNames | None = None, gain: bool = False
) -> str:
    """The name of a whole weight of a diffusion model, kohya's or ComfyUI's.

    weight: as in `Address`; families: those that the model may be of, which agree about its weights; gain: whether it is the
    weight of a norm that the host calls `scale`, where no model tells.
    """
    path = weight.removeprefix(DENOISER)
    rows = [place.weight if (place := family.place(path, own_only=True)) else None for family in families]
    gains = {
        family.diffusers_prefix + row.parts[0] if row and row.parts and family.diffusers_prefix else None
        for family, row in zip(families, rows)
    }
    if path.removesuffix(".scale").endswith(SCALE_NORMS) and len(gains) == 1 and None not in gains:
        # The diffusers name is the only one that every version of ComfyUI reads.
        return gains.pop()
    if gain and model is None:
        return f"{weight}.scale"
    is_weight = f"{weight}.weight" in model.weights if model else not any(family.is_bare(path) for family in families)
    if naming != KOHYA or not is_weight:
        return model.own_name(weight) if model else weight
    parts = rows[0].parts if rows and rows[0] and families[0].whole_diffusers else ()
    return "lora_unet_" + (parts[0] if parts else path).replace(".", "_")


def usual_names(layers: Mapping[str, Layer], weights: Iterable[str]) -> Mapping[str, Layer]:
    """Layers of a model under kohya's names, which most programs read; where two would get one name, under ComfyUI's.

    layers: by ComfyUI's names; weights: the names of all weights of the model. A U-Net of unusual depth is numbered as
    ComfyUI numbers it, because kohya's numbers are those of the usual ones.
    """
    weights = list(weights)
    family, model = family_of(weights), ModelNames({}, dict.fromkeys(weights, ()))
    has_first = text_encoders.has_first(weights)
    named: dict[str, Layer] = {}
    for name, layer in layers.items():
        if is_text(name):
            new = text_encoders.written(name, KOHYA, family is not None and family.name == SD.name) or name
            new = name if text_encoders.is_counted(new) and not has_first else new
        else:
            new = whole_name(name, KOHYA, [family] if family else [], model)
        if new in named:
            return layers
        named[new] = layer
    return named


def _renamed(
    weight: str, given: Mapping[Address, Layer], naming: str, located: Located, model: ModelNames | None, gain: bool
) -> dict[str, Layer]:
    """The layers of one weight under their new names."""
    convention, family = CONVENTIONS[naming], located.family
    if not convention.diffusers:
        return {whole_name(weight, naming, located.candidates, model, gain): _whole(given)}
    path = weight.removeprefix(DENOISER)
    rows = {
        (each.diffusers_prefix, place and place.weight)
        for each in located.candidates
        for place in [each.place(path, True)]
    }
    if family is None or len(rows) > 1:
        raise ValueError(_fits(located))
    place = family.place(path, own_only=True)
    if convention.beginning is None and family.diffusers_prefix is None:
        raise ValueError(f"ComfyUI reads no names of diffusers of {family.name}. Choose the naming ComfyUI")
    if place is None or not place.weight.parts:
        raise ValueError(f"diffusers has no name of it that is known here. Choose the naming ComfyUI, {KEEP}")
    return _by_parts(place.weight, given, convention, located, model)


def _by_parts(
    weight: Weight, given: Mapping[Address, Layer], convention: Naming, located: Located, model: ModelNames | None
) -> dict[str, Layer]:
    """The layers of the diffusers parts of a weight."""
    family = located.family
    renamed: dict[str, Layer] = {}
    if len(weight.parts) > 1 or weight.swapped:
        biases = {address: Layer(bias=layer.bias) for address, layer in given.items() if layer.bias is not None}
        if biases:
            # ComfyUI applies the bias of such a weight under its own name only.
            renamed[whole_name(DENOISER + weight.comfy, COMFYUI, located.candidates, model)] = _whole(biases)
        given = {address: replace(layer, bias=None) for address, layer in given.items()}
    names = [_part_name(part, convention, family) for part in weight.parts]
    parts = [_part_of(weight, address) for address in given]
    if None not in parts:
        return renamed | {names[part]: layer for part, layer in zip(parts, given.values())}
    whole = _whole(given)
    if weight.swapped:
        whole = swap_halves(whole)
    pieces = [whole] if len(weight.parts) == 1 else split(whole, weight.shares)
    return renamed | dict(zip(names, pieces))


def _part_of(weight: Weight, address: Address) -> int | None:
    """Which diffusers part of a weight an address is; None where it is none."""
    if len(weight.parts) == 1:
        return 0 if address.rows is None and address.swapped == weight.swapped else None
    if address.rows is None or address.swapped:
        return None
    start, length, total = address.rows
    shares, units = weight.shares, sum(weight.shares)
    same = (
        part
        for part in range(len(shares))
        if start * units == sum(shares[:part]) * total and length * units == shares[part] * total
    )
    return next(same, None)


def _part_name(path: str, convention: Naming, family: Family) -> str:
    if convention.flat:
        return convention.beginning + path.replace(".", "_")
    beginning = family.diffusers_prefix if convention.beginning is None else convention.beginning
    if beginning == "unet." and ".to_" in path:
        # As ComfyUI reads it too: the attention of a U-Net by diffusers' earlier attention processors.
        path = path.replace(".to_", ".processor.to_").removesuffix(".0")
    return beginning + path


def _whole(given: Mapping[Address, Layer]) -> Layer:
    return add([as_whole(layer, address) for address, layer in given.items()])


def _text_name(name: str, comfy: str, naming: str, located: Located, model: ModelNames | None) -> str:
    alone = name.startswith("lora_te_") or (located.family is not None and located.family.name == SD.name)
    new = text_encoders.written(comfy, CONVENTIONS[naming].text, alone)
    known = model.key_map if model is not None else {}
    if new not in known and comfy in known:
        # The number is that of another encoder in this model.
        new = comfy if naming == KOHYA else None
    if new is None:
        raise ValueError(f"{name} has no known {naming} name. Choose another naming, {KEEP}.")
    return new


def _unknown(name: str, located: Located, connected: bool) -> str:
    if connected:
        return f"{name} is no layer of the connected model. Connect the model that the LoRA is for, {KEEP}."
    return f"{name} cannot be renamed: {_fits(located)}. Connect the model, {KEEP}."


def _fits(located: Located) -> str:
    names = " and ".join(family.name for family in located.candidates)
    return f"the names of this LoRA fit {names or 'no family that is known here'}, which only the connected model can settle"


def _add_to(layers: dict, key: object, layer: Layer) -> None:
    layers[key] = add([layers[key], layer]) if key in layers else layer
