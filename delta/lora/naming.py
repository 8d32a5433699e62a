"""A LoRA under the names of another program, with fused weights split and split ones fused exactly.

For Stable Diffusion and SDXL the kohya names are those that A1111, diffusers and ComfyUI all read: diffusers' block
numbers behind `lora_unet_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..families import record, text_encoders
from ..families.record import SCALE_NORMS, Family, Style, Weight
from ..families.registry import DENOISER, family_of
from ..families.stable_diffusion import SD
from .adapters import Layer
from .addresses import Address, Located, ModelNames, as_whole, is_gain, is_text, locate, part_of_whole
from .fused import add, split, swap_halves


class Naming(NamedTuple):
    """How a program names layers. style: of a diffusion model, where its record has no other; text: the convention for text
    encoders."""

    style: Style
    text: str

    @property
    def by_parts(self) -> bool:
        """Whether weights that ComfyUI has fused may be named by their parts."""
        return self.style.modules == "diffusers"


KOHYA, COMFYUI, DIFFUSERS = NAMINGS = ("kohya", "ComfyUI", "diffusers")
CONVENTIONS = {
    KOHYA: Naming(record.KOHYA, KOHYA),
    COMFYUI: Naming(Style(DENOISER, "ComfyUI"), COMFYUI),
    DIFFUSERS: Naming(Style(None), DIFFUSERS),
    "PEFT": Naming(Style("base_model.model."), DIFFUSERS),
    "OneTrainer": Naming(Style("transformer."), KOHYA),
    "SimpleTuner LyCORIS": Naming(Style("lycoris_", flat=True), KOHYA),
    "musubi-tuner": Naming(record.KOHYA, KOHYA),
}
# Where diffusers looks for the layers of a model of which ComfyUI reads no diffusers names.
TRANSFORMER = "transformer."
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


class Renaming(NamedTuple):
    """What becomes of the layers of one weight. old: their names; places: at how many addresses they are; new: the layers by
    their new names."""

    old: Sequence[str]
    places: int
    new: Mapping[str, Layer]


def rename(layers: Mapping[str, Layer], naming: str, model: ModelNames | None = None) -> dict[str, Layer]:
    """The same updates under the names of a convention; updates of one weight under two names are added up.

    model: what a connected model tells of names. Without one the family has to be known by the names. Raises ValueError as
    `renamings` does, and where ComfyUI reads no names of the convention.
    """
    return new_layers(renamings(layers, naming, locate([layers], model), model))


def new_layers(changes: Iterable[Renaming]) -> dict[str, Layer]:
    """The layers by their new names, which are different ones."""
    return {name: layer for change in changes for name, layer in change.new.items()}


def renamings(
    layers: Mapping[str, Layer], naming: str, located: Located, model: ModelNames | None = None, unread: bool = False
) -> list[Renaming]:
    """What `rename` does, weight by weight.

    located: where these layers are, or more of their file; unread: whether names are given too that no version of ComfyUI
    reads. Raises ValueError for an unknown convention, for a layer whose place in the model or whose new name is not known
    for certain, and for one that cannot be divided.
    """
    if naming not in CONVENTIONS:
        raise ValueError(f"There is no naming {naming}. Choose one of: {', '.join(CONVENTIONS)}.")
    if CONVENTIONS[naming].by_parts and naming_of(layers) == naming and len(located.candidates) != 1:
        # The names are the wanted ones already, whichever family they are of.
        return [Renaming([name], 1, {name: layer}) for name, layer in layers.items()]
    kept: list[Renaming] = []
    names: dict[str, list[str]] = {}
    for name, layer in layers.items():
        address = located.addresses[name]
        if address is not None:
            names.setdefault(address.weight, []).append(name)
        elif naming_of([name]) == naming:
            kept.append(Renaming([name], 1, {name: layer}))
        else:
            raise ValueError(_unknown(name, located, model))
    changes: list[Renaming] = []
    taken: set[str] = {name for change in kept for name in change.new}
    for weight, old in names.items():
        given: dict[Address, Layer] = {}
        for name in old:
            _add_to(given, located.addresses[name], layers[name])
        try:
            new = _renamed(weight, given, old, naming, located, model, unread)
        except ValueError as error:
            raise ValueError(f"{weight} cannot be renamed: {error}.") from error
        if both := sorted(taken & new.keys()):
            raise ValueError(f"{both[0]} would be the {naming} name of two weights. Choose another naming, {KEEP}.")
        taken |= new.keys()
        changes.append(Renaming(old, len(given), new))
    return kept + changes


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
    weight: str,
    given: Mapping[Address, Layer],
    old: Sequence[str],
    naming: str,
    located: Located,
    model: ModelNames | None,
    unread: bool,
) -> dict[str, Layer]:
    """The layers of one weight under their new names. old: the names they had."""
    family = located.family
    if is_text(old[0]):
        return {_text_name(old[0], weight, naming, located, model): _whole(given)}
    usual = CONVENTIONS[naming].style
    styles = {each.styles.get(naming, usual) for each in located.candidates} or {usual}
    if len(styles) > 1:
        raise ValueError(_fits(located, model))
    (style,) = styles
    if style.modules == "ComfyUI":
        gain = any(is_gain(name, located.addresses[name]) for name in old)
        whole = whole_name(weight, KOHYA if style.flat else COMFYUI, located.candidates, model, gain)
        return {whole: _whole(given)}
    path = weight.removeprefix(DENOISER)
    rows = {
        (each.diffusers_prefix, place and place.weight)
        for each in located.candidates
        for place in [each.place(path, True)]
    }
    if family is None or len(rows) > 1:
        raise ValueError(_fits(located, model))
    if style.beginning is None and family.diffusers_prefix is None and not unread:
        raise ValueError(
            f"ComfyUI does not read diffusers names for {family.name}. Choose the naming ComfyUI; for use in diffusers, put "
            "Convert LoRA Names in between"
        )
    place = family.place(path, own_only=True)
    row = place and (place.weight if style.modules == "diffusers" else family.original(place.weight.comfy))
    names = [_part_name(part, style, family) for part in row.parts] if row else []
    own = whole_name(weight, COMFYUI, located.candidates, model)
    uncertain = any(family.is_by_depth(part) for part in row.parts) if row else False
    if model is not None and style.beginning is None and (uncertain or not unread):
        return _as_the_host_reads(names, own, given, model)
    if unread and not names:
        raise ValueError(f"diffusers has no known name for it. Choose the naming ComfyUI, {KEEP}")
    if not names or uncertain:
        # What has no certain name there keeps the one that ComfyUI reads.
        return {own: _whole(given)}
    return _by_parts(row, names, own, given)


def _as_the_host_reads(
    names: Sequence[str], own: str, given: Mapping[Address, Layer], model: ModelNames
) -> dict[str, Layer]:
    """The layers of a weight under these names, as the host of the connected model reads them; under its own name where it
    reads none of them, or another part of the weight is left."""
    targets = [model.address(name) if name in model.key_map else None for name in names]
    if not targets or None in targets or not _make_up_a_weight(targets):
        return {own: _whole(given)}
    renamed: dict[str, Layer] = {}
    if any(not target.is_whole for target in targets):
        renamed, given = _biases_apart(own, given)
    by_target = dict(zip(targets, names))
    if given.keys() <= by_target.keys():
        return renamed | {by_target[address]: layer for address, layer in given.items()}
    whole = _whole(given)
    return renamed | {name: part_of_whole(whole, target) for target, name in by_target.items()}


def _make_up_a_weight(addresses: Sequence[Address]) -> bool:
    """Whether these parts are all of one weight, without gap or overlap."""
    rows = sorted(address.rows for address in addresses if address.rows is not None)
    if not rows:
        return len(addresses) == 1
    ends = [0, *(part.start + part.length for part in rows)]
    return len(rows) == len(addresses) and ends == [*(part.start for part in rows), rows[0].total]


def _biases_apart(own: str, given: Mapping[Address, Layer]) -> tuple[dict[str, Layer], Mapping[Address, Layer]]:
    """The biases under the weight's own name, the only one by which ComfyUI applies them, and the rest."""
    biases = {address: Layer(bias=layer.bias) for address, layer in given.items() if layer.bias is not None}
    rest = {address: replace(layer, bias=None) for address, layer in given.items()}
    return {own: _whole(biases)} if biases else {}, rest


