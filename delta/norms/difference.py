"""Differences of norm parameters: taken from two models, chosen from a LoRA, mixed, and written as a LoRA.

Conditional instance normalisation (arXiv 1610.07629) keeps one gamma and beta per style and interpolates between styles;
here the base model is the point that every style is a difference from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..blocks.paths import count_by_block, weight_path
from ..blocks.rules import BlockWeights
from ..extraction.pair import Source
from ..families.norm_sites import NormSites, resolve, sites_of
from ..families.registry import family_of
from ..files.checkpoint import common
from ..linear_algebra.factors import LowRank
from ..linear_algebra.shares import normalised
from ..lora.adapters import Layer
from ..lora.addresses import ModelNames
from ..lora.file import LoraModel, write_layers
from ..lora.naming import COMFYUI, usual_names, whole_name
from ..progress import Step

# Differences by the model's name of the parameter, float32.
Deltas = Mapping[str, Tensor]


class NormDelta(NamedTuple):
    """What changes in the norm parameters of a base model.

    sites: of the base; deltas: without those that are all zeros; sizes: the Frobenius norm of every parameter that was
    looked at; fingerprint: of the base's values; notes: lines about what was left out.
    """

    sites: NormSites
    deltas: Deltas
    sizes: Mapping[str, float]
    fingerprint: str
    notes: list[str]


def extract_norms(
    styled: Source,
    base: Source,
    tiers: Sequence[str],
    blocks: BlockWeights,
    on_step: Step = lambda done, total: None,
) -> NormDelta:
    """styled - base for the norm parameters of these tiers, each times the factor of its block. Nothing else is read.

    Raises ValueError for models of different architectures or sizes, a base without such parameters, rules that leave
    none, and models whose parameters are all the same.
    """
    common(styled, base)
    sites = sites_of(base)
    names = sites.of(tiers)
    others = {name: other for name in names if (other := resolve(name, styled.shapes)) is not None}
    if not others:
        raise ValueError(
            f"{styled.name} has none of the {len(names)} norm parameters of {base.name}. Choose another model."
        )
    for name, other in others.items():
        _check_shape(name, styled.shapes[other], styled.name, base)

    def difference(name: str, value: Tensor) -> Tensor:
        return styled.read(others[name]).value.reshape(value.shape) - value

    found = _gather(base, sites, list(others), blocks, difference, on_step)
    if not found.deltas:
        raise ValueError(
            f"{styled.name} and {base.name} have the same values in all {len(found.sizes)} norm parameters: there is "
            "nothing to take. Choose another pair, or switch on another kind of parameter."
        )
    missing = [f"in {base.name} only: {name}" for name in names if name not in others]
    return found._replace(notes=missing + found.notes)


def choose_norms(
    changes: Deltas, name: str, base: Source, tiers: Sequence[str], blocks: BlockWeights, notes: Iterable[str] = ()
) -> NormDelta:
    """Those of a LoRA's plain changes that are norm parameters of these tiers, each times the factor of its block.

    changes: by the base's name of the weight; name: of the LoRA; notes: lines about what else it holds. Raises ValueError
    for a LoRA without such changes, for other shapes than the base's, and for rules that leave none.
    """
    sites = sites_of(base)
    wanted = set(sites.of(tiers))
    names = [key for key in changes if key in wanted]
    if not names:
        there = sorted({sites.tiers[key] for key in changes if key in sites.tiers})
        raise ValueError(
            f"{name} changes no norm parameter that is switched on. "
            + (
                f"It has: {', '.join(there)}. Switch one of them on."
                if there
                else "Use Apply LoRA Model for other LoRAs."
            )
        )
    for key in names:
        _check_shape(key, changes[key].shape, name, base)
    found = _gather(base, sites, names, blocks, lambda key, value: changes[key].float().reshape(value.shape))
    left = len(changes) - len(names)
    skipped = [f"skipped, switched off or not norm parameters: {left} plain changes"] if left else []
    return found._replace(notes=[*skipped, *notes, *found.notes])


def _gather(
    base: Source,
    sites: NormSites,
    names: Sequence[str],
    blocks: BlockWeights,
    difference: Callable[[str, Tensor], Tensor],
    on_step: Step = lambda done, total: None,
) -> NormDelta:
    """The difference of every parameter that the block rules do not switch off."""
    deltas, sizes, digest = {}, {}, hashlib.sha256()
    for done, name in enumerate(names, start=1):
        factor = blocks.factor(weight_path(name))
        if factor:
            value = base.read(name).value
            digest.update(value.contiguous().numpy().tobytes())
            sizes[name] = float(torch.linalg.vector_norm(value))
            delta = factor * difference(name, value)
            if not torch.isfinite(delta).all():
                raise ValueError(f"The change of {name} holds NaN or infinite values. Use another copy of the file.")
            if delta.any():
                deltas[name] = delta
        on_step(done, len(names))
    if not sizes:
        raise ValueError(
            f"The block weights switch off all {len(names)} norm parameters. Give at least one block a factor other than 0. "
            f"The blocks are {count_by_block(map(weight_path, names))}."
        )
    unused = blocks.unused([weight_path(name) for name in names])
    return NormDelta(sites, deltas, sizes, digest.hexdigest(), [f"the rule {rule} matches nothing" for rule in unused])


def _check_shape(name: str, shape: Sequence[int], whose: str, base: Source) -> None:
    # The same numbers may stand in a table with or without axes of length 1.
    if [n for n in shape if n > 1] != [n for n in base.shapes[name] if n > 1]:
        raise ValueError(
            f"{name} has the shape {list(shape)} in {whose} and {list(base.shapes[name])} in {base.name}: they are "
            "of models of different sizes. Choose a matching pair."
        )


def mix(styles: Sequence[Deltas], weights: Sequence[float], normalise: bool) -> dict[str, Tensor]:
    """The sum of differences times their weights, which are divided by their sum if `normalise`.

    Raises ValueError for weights that add up to 0 and are to be normalised.
    """
    shares = normalised(weights, ", or switch normalise off") if normalise else weights
    mixed: dict[str, Tensor] = {}
    for style, share in zip(styles, shares):
        for name, delta in style.items():
            part = delta * share
            mixed[name] = mixed[name] + part if name in mixed else part
    return mixed


def to_lora(
    deltas: Deltas,
    shapes: Mapping[str, Sequence[int]],
    metadata: Mapping[str, str],
    name: str,
    factors: Mapping[str, LowRank] | None = None,
) -> LoraModel:
    """Differences as a LoRA that any loader applies, float32.

    shapes: of all weights of the model that the differences are of, by which the usual names of its layers are known;
    factors: updates of other weights of it by factors.
    """
    layers: dict[str, Layer] = {}
    for weight, delta in deltas.items():
        layer, _, ending = weight.rpartition(".")
        if ending == "bias":
            layers.setdefault(layer, Layer()).bias = delta
        else:
            # Loaders mean `layer.weight` by a layer, and every other parameter by its whole name.
            layers.setdefault(layer if ending == "weight" else weight, Layer()).full = delta
    for weight, part in (factors or {}).items():
        layers.setdefault(weight.removesuffix(".weight"), Layer()).low_rank = part
    return LoraModel(write_layers(_named(layers, shapes), torch.float32), metadata, name)


def _named(layers: dict[str, Layer], shapes: Mapping[str, Sequence[int]]) -> Mapping[str, Layer]:
    """Under the names that most programs read: kohya's for U-Nets, ComfyUI's own for all others."""
    family, model = family_of(shapes), ModelNames({}, shapes)
    if family is not None and family.whole_diffusers:
        return usual_names(layers, shapes)
    return {whole_name(name, COMFYUI, [family] if family else [], model): layer for name, layer in layers.items()}


def explained_share(base: Tensor, swapped: Tensor, tuned: Tensor) -> float:
    """1 - ||tuned - swapped|| / ||tuned - base||: how much of the way from a base's output to a tuned model's was gone.

    1 is all of it, 0 nothing, negative is away from it. Raises ValueError where both outputs are the same.
    """
    whole = float(torch.linalg.vector_norm(tuned.double() - base.double()))
    if not whole:
        raise ValueError("Both models give the same output for this conditioning, so there is nothing to explain.")
    return 1 - float(torch.linalg.vector_norm(tuned.double() - swapped.double())) / whole
