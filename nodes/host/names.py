"""What the host reads of the names of LoRA tensors: by a connected model, else by small models of the families."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import comfy.lora
import comfy.lora_convert
import comfy.supported_models
import torch

from ...delta.families import norm_sites, text_encoders
from ...delta.families.record import Family, HostModel
from ...delta.families.registry import DENOISER, families_of_layers, family_named, place_of, spelling
from ...delta.lora.adapters import BIASES, split_name
from ...delta.lora.addresses import Address, ModelNames, is_text, of_place
from ...delta.lora.costs import Job
from ...delta.lora.file import LoraModel, group
from ...delta.lora.save import UNPROVEN, NameProof, Prove, unread_sentence
from ...delta.lora.twins import join_twins
from .weights import PatchKey, is_skipped_in, model_weights

# A layer may be in some of the blocks only: in the first or later ones, and in the last of twelve of SeedVR2.
BLOCKS = ("0", "1", "2", "3", "11")
# Settings of newer hosts that change no names.
OPTIONAL = ("txt_ids_dims", "meanflow_sum", "use_x0", "use_sequential_txt_ids")
CONVENTIONS = ("kohya", "ComfyUI", "diffusers")


def host_key_map(model: Any, clip: Any | None) -> dict[str, PatchKey]:
    """Every LoRA name that this host knows for a model and text encoder, to the weight it stands for."""
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    return key_map if clip is None else comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)


def lora_key_map(model: Any | None, clip: Any | None) -> dict[str, PatchKey]:
    """As `host_key_map`, with what other versions of the host call the same parameters. Without a model no name is known."""
    if model is None:
        return {}
    key_map = host_key_map(model, None)
    for key in list(key_map.values()):
        if isinstance(key, str):
            key_map |= {alias: key for alias in norm_sites.lora_names(key) if alias not in key_map}
    if clip is None:
        return key_map
    key_map = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)
    return text_encoders.language_model_names(clip.cond_stage_model.state_dict()) | key_map


class _ReadLedger(dict):
    """A state dict that remembers which of its tensors were taken."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        super().__init__(tensors)
        self.taken: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.taken.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default


class LoraMatch(NamedTuple):
    """The host's patches by weight, and the names of the tensors that matched no weight."""

    patches: dict[PatchKey, Any]
    unmatched: list[str]


def match_lora(tensors: dict[str, torch.Tensor], key_map: dict[str, PatchKey]) -> LoraMatch:
    """Turn a LoRA file's tensors into patches with the host's own adapters.

    Updates that a file has of one weight under two names are added up: the host would apply the last one only. Raises
    ValueError where that cannot be done, and for a layer that lacks its other half.
    """
    name = tensors.name if isinstance(tensors, LoraModel) else "The LoRA"
    try:
        return _load(join_twins(name, comfy.lora_convert.convert_lora(tensors), key_map), key_map)
    except KeyError as error:
        raise ValueError(f"{name} lacks the tensor {error}, the other half of a layer. Use another copy.") from error


def _load(tensors: dict[str, torch.Tensor], key_map: dict[str, PatchKey]) -> LoraMatch:
    ledger = _ReadLedger(tensors)
    patches = comfy.lora.load_lora(ledger, key_map, log_missing=False)
    # The host looks for the bias of a norm before it knows whether there is a gain, without which it leaves it alone.
    alone = {name for name in ledger if name.endswith(".b_norm") and f"{name[:-6]}w_norm" not in ledger}
    return LoraMatch(patches, [name for name in ledger if name not in ledger.taken or name in alone])


def model_names(model: Any | None, clip: Any | None) -> ModelNames | None:
    """What a MODEL and, if given, a CLIP tell of names; None without a MODEL."""
    if model is None:
        return None
    stored = model_weights(model) | ({} if clip is None else model_weights(clip))
    return ModelNames(lora_key_map(model, clip), {name: tuple(weight.shape) for name, weight in stored.items()})


def prover(model: Any | None, clip: Any | None) -> Prove:
    """A function that tells which written tensors the host reads and applies.

    With a MODEL by the host's own loader on it; without one by small models of the families that all the names fit.
    """
    if model is None:
        return prove_by_families
    key_map, weights = host_key_map(model, clip), model_weights(model) | ({} if clip is None else model_weights(clip))
    skipped = _skipped(model.model)
    return lambda tensors: _prove_by_model(tensors, _HostNames(key_map, frozenset(weights), skipped), clip is not None)


def _skipped(model: Any) -> frozenset[str]:
    """The parameters of a diffusion model of which the host takes patches and never applies them."""
    names = (name for name, _ in model.named_parameters() if name.startswith(DENOISER))
    return frozenset(name for name in names if is_skipped_in(model, name))


