"""Weights as they are stored, dequantised as they are read, with the variance of their rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..linear_algebra.noise import rounding_variance
from ..progress import Step
from .headers import AS_MODEL, GGUF, StoredTensor, read_header, sha256, shards
from .json_text import json_object
from .packed import PACKED, packed_size, packed_variance, unpacked
from .stored_tensor import stored_bytes, stored_numbers

WEIGHT_DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8")
INDEX_DTYPES = ("I64", "I32", "I16", "BOOL")
SCALE_DTYPES = ("F32", "F16", "BF16")
# MXFP8 has a scale for every 32 numbers, which is a power of two.
EXPONENTS = ("U8", "F8_E8M0")
SCALES = ("scale_weight", "weight_scale")
# What stands beside a quantised weight.
SIDE_ENDINGS = (
    *(".scale_weight", ".weight_scale", ".weight_scale_2", ".scale_input", ".input_scale", ".comfy_quant"),
    *(".pre_quant_scale", ".weight_s_rel", ".weight_s_channel", ".weight_codebook"),
)
SIDE_MARKER = "scaled_fp8"
OTHER_TYPE = "This GGUF type cannot be read here. Use a version of the model in another type."
# The formats of ComfyUI's own quantisation in which a number times its scale is the weight.
SCALED_FORMATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fn_rowwise", "int8_tensorwise")


class StoredWeight(NamedTuple):
    """value: float32, in the shape that the file gives ComfyUI's weight; variance: the mean variance of the rounding of
    its storage, in the units of the value squared."""

    value: Tensor
    variance: float


class Piece(NamedTuple):
    """A tensor, or a third of its rows, with what stands beside it where it is quantised."""

    tensor: StoredTensor
    third: int | None
    scale: StoredTensor | None
    settings: StoredTensor | None

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.tensor.shape
        return shape if self.third is None else (shape[0] // 3, *shape[1:])


class WeightFile:
    """A safetensors or GGUF file of which one weight at a time is read under its own names, whatever it holds.

    name: of the file; shapes: of every weight, without those that are no numbers or empty.
    """

    def __init__(self, path: str | Path):
        """Read the header. Raises FileNotFoundError, or ValueError for a file that is damaged or packed."""
        path = Path(path)
        self.name, self._path = path.name, shards(path)[0]
        header = read_header(self._path)
        self.names = list(header)
        self._pieces = {
            name: Piece(tensor, None, scale_of(name, header), header.get(beside(name, "comfy_quant")))
            for name, tensor in header.items()
            if not stands_beside(name) and is_weight(tensor, header)
        }
        self.shapes: Mapping[str, tuple[int, ...]] = {name: piece.shape for name, piece in self._pieces.items()}

    def read(self, name: str) -> StoredWeight:
        """One weight, as a copy. Raises KeyError for one that is not there, ValueError for NaN and infinite values."""
        return read_piece(self._pieces[name])

    def fingerprint(self, on_step: Step = lambda done, total: None) -> str:
        """The SHA-256 of the file; see `sha256`."""
        return sha256([self._path], on_step)


def stands_beside(name: str) -> bool:
    return name.endswith(SIDE_ENDINGS) or name.rpartition(".")[2] == SIDE_MARKER


def beside(name: str, ending: str) -> str | None:
    module, _, last = name.rpartition(".")
    return f"{module}.{ending}" if last == "weight" else None


def scale_of(name: str, tensors: Mapping[str, StoredTensor]) -> StoredTensor | None:
    return next((tensors[side] for ending in SCALES if (side := beside(name, ending)) in tensors), None)


def is_weight(tensor: StoredTensor, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether a tensor that has a weight's name is one; raises ValueError for one that cannot be read."""
    if tensor.dtype in INDEX_DTYPES or tensor.name.endswith("position_ids") or 0 in tensor.shape:
        return False
    if tensor.dtype in PACKED:
        return True
    unscaled = tensor.dtype == "I8" and not any(beside(tensor.name, ending) in tensors for ending in SCALES)
    if tensor.dtype not in WEIGHT_DTYPES or unscaled:
        if not tensor.name.endswith("weight"):
            return False
        remedy = OTHER_TYPE if tensor.file.suffix.lower() == GGUF else AS_MODEL
        raise ValueError(f"{tensor.file.name}: {tensor.name} is packed ({tensor.dtype}). {remedy}")
    scale = scale_of(tensor.name, tensors)
    if scale is not None and scale.dtype in EXPONENTS:
        raise ValueError(
            f"{tensor.file.name}: {tensor.name} is quantised in blocks and padded to whole ones (mxfp8). {AS_MODEL}"
        )
    return True


def read_piece(piece: Piece) -> StoredWeight:
    """A piece in float32. Raises ValueError for NaN and infinite values, and as a changed or unknown file asks for."""
    tensor = piece.tensor
    read = _read_packed(piece) if tensor.dtype in PACKED else _read_plain(piece)
    if not torch.isfinite(read.value).all():
        raise ValueError(
            f"{tensor.file.name}: {tensor.name} holds NaN or infinite values. Use another copy of the file."
        )
    return read


def _read_packed(piece: Piece) -> StoredWeight:
    tensor = piece.tensor
    raw = stored_bytes(tensor, packed_size(tensor.dtype, tensor.shape))
    value = unpacked(raw, tensor.dtype, tensor.shape)
    value = value if piece.third is None else value.chunk(3)[piece.third].clone()
    return StoredWeight(value, packed_variance(raw, tensor.dtype))


def _read_plain(piece: Piece) -> StoredWeight:
    raw = stored_numbers(piece.tensor, piece.third)
    value = raw.to(torch.float32)
    kind = torch.float32 if raw.dtype == torch.float64 else raw.dtype
    if piece.scale is None:
        return StoredWeight(value, rounding_variance(raw, kind))
    scale = _scale(piece)
    value.mul_(scale.view(-1, *[1] * (value.ndim - 1)))
    groups = raw if len(scale) > 1 else [raw]
    variances = [rounding_variance(group, kind) * factor**2 for group, factor in zip(groups, scale.tolist())]
    return StoredWeight(value, sum(variances) / len(variances))


def _scale(piece: Piece) -> Tensor:
    """The scale of a quantised weight [1], or those of its rows [m]."""
    tensor, shape = piece.tensor, piece.scale.shape
    fits = math.prod(shape) == 1 or (shape[:1] == tensor.shape[:1] and math.prod(shape) == shape[0])
    if piece.scale.dtype not in SCALE_DTYPES or not fits or not _is_plain(piece.settings):
        raise ValueError(f"{tensor.file.name}: {tensor.name} is quantised in blocks or rotated. {AS_MODEL}")
    return stored_numbers(piece.scale).flatten().float()


def _is_plain(settings: StoredTensor | None) -> bool:
    """Whether ComfyUI's settings of a quantised weight, where it has any, ask for no more than a scale."""
    if settings is None:
        return True
    content = json_object(bytes(stored_numbers(settings).tolist())) or {}
    inner = content.get("params")
    rotated = content.get("convrot", inner.get("convrot") if isinstance(inner, dict) else False)
    return content.get("format") in SCALED_FORMATS and not rotated
