"""A tensor of a model file by its header, and its bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .file_reader import FileReader, Stamp

# The types of torch by their names in safetensors. Those of less than a byte are not among them.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# Newer versions of torch have more types: the exponents of MXFP8, and whole numbers without a sign.
NEWER = {"F8_E8M0": "float8_e8m0fnu", "U64": "uint64", "U32": "uint32", "U16": "uint16"}
DTYPES |= {name: getattr(torch, dtype) for name, dtype in NEWER.items() if hasattr(torch, dtype)}


class StoredTensor(NamedTuple):
    """dtype: by the name that safetensors or GGUF has for it; start: of its bytes in the file; stamp: of the file when its
    header was read."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stamp: Stamp


def stored_bytes(tensor: StoredTensor, size: int, skip: int = 0) -> Tensor:
    """`size` bytes of a tensor, after the first `skip`: uint8 [size] in memory of their own.

    Raises ValueError where the file has changed since its header was read, or does so meanwhile.
    """
    try:
        with FileReader(tensor.file, tensor.stamp) as file:
            found = file.read(tensor.start + skip, size)
            file.check()
    except OSError as error:
        raise ValueError(f"{tensor.file.name} can no longer be read ({error}). Run the node again.") from error
    return found


def stored_numbers(tensor: StoredTensor, third: int | None = None) -> Tensor:
    """The numbers of a tensor of safetensors, or of a third of its rows, as they are stored, in memory of their own.

    Raises ValueError where the file has changed, see `stored_bytes`.
    """
    dtype, shape = DTYPES[tensor.dtype], tensor.shape
    shape = shape if third is None else (shape[0] // 3, *shape[1:])
    size = math.prod(shape) * dtype.itemsize
    return stored_bytes(tensor, size, (third or 0) * size).view(dtype).view(shape)