def _never_applied(names: Sequence[str]) -> str:
    """What to say, behind the proof, of weights or layers whose updates core's own loaders drop; nothing where there is none."""
    if not names:
        return ""
    return f"; core's own loaders read {len(names)} of the weights and never apply them, such as {names[0]}: use Apply LoRA"


def _prove_by_model(tensors: Mapping[str, torch.Tensor], names: _HostNames, with_clip: bool) -> NameProof:
    key_map = names.key_map
    match = match_lora(dict(tensors), key_map)
    text = set() if with_clip else {name for name in match.unmatched if is_text(name)}
    unread = set(match.unmatched)
    targets: dict[PatchKey, set[str]] = {}
    for parts in _by_layer(tensors).values():
        found = _read_layer(parts, names)
        unread |= found.unread
        for target in found.targets:
            # Of two layers for one target the host applies one only.
            unread |= targets.get(target, set())
            targets[target] = parts.keys() - found.unread
    line = f"names proven: ComfyUI reads all {len(tensors) - len(text)} tensors with the connected model"
    line += _never_applied(sorted(names.skipped & targets.keys()))
    if len(text) == len(tensors):
        line = f"names unproven: all {len(text)} tensors belong to a text encoder; connect the CLIP to prove them"
    elif text:
        line += f"; {len(text)} of a text encoder are unproven; connect the CLIP to prove them"
    return NameProof(line, [name for name in tensors if name in unread - text])


def prove_by_families(tensors: Mapping[str, torch.Tensor]) -> NameProof:
    """Which tensors the host reads, by small models of the families that all the names fit."""
    foreign = group(tensors)[1]
    layers = _by_layer(tensors)
    text = {name for name in layers if is_text(name)}
    denoiser = {name: parts for name, parts in layers.items() if name not in text}
    has_first = text_encoders.has_first(text)
    counted = {name for name in text if text_encoders.is_counted(name)}
    strange = sorted(name for name in text if not _is_known_text(name) or (name in counted and not has_first))
    known = families_of_layers(denoiser)
    unread = {family.name: missing for family in known if (missing := _unread_by(family, denoiser)) is not None}
    readers = [name for name, missing in unread.items() if not missing]
    if denoiser and not unread:
        return UNPROVEN._replace(unread=foreign)
    missing = set(foreign) | (min(unread.values(), key=len) if denoiser and not readers else set())
    if missing:
        return UNPROVEN._replace(unread=[name for name in tensors if name in missing])
    if strange:
        return NameProof(f"names unproven: {len(strange)} layers of a text encoder such as {strange[0]}")
    models = f" with a model of {' or '.join(readers)}" if readers else ""
    skipped = _skipped_of(readers, denoiser)
    return NameProof(f"names proven: ComfyUI reads all {len(tensors)} tensors{models}{skipped}")


def _skipped_of(readers: Sequence[str], layers: Iterable[str]) -> str:
    """As `_never_applied`, by a model of the first of these families."""
    if not readers:
        return ""
    family = family_named(readers[0])
    names = _family_names(family.name)
    keys = {name: (names.key_map.get(other) for other in _in_blocks(family, name)) for name in layers}
    return _never_applied([name for name in layers if not names.skipped.isdisjoint(filter(None, keys[name]))])


def proven(job: Job, prove: Prove) -> Job:
    """A result whose names are proven, with a line about it on top of its report. Raises ValueError for names that the host
    does not read."""
    proof = prove(job.model)
    if proof.unread:
        raise ValueError(unread_sentence(proof.unread, len(job.model)))
    return job._replace(report=f"{proof.line}\n{job.report}")


