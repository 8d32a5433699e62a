"""The table of merge methods, filled by the decorator `merge_method`, and the one way to run them."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank, small_problems, zeros

Kind = Literal["factors", "dense"]


@dataclass(frozen=True)
class MergeMethod:
    """One method. parameters: name -> default; doc: formula, paper and meaning of the parameters.

    stochastic: it draws random numbers, so the seed matters. max_parts: None where there is no limit. A method with
    min_parts of 1 treats its parts alike; where min_parts is 2, the first part has a role of its own.
    """

    name: str
    label: str
    kind: Kind
    function: Callable[..., LowRank | Tensor]
    parameters: dict[str, float]
    stochastic: bool
    min_parts: int
    max_parts: int | None
    doc: str


_METHODS: dict[str, MergeMethod] = {}


def merge_method(
    label: str, *, kind: Kind = "factors", min_parts: int = 1, max_parts: int | None = None
) -> Callable[[Callable], Callable]:
    """Register a function as a method under its own name.

    Its keyword-only arguments with float defaults become parameters; one named `generator` makes it stochastic.
    """

    def register(function: Callable) -> Callable:
        name = function.__name__
        if name in _METHODS:
            raise ValueError(f"Two merge methods are named {name!r}.")
        options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        _METHODS[name] = MergeMethod(
            name=name,
            label=label,
            kind=kind,
            function=function,
            parameters={option.name: option.default for option in options if option.name != "generator"},
            stochastic=any(option.name == "generator" for option in options),
            min_parts=min_parts,
            max_parts=max_parts,
            doc=inspect.getdoc(function) or "",
        )
        return function

    return register


@functools.cache
def _import_all() -> None:
    """Import every module of this package, so that each method registers itself."""
    for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__):
        importlib.import_module(f"{__package__}.{module.name}")


def methods() -> dict[str, MergeMethod]:
    """All methods by name."""
    _import_all()
    return dict(_METHODS)


def merge(
    method_name: str,
    parts: Sequence[LowRank],
    weights: Sequence[float],
    parameters: Mapping[str, float],
    seed: int = 0,
    layer_name: str = "",
) -> LowRank | Tensor:
    """Merge updates of one weight; a `LowRank` from a "factors" method, an [m, n] float32 matrix from a "dense" one.

    Parts that are zero, by their weight or by themselves, are left out of methods that treat their parts alike; if one
    part remains there is nothing to reconcile and the result is weight * part, exactly, if none does it is zero. Where
    parts have roles (min_parts 2), a part that a layer lacks must be given, with rank 0. A stochastic method's result
    depends on the seed and the layer's name, not on what was merged before.

    Raises ValueError for an unknown method or parameter, a parameter out of range, a number of parts the method does
    not take, or parts of different shapes.
    """
    method = _method(method_name)
    options = _options(method, parameters)
    _check_parts(method, parts, weights)
    shape = parts[0].shape
    if method.min_parts == 1:
        parts, weights = _present(parts, weights)
    if len(parts) < 2:
        lone = parts[0].scale(weights[0]) if parts else zeros(shape)
        return lone if method.kind == "factors" else _matrix(lone)
    if method.stochastic:
        options["generator"] = _generator(seed, layer_name)
    if method.kind == "dense":
        return method.function([_matrix(part) for part in parts], weights, **options)
    with small_problems():
        return method.function(parts, weights, **options)


def _method(name: str) -> MergeMethod:
    known = methods()
    if name not in known:
        raise ValueError(f"There is no merge method {name!r}. Methods: {', '.join(sorted(known))}.")
    return known[name]


def _options(method: MergeMethod, parameters: Mapping[str, float]) -> dict[str, float | torch.Generator]:
    """The method's defaults with the given parameters over them."""
    unknown = sorted(set(parameters) - set(method.parameters))
    if unknown:
        valid = ", ".join(f"{name} (default {value:g})" for name, value in method.parameters.items()) or "none"
        raise ValueError(f"{method.label} has no parameter {', '.join(unknown)}. Its parameters: {valid}.")
    return {name: float(parameters.get(name, default)) for name, default in method.parameters.items()}


def _check_parts(method: MergeMethod, parts: Sequence[LowRank], weights: Sequence[float]) -> None:
    """Raise ValueError for a number of parts or weights, or shapes, that cannot be merged."""
    if len(parts) < method.min_parts or (method.max_parts is not None and len(parts) > method.max_parts):
        number = f"{method.min_parts} or more" if method.max_parts is None else f"exactly {method.max_parts}"
        raise ValueError(f"{method.label} takes {number} LoRAs, not {len(parts)}. Connect that many.")
    if len(weights) != len(parts):
        raise ValueError(f"{len(parts)} updates need as many weights, not {len(weights)}.")
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"Updates of shapes {sorted({part.shape for part in parts})} cannot be merged.")


def _present(parts: Sequence[LowRank], weights: Sequence[float]) -> tuple[list[LowRank], list[float]]:
    """The parts that are not zero, and their weights."""
    with small_problems():
        kept = [index for index, part in enumerate(parts) if weights[index] and part.norm()]
    return [parts[index] for index in kept], [weights[index] for index in kept]


def _matrix(part: LowRank) -> Tensor:
    return part.up.float() @ part.down.float()


def _generator(seed: int, layer_name: str) -> torch.Generator:
    """A generator of the layer's own. On the CPU, whose random bits are the same everywhere."""
    digest = hashlib.sha256(f"{seed}\n{layer_name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
