"""Weights quantised by ggml itself, whose library comes inside the package pywhispercpp, and GGUF files of them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

# These ggml writes only with the importance of each column.
NEED_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M", "IQ2_S")
ABSENT = "ggml's own quantiser is not installed: pip install --no-deps pywhispercpp"


@cache
def library() -> Any | None:
    """ggml's library, None where it is not installed."""
    try:
        listed = files("pywhispercpp") or ()
    except PackageNotFoundError:
        return None
    found = [Path(file.locate()) for file in listed if file.name.startswith("libggml-base")]
    if not found:
        return None
    loaded = ctypes.CDLL(str(found[-1]))
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    loaded.ggml_quantize_chunk.argtypes = [ctypes.c_int, *2 * [ctypes.c_void_p], *3 * [ctypes.c_int64], ctypes.c_void_p]
    return loaded


def quantised(weight: torch.Tensor, kind: str) -> np.ndarray:
    """A weight [m, n] as ggml stores it: bytes [m, bytes of a row]."""
    values = np.ascontiguousarray(weight.float().numpy())
    number = gguf.GGMLQuantizationType[kind]
    size, length = gguf.GGML_QUANT_SIZES[number]
    stored = np.zeros((len(values), values.shape[1] // size * length), np.uint8)
    importance = np.ones(values.shape[1], np.float32) if kind in NEED_IMPORTANCE else None
    written = library().ggml_quantize_chunk(
        int(number),
        values.ctypes.data,
        stored.ctypes.data,
        0,
        *values.shape,
        None if importance is None else importance.ctypes.data,
    )
    assert written == stored.size
    return stored


def dequantised(stored: np.ndarray, kind: str) -> torch.Tensor:
    """What the package gguf makes of these bytes."""
    return torch.from_numpy(gguf.dequantize(stored, gguf.GGMLQuantizationType[kind]).copy())


def write_gguf(
    path: Path, tensors: Mapping[str, tuple[np.ndarray, str]], architecture: str = "flux", **fields: Any
) -> Path:
    """Write tensors [(numbers or bytes, type)] by the format's own writer. fields: arrays of metadata by name."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, values in fields.items():
        writer.add_array(name, values)
    for name, (values, kind) in tensors.items():
        writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
