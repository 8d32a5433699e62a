"""A file of a full ControlNet of a U-Net, read one weight at a time under ComfyUI's names, whatever its naming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..extraction.pair import Source
from ..families.record import Family
from ..families.registry import DENOISER
from ..families.stable_diffusion import SD, SDXL
from ..files.file_kinds import kind_of
from ..files.headers import AS_MODEL, sha256
from ..files.stored_weight import StoredWeight, WeightFile
from ..files.tensor_files import read_tensors
from ..linear_algebra.noise import rounding_variance
from ..progress import Step
from .format import ENCODER, MARKER, OWN_LAYERS, PREFIX, context_width, family, listed, refuse_union

PICKLES = (".pth", ".pt", ".ckpt", ".bin")
# A tensor of this name says that a file holds what is to be added to the weights of the model.
DIFFERENCE = "difference"
DIFFUSERS_MARK = "controlnet_cond_embedding.conv_in.weight"
DIFFUSERS_HINT = "controlnet_cond_embedding."
FULL_PRECISION = "Use a version of the ControlNet in float32, float16 or bfloat16."


class _Tensors(Protocol):
    """Tensors by name, of which one is read at a time."""

    names: list[str]
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> StoredWeight: ...


class ControlNetFile:
    """A ControlNet file as a model of which one weight at a time is read.

    name: of the file; shapes: of every weight, `diffusion_model.` and ComfyUI's name in a ControlNet, so that what was
    copied from a base has the name that the base has; notes: what was left out. Where the file holds a difference, `base`
    must be set before anything is read, and is added.
    """

    def __init__(self, path: str | Path):
        """Read the header, or all of a pickle.

        Raises FileNotFoundError, or ValueError with the remedy for a file that is damaged or packed, and for a net that no
        Control-LoRA can express: a union net, a net of a transformer, a T2I-Adapter, another kind of file.
        """
        path = Path(path)
        self.name, self._path = path.name, path
        self._tensors: _Tensors = _Pickle(path) if path.suffix.lower() in PICKLES else _weight_file(path)
        names = self._tensors.names
        _refuse_other_nets(self.name, names)
        self.is_difference = DIFFERENCE in (name.removeprefix(PREFIX) for name in names)
        self.base: Source | None = None
        renamed = _comfy_names(names)
        self._names = {DENOISER + ours: theirs for theirs, ours in renamed.items() if theirs in self._tensors.shapes}
        self.shapes = {name: self._tensors.shapes[theirs] for name, theirs in self._names.items()}
        strays = [name for name in names if name not in renamed and name.removeprefix(PREFIX) != DIFFERENCE]
        self.notes = [f"left out of {self.name}, not part of a ControlNet: {listed(strays)}"] if strays else []

    @property
    def context_width(self) -> int | None:
        """How wide the text is that its cross-attention reads."""
        return context_width(self.shapes)

    @property
    def architecture(self) -> str:
        """The model that the net is for."""
        return family(self.context_width)

    def read(self, name: str) -> StoredWeight:
        """One weight, as a copy. Raises KeyError for one that is not there, ValueError for NaN and infinite values."""
        found = self._tensors.read(self._names[name])
        if not self.is_difference or name not in self.base.shapes:
            return found
        base = self.base.read(name)
        if base.value.numel() != found.value.numel():
            raise ValueError(
                f"{self.name} holds the difference from a model, but {name} is {tuple(found.value.shape)} in it and "
                f"{tuple(base.value.shape)} in {self.base.name}. Choose the model that the net was trained on."
            )
        return StoredWeight(found.value + base.value.reshape(found.value.shape), found.variance)

    def fingerprint(self, on_step: Step = lambda done, total: None) -> str:
        """The SHA-256 of the file. on_step(bytes done, of all) may raise to cancel."""
        return sha256([self._path], on_step)


class _Pickle:
    """The tensors of a pickle, all in memory."""

    def __init__(self, path: Path):
        self.tensors: dict[str, Tensor] = read_tensors(path)[0]
        self.names = list(self.tensors)
        self.shapes = {name: tuple(t.shape) for name, t in self.tensors.items() if t.is_floating_point() and t.numel()}

    def read(self, name: str) -> StoredWeight:
        stored = self.tensors[name]
        return StoredWeight(stored.float().clone(), rounding_variance(stored, stored.dtype))


def _weight_file(path: Path) -> WeightFile:
    try:
        return WeightFile(path)
    except ValueError as error:
        # A control net cannot be loaded to be extracted from.
        raise ValueError(str(error).replace(AS_MODEL, FULL_PRECISION)) from error


def _refuse_other_nets(name: str, names: list[str]) -> None:
    if MARKER in names:
        raise ValueError(f"{name} is already a Control-LoRA. To make it smaller, use Resize Control-LoRA.")
    refuse_union(name, names)
    if DIFFUSERS_MARK not in names and not any(n.removeprefix(PREFIX) == "zero_convs.0.0.weight" for n in names):
        raise ValueError(
            f"{name} is {kind_of(names).what}, not a ControlNet for a U-Net. Only ControlNets of SD 1.x, SD 2.x and SDXL can "
            "be stored as a Control-LoRA; choose one of these."
        )


def _comfy_names(names: Iterable[str]) -> dict[str, str]:
    """ComfyUI's name of every tensor that belongs to a ControlNet."""
    names = list(names)
    if DIFFUSERS_MARK in names:
        return {name: ours for name, ours in zip(names, _from_diffusers(names)) if ours}
    ours = {name: name.removeprefix(PREFIX) for name in names}
    return {name: own for name, own in ours.items() if own.startswith((*OWN_LAYERS, *ENCODER))}


def _from_diffusers(names: list[str]) -> list[str | None]:
    # SDXL has no attention in its first level.
    has_outer_attention = any(name.startswith("down_blocks.0.attentions.") for name in names)
    unet = SD if has_outer_attention else SDXL
    hints = len({name.split(".")[2] for name in names if name.startswith(f"{DIFFUSERS_HINT}blocks.")})
    return [_from_diffusers_name(name, unet, hints) for name in names]


def _from_diffusers_name(name: str, unet: Family, hints: int) -> str | None:
    """hints: how many convolutions the hint passes between the first and the last one."""
    layer, _, ending = name.rpartition(".")
    kind, *rest = layer.split(".")
    if layer == "controlnet_mid_block":
        return f"middle_block_out.0.{ending}"
    if kind == "controlnet_down_blocks":
        return f"zero_convs.{rest[0]}.0.{ending}"
    if kind == "controlnet_cond_embedding":
        # ComfyUI counts the activations between the convolutions too.
        number = {"conv_in": 0, "conv_out": hints + 1}.get(rest[0]) if len(rest) == 1 else int(rest[1]) + 1
        return f"input_hint_block.{2 * number}.{ending}"
    place = unet.place(layer)
    return None if place is None else f"{place.weight.comfy}.{ending}"
