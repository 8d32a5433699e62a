"""The headers of safetensors files, read without the weights and without trusting them.

The format is that of the documentation of safetensors: the length of the header, the header as JSON, and the bytes of the
tensors, which follow each other without gaps up to the end of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .file_errors import incomplete
from .file_reader import FileReader
from .json_text import read_json
from .safe_text import writable
from .stored_tensor import DTYPES, StoredTensor

LENGTH, METADATA = 8, "__metadata__"


class Header(NamedTuple):
    """metadata of a file, and its tensors by name in the order of the header."""

    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]


def read_safetensors_header(path: Path) -> Header:
    """The header of a file. Raises OSError, and ValueError that names a file which is not whole, or changes meanwhile."""
    with FileReader(path) as file:
        return header_of(path, file)


def header_of(path: Path, file: FileReader) -> Header:
    """As `read_safetensors_header`, of a file that is open."""
    try:
        length = _length(file)
        content = read_json(bytes(file.read(LENGTH, length).numpy()))
        if not isinstance(content, dict):
            raise ValueError("its header is not an object")
        metadata = content.pop(METADATA, None) or {}
        tensors = {name: _tensor(path, file, name, entry, LENGTH + length) for name, entry in content.items()}
        _refuse_gaps(content, file.stamp.size - LENGTH - length)
    except (ValueError, KeyError, TypeError) as error:
        file.check()
        raise incomplete(path.name, "safetensors", error) from error
    file.check()
    return Header({key: value for key, value in _texts(metadata)}, tensors)


def _texts(metadata: Any) -> list[tuple[str, str]]:
    return [pair for pair in metadata.items() if isinstance(pair[1], str)] if isinstance(metadata, dict) else []


def _length(file: FileReader) -> int:
    if file.stamp.size < LENGTH:
        raise ValueError("it has no header")
    length = int.from_bytes(bytes(file.read(0, LENGTH).numpy()), "little")
    if length > file.stamp.size - LENGTH:
        raise ValueError(f"a header of {length} bytes in a file of {file.stamp.size}")
    return length


def _tensor(path: Path, file: FileReader, name: str, entry: Mapping[str, Any], begin: int) -> StoredTensor:
    dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if writable(name) != name or not isinstance(dtype, str):
        raise ValueError(f"{writable(name)} is not a name, or its type is not")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in (*shape, start, stop)):
        raise ValueError(f"{name} has a size that is not a number")
    if dtype in DTYPES and math.prod(shape) * DTYPES[dtype].itemsize != stop - start:
        raise ValueError(f"{name} is {' x '.join(map(str, shape)) or 'one'} of {dtype} in {stop - start} bytes")
    return StoredTensor(path, name, dtype, tuple(shape), begin + start, file.stamp)


def _refuse_gaps(content: Mapping[str, Any], size: int) -> None:
    end = 0
    for start, stop in sorted(tuple(entry["data_offsets"]) for entry in content.values()):
        if start != end or stop < start:
            raise ValueError(f"its tensors do not follow each other at {end} of {size} bytes")
        end = stop
    if end != size:
        raise ValueError(f"its tensors take {end} of {size} bytes")
