"""Model files in any layout, read one weight at a time under ComfyUI's names.

Single-file checkpoints, bare diffusion models and text encoders, and diffusers files and folders are told apart by the
names of their tensors. Only headers are read at first; a weight is read when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..families.registry import DENOISER, family_of
from ..progress import Step
from .adapter_names import is_adapter
from .file_kinds import kind_of
from .headers import StoredTensor, files_by_component, read_header, sha256
from .layouts import layout_of
from .stored_weight import Piece, StoredWeight, beside, is_weight, read_piece, scale_of, stands_beside
from .targets import Target

CHOOSE = "Choose a checkpoint, a diffusion model, a text encoder, or a diffusers folder."
UNKNOWN_FAMILY = "{} belongs to no known family: its weights keep the names they have in the file"
# Below this share of common weights two models have nothing to do with each other.
NEARLY_NOTHING = 0.1


class Common(NamedTuple):
    """The weights of a tuned model and its base. shared: of equal size; misfits: in both, but of different sizes."""

    shared: list[str]
    only_tuned: list[str]
    only_base: list[str]
    misfits: list[str]


class _Source(NamedTuple):
    """The pieces whose rows make up a weight, one after the other, and what is done to the whole."""

    pieces: list[Piece]
    change: Callable[[Tensor], Tensor] | None

    @property
    def shape(self) -> tuple[int, ...]:
        shapes = [piece.shape for piece in self.pieces]
        shape = shapes[0] if len(shapes) == 1 else (sum(each[0] for each in shapes), *shapes[0][1:])
        return shape if self.change is None else tuple(self.change(torch.empty(shape, device="meta")).shape)


class Checkpoint:
    """A model file, or a diffusers folder, of which one weight at a time is read.

    name: of the file or folder; shapes: of every weight by its name in ComfyUI, `diffusion_model.…` or
    `text_encoders.…`; left_out: names of the tensors that are no weight of a diffusion model or text encoder, such as
    those of a VAE or of an EMA copy; notes: lines about what is not known of the model.
    """

    def __init__(self, path: str | Path):
        """Read the headers. path: a safetensors or GGUF file, one shard, an index of shards, or a diffusers folder.

        Raises FileNotFoundError for a file that is missing, and ValueError, with the remedy, for one that is damaged,
        cannot be read one tensor at a time, is packed in a way that only ComfyUI reads, or is no model.
        """
        path = Path(path)
        self.name = path.name
        self.left_out: list[str] = []
        self.notes: list[str] = []
        components = files_by_component(path)
        self._files = [file for files in components for file in files]
        headers = [
            {name: tensor for file in files for name, tensor in read_header(file).items()} for files in components
        ]
        names = [name for header in headers for name in header]
        self._refuse_other_files(names)
        self._sources: dict[str, _Source] = {}
        for header in headers:
            found = _read_layout(header)
            self._sources |= found.sources
            self.left_out += found.left_out
            self.notes += [UNKNOWN_FAMILY.format(self.name)] if found.is_unknown else []
        self._refuse_nothing(names)
        self.shapes: Mapping[str, tuple[int, ...]] = {name: source.shape for name, source in self._sources.items()}

    def read(self, name: str) -> StoredWeight:
        """One weight, as a copy. Raises KeyError for one that is not there, ValueError for NaN and infinite values."""
        source = self._sources[name]
        parts = [read_piece(piece) for piece in source.pieces]
        value = parts[0].value if len(parts) == 1 else torch.cat([part.value for part in parts])
        variance = sum(part.variance * part.value.numel() for part in parts) / value.numel()
        return StoredWeight(value if source.change is None else source.change(value), variance)

    def fingerprint(self, on_step: Step = lambda done, total: None) -> str:
        """The SHA-256 of the file, or of all files one after the other.

        on_step(bytes done, of all) is called now and then and may raise to cancel.
        """
        return sha256(self._files, on_step)

    @property
    def architecture(self) -> str | None:
        """The name of the diffusion model's family, None where there is none or it is not known."""
        found = family_of(_denoiser_names(self.shapes))
        return found.name if found else None

    def _refuse_other_files(self, names: list[str]) -> None:
        kind = kind_of(names)
        if kind.is_addition or is_adapter(names):
            raise ValueError(f"{self.name} is not a model; it is {kind}. {CHOOSE}")

    def _refuse_nothing(self, names: list[str]) -> None:
        if not _denoiser_names(self._sources) and any(name.startswith("model_ema.") for name in names):
            raise ValueError(
                f"{self.name} holds only the EMA copy of a diffusion model. Use the normal or the pruned version of it."
            )
        if not self._sources:
            raise ValueError(f"{self.name} is not a known kind of model; it is {kind_of(names)}. {CHOOSE}")


