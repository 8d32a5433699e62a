"""Going on from a LoRA: what it changes, as a style that a plan can train."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ..linear_algebra.factors import LowRank
from ..lora.adapters import Layer
from ..lora.addresses import ModelNames, as_whole, locate
from ..lora.file import LoraModel, read_layers
from ..lora.fused import add
from .plan import Plan
from .style import Style
from .training import some

REMEDY = "Train what it changes, or connect another LoRA"


def style_of(lora: LoraModel, plan: Plan, names: ModelNames) -> Style:
    """A LoRA as the style that training goes on from, exactly.

    names: of the model. Raises ValueError for a LoRA that changes something that the plan does not train, by a higher rank or
    in another shape, and as `read_layers` does.
    """
    read = read_layers(lora)
    if read.needs_base:
        raise ValueError(f"Training cannot resume from {lora.name}: {next(iter(read.needs_base.values()))}")
    if read.foreign:
        raise ValueError(f"{lora.name} holds {some(read.foreign)}, which are not tensors of a LoRA. {REMEDY}.")
    plain: dict[str, Tensor] = {}
    factors: dict[str, LowRank] = {}
    strange = []
    for weight, layer in _by_weight(lora, read.layers, names).items():
        strange += _take(weight, layer, plan, names, plain, factors)
    if strange:
        raise ValueError(
            f"{lora.name} changes {len(strange)} parameters that are not trained here, such as {some(strange)}. {REMEDY}."
        )
    return Style(_fitting(plain, plan, lora.name), _of_rank(factors, plan, lora.name))


def _by_weight(lora: LoraModel, layers: Mapping[str, Layer], names: ModelNames) -> dict[str, Layer]:
    """The layers of a LoRA by the whole weights of the model."""
    found: dict[str, list[Layer]] = {}
    for name, address in locate([layers], names).addresses.items():
        if address is None:
            raise ValueError(f"{name} of {lora.name} is not a layer of the model. Connect a LoRA that was made for it.")
        if layers[name].new_weight is not None or layers[name].new_shape is not None:
            raise ValueError(
                f"{name} of {lora.name} replaces or pads its weight, from which training cannot resume. {REMEDY}."
            )
        found.setdefault(address.weight, []).append(as_whole(layers[name], address))
    return {weight: add(parts) for weight, parts in found.items()}


def _take(
    weight: str, layer: Layer, plan: Plan, names: ModelNames, plain: dict[str, Tensor], factors: dict[str, LowRank]
) -> list[str]:
    """Put the updates of one weight where they are trained, and name those that are not."""
    own = names.own_name(weight)
    name = f"{weight}.weight" if f"{weight}.weight" in names.weights else own
    strange = []
    if layer.low_rank is not None and layer.full is None and name in plan.factors:
        factors[name] = layer.low_rank
    elif (update := layer.dense()) is not None:
        plain[name] = update
        strange += [] if name in plan.plain else [name]
    if layer.bias is not None:
        plain[f"{weight}.bias"] = layer.bias
        strange += [] if f"{weight}.bias" in plan.plain else [f"{weight}.bias"]
    return strange


def _fitting(plain: Mapping[str, Tensor], plan: Plan, whose: str) -> dict[str, Tensor]:
    for name, delta in plain.items():
        if delta.numel() != math.prod(plan.plain[name]):
            raise ValueError(_other_shape(name, tuple(delta.shape), plan.plain[name], whose))
    return {name: delta.float().reshape(plan.plain[name]) for name, delta in plain.items()}


def _of_rank(factors: Mapping[str, LowRank], plan: Plan, whose: str) -> dict[str, LowRank]:
    for name, part in factors.items():
        if tuple(part.shape) != tuple(plan.factors[name]):
            raise ValueError(_other_shape(name, part.shape, plan.factors[name], whose))
    highest = max((part.rank for part in factors.values()), default=0)
    over = [name for name, part in factors.items() if part.rank > plan.rank_of(name)]
    if over:
        raise ValueError(
            f"{whose} is of rank {highest}, but rank {plan.rank} is being trained. Choose rank {highest}, or make it smaller "
            "with Resize LoRA."
        )
    return dict(factors)


def _other_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], whose: str) -> str:
    return f"{name} is {list(wanted)} in the model, but {list(shape)} in {whose}. Connect a LoRA that was made for this model."
