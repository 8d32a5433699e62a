"""What the host reads of the names of LoRA tensors: by a connected model, else by small models of the families."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import comfy.lora
import comfy.lora_convert
import comfy.supported_models
import torch

from ...delta.families import norm_sites, text_encoders
from ...delta.families.record import Family, HostModel
from ...delta.families.registry import families_of_layers, family_named, spelling
from ...delta.lora.addresses import ModelNames, is_text
from ...delta.lora.costs import Job
from ...delta.lora.file import LoraModel, group
from ...delta.lora.save import UNPROVEN, NameProof, Prove, unread_sentence
from .weights import PatchKey, model_weights

# A layer may be in some of the blocks only; small models have up to this many of a kind.
BLOCKS = ("0", "1", "2", "3")
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
    return key_map if clip is None else comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)


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
    """Turn a LoRA file's tensors into patches with the host's own adapters."""
    ledger = _ReadLedger(comfy.lora_convert.convert_lora(tensors))
    try:
        patches = comfy.lora.load_lora(ledger, key_map, log_missing=False)
    except KeyError as error:
        name = tensors.name if isinstance(tensors, LoraModel) else "The LoRA"
        raise ValueError(f"{name} lacks the tensor {error}, the other half of a layer. Use another copy.") from error
    return LoraMatch(patches, [name for name in ledger if name not in ledger.taken])


def model_names(model: Any | None, clip: Any | None) -> ModelNames | None:
    """What a MODEL and, if given, a CLIP tell of names; None without a MODEL."""
    if model is None:
        return None
    stored = model_weights(model) | ({} if clip is None else model_weights(clip))
    return ModelNames(lora_key_map(model, clip), {name: tuple(weight.shape) for name, weight in stored.items()})


def prover(model: Any | None, clip: Any | None) -> Prove:
    """A function that tells which names of written tensors the host reads.

    With a MODEL by the host's own loader on it; without one by small models of the families that all the names fit.
    """
    if model is None:
        return prove_by_families
    key_map, weights = host_key_map(model, clip), model_weights(model) | ({} if clip is None else model_weights(clip))
    return lambda tensors: _prove_by_model(tensors, key_map, weights, clip is not None)


def _prove_by_model(
    tensors: Mapping[str, torch.Tensor], key_map: dict[str, PatchKey], weights: Mapping[str, Any], with_clip: bool
) -> NameProof:
    match = match_lora(dict(tensors), key_map)
    text = [] if with_clip else [name for name in match.unmatched if is_text(name)]
    unread = [name for name in match.unmatched if name not in set(text)]
    for key in match.patches:
        name = key if isinstance(key, str) else key[0]
        # The host drops patches of parameters that the model lacks without a word.
        if name not in weights:
            unread.append(str(name))
    read = len(tensors) - len(text)
    line = f"names proven: ComfyUI reads all {read} tensors with the connected model"
    if text:
        line += f"; {len(text)} of a text encoder are unproven, connect the CLIP to prove them"
    return NameProof(line, unread)


def prove_by_families(tensors: Mapping[str, torch.Tensor]) -> NameProof:
    """Which names the host reads, by small models of the families that all the names fit."""
    names = list(group(tensors)[0])
    text = {name for name in names if is_text(name)}
    denoiser = [name for name in names if name not in text]
    strange = sorted(name for name in text if not _is_known_text(name))
    known = families_of_layers(denoiser)
    unread = {family.name: missing for family in known if (missing := _unread_by(family, denoiser)) is not None}
    readers = [name for name, missing in unread.items() if not missing]
    if denoiser and not readers:
        if not unread:
            return UNPROVEN
        least = min(unread.values(), key=len)
        return NameProof(UNPROVEN.line, [tensor for tensor in tensors if tensor.startswith(tuple(least))])
    if strange:
        return NameProof(f"names unproven: {len(strange)} layers of a text encoder such as {strange[0]}")
    models = f" with a model of {' or '.join(readers)}" if readers else ""
    return NameProof(f"names proven: ComfyUI reads all {len(tensors)} tensors{models}")


def proven(job: Job, prove: Prove) -> Job:
    """A result whose names are proven, with a line about it on top of its report. Raises ValueError for names that the host
    does not read."""
    proof = prove(job.model)
    if proof.unread:
        raise ValueError(unread_sentence(proof.unread, len(job.model)))
    return job._replace(report=f"{proof.line}\n{job.report}")


def _unread_by(family: Family, names: list[str]) -> list[str] | None:
    """The layers that the host does not read with a model of the family; None where this host cannot build one."""
    key_map = _family_key_map(family.name)
    if key_map is None:
        return None
    return [name for name in names if not any(other in key_map for other in _in_blocks(family, name))]


def _in_blocks(family: Family, name: str) -> list[str]:
    """A layer's name as the blocks of a small model have it."""
    beginning = spelling(name).beginning
    return [beginning + body for body in family.in_blocks(name.removeprefix(beginning), BLOCKS)]


def _is_known_text(name: str) -> bool:
    comfy = text_encoders.comfy_name(name)
    if comfy is None:
        return False
    names = {text_encoders.written(comfy, naming, alone) for naming in CONVENTIONS for alone in (False, True)}
    return name in names or name.startswith(text_encoders.PREFIX)


@lru_cache(maxsize=64)
def _family_key_map(name: str) -> dict[str, PatchKey] | None:
    """The key map of the small models of a family, without memory for their weights."""
    family = family_named(name)
    if family.host is None:
        return None
    variants = [variant._replace(config={**family.host.config, **variant.config}) for variant in family.variants]
    maps = [found for model in (family.host, *variants) if (found := _key_map(model)) is not None]
    return {known: key for found in maps for known, key in found.items()} if maps else None


def _key_map(model: HostModel) -> dict[str, PatchKey] | None:
    """The key map of one model; None where this host has none of its kind."""
    kind = getattr(comfy.supported_models, model.kind, None)
    if kind is None:
        return None
    config = dict(model.config)
    while True:
        try:
            return comfy.lora.model_lora_keys_unet(_on_meta(kind, config), {})
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