def common(tuned: Checkpoint, base: Checkpoint) -> Common:
    """Which weights two models have in common, in the order of `tuned`.

    Raises ValueError for models of different architectures, and for those that have nothing or hardly anything alike.
    """
    both = [name for name in tuned.shapes if name in base.shapes]
    misfits = [name for name in both if math.prod(tuned.shapes[name]) != math.prod(base.shapes[name])]
    misfitting = set(misfits)
    shared = [name for name in both if name not in misfitting]
    _refuse_unlike(tuned, base, shared)
    return Common(
        shared,
        [name for name in tuned.shapes if name not in base.shapes],
        [name for name in base.shapes if name not in tuned.shapes],
        misfits,
    )


def _refuse_unlike(tuned: Checkpoint, base: Checkpoint, shared: list[str]) -> None:
    # A text encoder may be the same in models of different architectures: the diffusion models decide.
    counts = [len(_denoiser_names(names)) for names in (shared, tuned.shapes, base.shapes)]
    if not (counts[1] and counts[2]):
        counts = [len(shared), len(tuned.shapes), len(base.shapes)]
    alike, of_tuned, of_base = counts
    kinds = tuned.architecture, base.architecture
    different = None not in kinds and kinds[0] != kinds[1]
    if different or alike <= NEARLY_NOTHING * min(of_tuned, of_base):
        names = " against ".join(kind or "unknown" for kind in kinds)
        raise ValueError(
            f"{tuned.name} and {base.name} are different architectures or sizes: {names}. They have {alike} of "
            f"{of_tuned} and {of_base} weights in common. Choose two models of the same kind, such as a model and "
            "the one it was tuned from."
        )


def _denoiser_names(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(DENOISER)]


class _Component(NamedTuple):
    """sources: where each weight is found; left_out: the tensors that belong to none; is_unknown: see layouts.Layout."""

    sources: dict[str, _Source]
    left_out: list[str]
    is_unknown: bool


def _read_layout(tensors: Mapping[str, StoredTensor]) -> _Component:
    weights = {name: tensor for name, tensor in tensors.items() if not stands_beside(name)}
    targets, is_unknown = layout_of(weights)
    found: dict[str, dict[int, tuple[Target, Piece]]] = {}
    left_out = []
    for name, tensor in weights.items():
        if name not in targets or not is_weight(tensor, tensors):
            left_out.append(name)
            continue
        scale = scale_of(name, tensors)
        for target in targets[name]:
            piece = Piece(tensor, target.third, scale, tensors.get(beside(name, "comfy_quant")))
            found.setdefault(target.name, {})[target.part] = target, piece
    sources = {name: _assembled(name, parts) for name, parts in found.items()}
    return _Component(sources, left_out, is_unknown)


def _assembled(name: str, parts: Mapping[int, tuple[Target, Piece]]) -> _Source:
    target, piece = next(iter(parts.values()))
    if len(parts) < target.parts:
        raise ValueError(
            f"{piece.tensor.file.name} holds only {len(parts)} of the {target.parts} parts of {name}, such as "
            f"{piece.tensor.name}. Download it again, with all its shards."
        )
    return _Source([parts[index][1] for index in range(target.parts)], target.change)
