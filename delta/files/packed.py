"""The packed numbers of GGUF: blocks of small whole numbers with their scales, unpacked by the library `gguf` of the
format's authors, and the rounding in them.

Where a block holds whole numbers, changing the lowest bit of each moves the weight by one step of its block, which is so
found without knowing how the scales are packed. The error of nearest rounding is step^2 / 12; the programs that write these
files look for the scale with the smallest error instead, by a share of it that differs from type to type.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..linear_algebra.noise import SAMPLE

MISSING = (
    "GGUF needs the Python package gguf, which is not installed: run `pip install -r requirements.txt` in the folder of this "
    "node pack, or use the safetensors version of the model."
)


class Numbers(NamedTuple):
    """Where a block holds its numbers. start, stop: the bytes with their lowest bits; bits: which bits of each those are;
    share: the mean squared error over step^2 / 12, of ggml's own writer on normally distributed weights (without an
    importance matrix, with which it is up to a fifth smaller)."""

    start: int
    stop: int
    bits: int
    share: float


# The bytes are those of ggml's block structs. The shares are those of `benchmarks/packed.py`.
NUMBERS = {
    "Q4_0": Numbers(2, 18, 0x11, 0.99),
    "Q4_1": Numbers(4, 20, 0x11, 0.94),
    "Q5_0": Numbers(6, 22, 0x11, 0.98),
    "Q5_1": Numbers(8, 24, 0x11, 0.94),
    "Q8_0": Numbers(2, 34, 0x01, 0.97),
    "Q2_K": Numbers(16, 80, 0x55, 0.79),
    "Q3_K": Numbers(32, 96, 0x55, 0.93),
    "Q4_K": Numbers(16, 144, 0x11, 0.77),
    "Q5_K": Numbers(48, 176, 0x11, 0.86),
    "Q6_K": Numbers(0, 128, 0x11, 0.83),
    "IQ4_NL": Numbers(2, 18, 0x11, 0.84),
    "IQ4_XS": Numbers(8, 136, 0x11, 0.85),
    "MXFP4": Numbers(1, 17, 0x11, 0.88),
}
# The others choose from tables of several numbers at once: their mean squared error over the mean square of the weight.
ERRORS = {
    "IQ3_S": 0.025,
    "IQ3_XXS": 0.043,
    "IQ2_S": 0.058,
    "IQ2_XS": 0.084,
    "IQ2_XXS": 0.11,
    "IQ1_M": 0.18,
    "IQ1_S": 0.21,
}
# Which types can be read, by the names of ggml's enum. Not NVFP4, whose second scale is a tensor of its own.
PACKED = (*NUMBERS, *ERRORS)
# Numbers that are unpacked at a time: the library works on copies, some of them wider.
AT_ONCE = 2**20


def library() -> Any:
    """The package gguf. Raises ModuleNotFoundError with the remedy where it is not installed."""
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    return gguf


def packed_size(kind: str, shape: tuple[int, ...]) -> int:
    """How many bytes a weight of this shape takes, whose numbers fill whole blocks."""
    gguf = library()
    size, length = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return math.prod(shape) // size * length


def unpacked(stored: Tensor, kind: str, shape: tuple[int, ...]) -> Tensor:
    """The weight that packed bytes [n], uint8, on the CPU, stand for: [shape], float32.

    Raises ValueError for a type that cannot be read, and where there are not as many bytes as the shape asks for.
    """
    values = torch.empty(math.prod(shape), dtype=torch.float32)
    blocks, size = _blocks(stored, kind)
    if len(blocks) * size != values.numel():
        raise ValueError(f"{stored.numel()} bytes of {kind} are not {' x '.join(map(str, shape))} numbers.")
    step = max(AT_ONCE // size, 1)
    for start in range(0, len(blocks), step):
        part = _unpack(blocks[start : start + step], kind)
        values[start * size : start * size + part.size] = torch.from_numpy(part)
    return values.reshape(shape)


def packed_variance(stored: Tensor, kind: str) -> float:
    """The mean variance of the rounding of a weight that is stored as these packed bytes [n], uint8, on the CPU.

    Raises ValueError for a type that cannot be read.
    """
    blocks, size = _blocks(stored, kind)
    # The odd distance meets all columns of a matrix of even width.
    blocks = blocks[:: len(blocks) * size // SAMPLE | 1]
    values = _unpack(blocks, kind).astype(np.float64)
    if kind in ERRORS:
        return ERRORS[kind] * float(np.square(values).mean())
    start, stop, bits, share = NUMBERS[kind]
    others = blocks.copy()
    others[:, start:stop] ^= bits
    # A scale may be infinite, which is refused where the weight is read.
    with np.errstate(invalid="ignore"):
        return share * float(np.square(_unpack(others, kind) - values).mean()) / 12


def _blocks(stored: Tensor, kind: str) -> tuple[np.ndarray, int]:
    """(the bytes of each block [blocks, bytes], the numbers in a block)."""
    if kind not in PACKED:
        raise ValueError(f"Weights of GGUF type {kind} cannot be read. Use a version of the model in another type.")
    gguf = library()
    size, length = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return stored.numpy().reshape(-1, length), size


def _unpack(blocks: np.ndarray, kind: str) -> np.ndarray:
    gguf = library()
    # Of many rows the library would take sixteen at a time.
    return gguf.dequantize(np.ascontiguousarray(blocks).reshape(1, -1), gguf.GGMLQuantizationType[kind])[0]
