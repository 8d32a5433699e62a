"""Which parameters of a diffusion model are norm parameters, whatever model it is.

They come in three tiers. `norms`: gain and bias of a normalisation layer, what conditional instance normalisation swaps
(arXiv 1610.07629). `modulation`: the constant part of what a time embedding adds before or after a norm, which takes
that place in models whose norms have no parameters: the bias of a modulation layer, or a table per block (AdaLN, arXiv
2212.09748). `qk_norms`: the gain of the norms of query and key, which sets how sharp attention is.

Names are ComfyUI's, behind `diffusion_model.`. A norm is known by the class of its module, and in a file by the shape of
its weight: no other layer has a weight of one axis. A family's record decides where these rules are not right for it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from .record import MODULATION, NORMS, QK_NORMS, TIERS, Family
from .registry import family_of

PREFIX = "diffusion_model."
BY_MODULES, BY_NAMES = "by its modules", "by the names and shapes of its weights"
UNKNOWN = "a model of an unknown family"

# Batch norms hold statistics of the training pictures, which belong to their gain and bias.
NORM_CLASS = re.compile(r"(?!\w*Batch)\w*Norm(?:\dd)?")
LIKE_NORM_CLASS = re.compile(r"\w*Norm(?:\dd)?")
GAINS, OFFSETS = ("weight", "scale", "gamma"), ("bias", "beta")
# A part of the path to a norm that says that it is of query or key. Some stand in the projection, as `to_q.1`.
QK_NORM = re.compile(
    r"(?:.*_)?(?:q|k|qk|query|key)_?(?:rms_?|layer_?)?norm\d?(?:_[a-z])?"
    r"|norm_(?:added_)?(?:q|k|query|key)(?:_[a-z]+)?|ln_[qk]|[qk]_ln|to_[qk]"
)
MODULATION_NAME = re.compile(
    # Tables that are added to what the time step gives.
    r"(?:.*\.)?(?:modulation|modulate_table|to_scale_shift_gate|\w*shift_table\w*)"
    r"|(?:.*\.)?mod(?:ulation)?\.lin"
    r"|(?:.*[._])?ada\.(?:.*\.)?\w+_(?:shift|scale|gate)"
    # Biases of the layers that compute it.
    r"|(?:.*\.)?(?:"
    r"\w*ada(?:ln|LN)_modulation\w*(?:\.\d+)?"
    r"|\w*ada(?:ln|LN)_(?:single|proj)\.linear"
    r"|\w*adain_layers\.\d+\.linear"
    r"|(?:\w+_)?mod(?:ulation)?(?:_\w+)?(?:\.(?:\d+|lin|out_layer))?"
    r"|emb_layers\.\d+|t_block\.\d+|time_proj(?:ection)?(?:\.\d+)?|to_scale_shift_gate\.\d+"
    r"|(?:\w+_)?norm\d?(?:_out)?\.linear(?:_1)?"
    r")\.bias"
)
# Layers whose gain is called `scale` by older hosts and `weight` by newer ones.
RENAMED = re.compile(r"\.(?:query|key)_norm$|\.distilled_guidance_layer\.norms\.\d+$")

# The shape of every weight by its name, and the class of every module of the diffusion model by its path; "" is the whole.
Shapes = Mapping[str, Sequence[int]]
Modules = Mapping[str, str]


class Source(Protocol):
    """A model or a file. Models have `modules` too."""

    shapes: Shapes


class NormSites(NamedTuple):
    """family: what the model is, or the class of its network where that is not known; tiers: the tier of each norm parameter
    by the model's name; way: how they were found; left_out: parameters of layers that are called norms and are none of these.
    """

    family: str
    tiers: dict[str, str]
    way: str = BY_NAMES
    left_out: tuple[str, ...] = ()

    def of(self, tiers: Container[str]) -> list[str]:
        """The names of these tiers. Raises ValueError, naming the tiers that there are, where there is none."""
        found = [name for name, tier in self.tiers.items() if tier in tiers]
        if found:
            return found
        there = [tier for tier in TIERS if tier in self.tiers.values()]
        raise ValueError(
            f"{self.family} has no parameters in the tiers that are switched on. "
            + (f"It has: {', '.join(there)}. Switch one of them on." if there else "It has none at all.")
        )

    @property
    def described(self) -> str:
        """The family, how its norm parameters were found, and what was left out, in one line."""
        left = f"; left out, batch norms: {len(self.left_out)}, such as {self.left_out[0]}" if self.left_out else ""
        return f"{self.family}, norms found {self.way}{left}"


def find_sites(shapes: Shapes, modules: Modules | None = None) -> NormSites:
    """The norm parameters of a model. Weights that are not behind `diffusion_model.` are ignored.

    modules: of the diffusion model, where it is at hand.
    """
    bare = {name.removeprefix(PREFIX): tuple(shape) for name, shape in shapes.items() if name.startswith(PREFIX)}
    family = family_of(bare)
    own = _patterns(family) if family else []
    if modules is None:
        norms, like_norms = _norms_by_shape(bare)
    else:
        norms = {name for name in bare if NORM_CLASS.fullmatch(_class_of(name, modules))}
        like_norms = {name for name in bare if LIKE_NORM_CLASS.fullmatch(_class_of(name, modules))}
    tiers = {PREFIX + name: tier for name in bare if (tier := _tier(name, name in norms, own))}
    left_out = tuple(PREFIX + name for name in bare if name in like_norms - norms)
    label = family.name if family else (modules or {}).get("", UNKNOWN)
    return NormSites(label, tiers, BY_NAMES if modules is None else BY_MODULES, left_out)


def sites_of(source: Source) -> NormSites:
    """The norm parameters of a model or of a file."""
    return find_sites(source.shapes, getattr(source, "modules", None))


def is_qk_norm(path: str) -> bool:
    """Whether the norm at this path is one of query or key."""
    return any(QK_NORM.fullmatch(part) for part in path.split("."))


def _patterns(family: Family) -> list[tuple[str, re.Pattern[str]]]:
    return [(tier, re.compile("|".join(patterns))) for tier, patterns in family.norms.items()]


def _tier(name: str, is_norm: bool, own: Iterable[tuple[str, re.Pattern[str]]]) -> str | None:
    told = next((tier for tier, pattern in own if pattern.fullmatch(name)), None)
    if told or not is_norm:
        return told or (MODULATION if MODULATION_NAME.fullmatch(name) else None)
    return QK_NORMS if is_qk_norm(name.rpartition(".")[0]) else NORMS


def _class_of(name: str, modules: Modules) -> str:
    return modules.get(name.rpartition(".")[0], "")


def _norms_by_shape(bare: Shapes) -> tuple[set[str], set[str]]:
    """The parameters of norms, and those of norms and batch norms."""
    inner = {layer.rpartition(".")[0] for layer in (name.rpartition(".")[0] for name in bare)}
    norms, like_norms = set(), set()
    for name in bare:
        layer, _, ending = name.rpartition(".")
        gain = next((bare[f"{layer}.{gain}"] for gain in GAINS if f"{layer}.{gain}" in bare), None)
        # `gamma` may have more axes; that of a module that holds others is a scale of its result.
        if ending not in (*GAINS, *OFFSETS) or gain is None or layer in inner:
            continue
        if len(gain) == 1 or f"{layer}.gamma" in bare:
            like_norms.add(name)
            if f"{layer}.running_mean" not in bare:
                norms.add(name)
    return norms, like_norms


def canonical(name: str) -> str:
    """The newest host's name of a parameter: of some norms whose gain older hosts call `scale`."""
    layer, _, ending = name.rpartition(".")
    return f"{layer}.weight" if ending == "scale" and RENAMED.search(layer) else name


def resolve(name: str, names: Container[str]) -> str | None:
    """Which of a model's names stands for this parameter, by this name or another one that a host gives it."""
    candidates = (name, *(f"{layer}.weight" for layer in lora_names(name)[:1]), *lora_names(name)[1:])
    return next((candidate for candidate in candidates if candidate in names), None)


def lora_names(name: str) -> tuple[str, ...]:
    """The layer names by which LoRA files of any host version mean this parameter, if it has several."""
    layer = canonical(name).removesuffix(".weight")
    return (layer, f"{layer}.scale") if RENAMED.search(layer) else ()