def _by_layer(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each layer by their whole names."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if parts := split_name(name):
            layers.setdefault(parts[0], {})[name] = tensor
    return layers


class _LayerRead(NamedTuple):
    """What the host makes of a layer: the tensors that it does not use, and the weights and biases that it changes."""

    unread: set[str]
    targets: set[PatchKey]


def _read_layer(tensors: Mapping[str, torch.Tensor], names: _HostNames, name: str | None = None) -> _LayerRead:
    """name: of the layer in the key map, where it is not that of the tensors."""
    own = split_name(next(iter(tensors)))[0]
    origins = {(name or own) + tensor.removeprefix(own): tensor for tensor in tensors}
    # The host reads an update of the bias under the name of the bias too.
    known = {key: names.key_map[key] for key in (name or own, f"{name or own}.bias") if key in names.key_map}
    try:
        match = _load({renamed: tensors[tensor] for renamed, tensor in origins.items()}, known)
    except KeyError:
        # It lacks the other half, so that the host fails.
        return _LayerRead(set(tensors), set())
    # The host drops patches of parameters that the model lacks, and biases of a part of a weight, without a word.
    targets = {key for key in match.patches if _target(key) in names.weights}
    unread = {origins[renamed] for renamed in match.unmatched}
    if not targets:
        unread = set(tensors)
    elif targets != match.patches.keys():
        unread |= {tensor for tensor in tensors if split_name(tensor)[1] in BIASES}
    return _LayerRead(unread, targets)


def _target(key: PatchKey) -> str:
    return key if isinstance(key, str) else key[0]


def _unread_by(family: Family, layers: Mapping[str, Mapping[str, torch.Tensor]]) -> set[str] | None:
    """The tensors that the host does not read with a model of the family; None where this host cannot build one."""
    names = _family_names(family.name)
    if names is None:
        return None
    unread: set[str] = set()
    first: dict[tuple[Address, bool], str] = {}
    for name, parts in layers.items():
        read_as = [other for other in _in_blocks(family, name) if _means(names.key_map.get(other), family, other)]
        given = [_read_layer(parts, names, other) for other in read_as]
        unread |= min((found.unread for found in given), key=len, default=parts.keys())
        address = of_place(place_of(name, family))
        for is_bias in {split_name(tensor)[1] in BIASES for tensor in parts}:
            if first.setdefault((address, is_bias), name) != name:
                # Of two layers for one target the host applies one only.
                unread |= parts.keys()
    return unread


def _means(key: PatchKey | None, family: Family, name: str) -> bool:
    """Whether the host takes a layer's name for the same weight, or part of one, as the record does."""
    place = place_of(name, family)
    if key is None or place is None:
        return False
    address, weight = of_place(place), _target(key).removesuffix(".weight")
    rows = not isinstance(key, str) and key[1] is not None
    return address.weight in (weight, weight.removesuffix(".scale")) and rows == (address.rows is not None)


def _in_blocks(family: Family, name: str) -> list[str]:
    """A layer's name as the blocks of a small model have it."""
    beginning = spelling(name).beginning
    return [beginning + body for body in family.in_blocks(name.removeprefix(beginning), BLOCKS)]


def _is_known_text(name: str) -> bool:
    """Whether the host reads this name of a layer of CLIP or T5, which it builds in one form only."""
    comfy = text_encoders.canonical(name)
    if comfy is None:
        return False
    names = {text_encoders.written(comfy, naming, alone) for naming in CONVENTIONS for alone in (False, True)}
    return name in names


class _HostNames(NamedTuple):
    """Every name of a layer that the host reads, to the weight it stands for; the names of all weights; and of those of which
    it takes patches and never applies them."""

    key_map: dict[str, PatchKey]
    weights: frozenset[str]
    skipped: frozenset[str]


@lru_cache(maxsize=64)
def _family_names(name: str) -> _HostNames | None:
    """The names of the small models of a family, without memory for their weights."""
    family = family_named(name)
    if family.host is None:
        return None
    variants = [variant._replace(config={**family.host.config, **variant.config}) for variant in family.variants]
    found = [names for model in (family.host, *variants) if (names := _names_of(model)) is not None]
    if not found:
        return None
    key_map = {known: key for names in found for known, key in names.key_map.items()}
    weights, skipped = (frozenset().union(*sets) for sets in zip(*((names.weights, names.skipped) for names in found)))
    return _HostNames(key_map, weights, skipped)


def _names_of(model: HostModel) -> _HostNames | None:
    """The names of one model; None where this host has none of its kind."""
    kind = getattr(comfy.supported_models, model.kind, None)
    if kind is None:
        return None
    config = dict(model.config)
    while True:
        try:
            built = _on_meta(kind, config)
            key_map = comfy.lora.model_lora_keys_unet(built, {})
            return _HostNames(key_map, frozenset(built.state_dict()), _skipped(built))
        except TypeError as error:
            # Older hosts lack some settings of newer ones.
            match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if match is None or match[1] not in config or (config[match[1]] and match[1] not in OPTIONAL):
                return None
            del config[match[1]]
        except (RuntimeError, KeyError, AttributeError, NotImplementedError):
            return None


def _on_meta(kind: type, config: dict[str, Any]) -> Any:
    """The host's model of this kind, without memory for its weights."""
    described = kind(dict(config))
    described.set_inference_dtype(torch.float32, None)
    return described.get_model({}, device=torch.device("meta"))
