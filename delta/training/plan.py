"""What of a model is trained: which whole parameters, and which weights by a LoRA.

A style as gamma and beta of a frozen network is arXiv 1610.07629; biases and scales alone are known to move a diffusion
model to another set of pictures (DiffFit, arXiv 2304.06648). A LoRA (arXiv 2106.09685) moves weights as factors of a low rank.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from ..families.norm_sites import PREFIX, Modules, NormSites, Shapes, find_sites
from ..families.parts import ATTENTION, CONVOLUTIONS, role_of

NORMS, NORMS_AND_BIASES, LORA, NORMS_AND_LORA = KINDS = ("norms", "norms and biases", "LoRA", "norms and LoRA")
OF_ATTENTION, AND_CONVOLUTIONS = LAYERS = ("attention", "attention and convolutions")
# The highest rank that makes sense for a style; more numbers take another tool.
HIGHEST_RANK = 256


class Choice(NamedTuple):
    """kind: one of KINDS; tiers: of the norm parameters; rank: of the LoRA, which acts on `layers`, one of LAYERS."""

    kind: str = NORMS
    tiers: Sequence[str] = ()
    rank: int = 8
    layers: str = OF_ATTENTION

    @property
    def has_norms(self) -> bool:
        return self.kind != LORA

    @property
    def has_lora(self) -> bool:
        return self.kind in (LORA, NORMS_AND_LORA)


class Plan(NamedTuple):
    """plain: parameters that are trained whole; factors: weights that are trained by a LoRA of `rank`, or of the highest that
    a smaller weight has; both to their shapes by the model's names. biases: whether `plain` has biases that are no norms';
    described: the model, and how its norms were found."""

    plain: Mapping[str, tuple[int, ...]]
    factors: Mapping[str, tuple[int, ...]] = {}
    rank: int = 0
    biases: bool = False
    described: str = ""

    def rank_of(self, name: str) -> int:
        """The rank of the LoRA of a weight."""
        shape = self.factors[name]
        return min(self.rank, shape[0], math.prod(shape[1:]))

    @property
    def numbers(self) -> int:
        """How many numbers are trained."""
        of_factors = (self.rank_of(name) * (s[0] + math.prod(s[1:])) for name, s in self.factors.items())
        return sum(map(math.prod, self.plain.values())) + sum(of_factors)


def plan(choice: Choice, shapes: Shapes, modules: Modules, able: Container[str]) -> Plan:
    """What this choice trains of a model.

    shapes: of all parameters; modules: see `find_sites`; able: the weights whose layer a LoRA can act on. Raises ValueError
    for an unknown kind or layers, a rank that is not from 1 to 256, and a model that has nothing of what is chosen.
    """
    if choice.kind not in KINDS:
        raise ValueError(f"{choice.kind} cannot be trained. Choose one of: {', '.join(KINDS)}.")
    shapes = {name: tuple(shape) for name, shape in shapes.items() if name.startswith(PREFIX)}
    sites = find_sites(shapes, modules)
    plain: dict[str, tuple[int, ...]] = {}
    if choice.has_norms:
        plain = {name: shapes[name] for name in sites.of(choice.tiers)}
    if choice.kind == NORMS_AND_BIASES:
        plain |= {name: shape for name, shape in shapes.items() if name.endswith(".bias") and len(shape) == 1}
    factors = _factors(choice, shapes, modules, able, sites) if choice.has_lora else {}
    return Plan(plain, factors, choice.rank if factors else 0, choice.kind == NORMS_AND_BIASES, sites.described)


def _factors(
    choice: Choice, shapes: Shapes, modules: Modules, able: Container[str], sites: NormSites
) -> dict[str, tuple[int, ...]]:
    if choice.layers not in LAYERS:
        raise ValueError(f"A LoRA of {choice.layers} cannot be trained. Choose one of: {', '.join(LAYERS)}.")
    if not 1 <= choice.rank <= HIGHEST_RANK:
        raise ValueError(f"A LoRA of rank {choice.rank} cannot be trained. Choose a rank from 1 to {HIGHEST_RANK}.")
    wanted = (ATTENTION,) if choice.layers == OF_ATTENTION else (ATTENTION, CONVOLUTIONS)
    found = {
        name: shape
        for name, shape in shapes.items()
        if name in able and name not in sites.tiers and _part(name, shape, modules) in wanted
    }
    if not found:
        raise ValueError(
            f"{sites.family} has no layers of {choice.layers} that a LoRA can be trained for. Train the norms, or choose other "
            "layers."
        )
    return found


def _part(name: str, shape: Sequence[int], modules: Modules) -> str | None:
    return CONVOLUTIONS if math.prod(shape[2:]) > 1 else role_of(name.removeprefix(PREFIX), modules)