def _by_parts(weight: Weight, names: Sequence[str], own: str, given: Mapping[Address, Layer]) -> dict[str, Layer]:
    """The layers of the parts of a weight, which have these names."""
    renamed: dict[str, Layer] = {}
    if len(weight.parts) > 1 or weight.swapped:
        renamed, given = _biases_apart(own, given)
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


def _part_name(path: str, style: Style, family: Family) -> str:
    if style.flat:
        return style.beginning + path.replace(".", "_")
    beginning = style.beginning or family.diffusers_prefix or TRANSFORMER
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
        raise ValueError(f"{name} has no known {naming} name. Choose another naming, {KEEP}")
    return new


def _unknown(name: str, located: Located, model: ModelNames | None) -> str:
    if model is not None:
        return f"{name} is not a layer of the connected model. Connect the model that the LoRA is for, {KEEP}."
    return f"{name} cannot be renamed: {_fits(located, model)}, {KEEP}."


def _fits(located: Located, model: ModelNames | None) -> str:
    if model is not None:
        return "the connected model belongs to no family with known names in other programs. Choose the naming ComfyUI"
    names = " and ".join(family.name for family in located.candidates)
    return (
        f"the names of this LoRA fit {names or 'no known family'}; only the connected model can settle which. "
        "Connect the model"
    )


def _add_to(layers: dict, key: object, layer: Layer) -> None:
    layers[key] = add([layers[key], layer]) if key in layers else layer
