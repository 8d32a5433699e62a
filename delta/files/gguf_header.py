"""The headers of GGUF files, read without the weights and without trusting them.

The format is that of ggml's `docs/gguf.md`, versions 2 and 3: counts, metadata, then name, shape, type and place of each
tensor. Every count is held against what is left of the file before anything is read or made by it.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from .file_errors import incomplete
from .file_reader import stamp_of
from .packed import library
from .stored_tensor import StoredTensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
# The files of ComfyUI-GGUF's tools keep here the shape of a weight whose rows do not fill whole blocks.
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
# The types of metadata: sizes in bytes of plain ones, and those that are not.
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
UINT32, INT32, STRING, ARRAY = 4, 5, 8, 9
# Far above what files have.
LONGEST_NAME = 2**12
MOST_STRINGS = 2**22
MOST_FIELDS = 2**18
MOST_DIMENSIONS = 8
# A name's length, the number of dimensions, the type and the place.
LEAST_TENSOR = 8 + 4 + 4 + 8
LEAST_FIELD = 8 + 4 + 1


class _Reader:
    """Numbers and names from a file, of which none leads beyond its end."""

    def __init__(self, path: Path, file: BinaryIO):
        self.name, self._file = path.name, file
        self.stamp = stamp_of(file)
        self.size = self.stamp.size

    @property
    def place(self) -> int:
        return self._file.tell()

    def damaged(self, what: str) -> ValueError:
        return incomplete(self.name, "GGUF", what)

    def check(self, count: int, each: int, what: str) -> int:
        """A count of things of at least `each` bytes, which must be in what is left of the file."""
        if count * each > self.size - self.place:
            raise self.damaged(f"{count} {what} are more than the file has room for")
        return count

    def numbers(self, form: str) -> tuple[int, ...]:
        """Little-endian numbers by their letters of `struct`."""
        form = f"<{form}"
        self.check(struct.calcsize(form), 1, "bytes")
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def skip(self, count: int, each: int, what: str) -> None:
        self._file.seek(self.check(count, each, what) * each, 1)

    def text(self) -> str:
        (length,) = self.numbers("Q")
        if self.check(length, 1, "letters of a name") > LONGEST_NAME:
            raise self.damaged(f"a name of {length} letters")
        try:
            return self._file.read(length).decode()
        except UnicodeDecodeError:
            raise self.damaged("a name that is not text") from None

    def skip_text(self) -> None:
        self.skip(self.numbers("Q")[0], 1, "letters")


def read_gguf_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a GGUF file, in the shapes of torch, which is checked to be whole.

    Raises ValueError, with the file's and the tensor's name, for a file that is damaged or of a version or type that is not
    known, and ModuleNotFoundError without the package gguf.
    """
    with path.open("rb") as file:
        reader = _Reader(path, file)
        tensor_count, field_count = _counts(reader)
        alignment, shapes = _fields(reader, field_count)
        entries: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(tensor_count):
            name, entry = _entry(reader)
            if name in entries:
                raise reader.damaged(f"two tensors {name}")
            entries[name] = entry
        begin = -(-reader.place // alignment) * alignment
    found = {}
    for name, (dimensions, kind, offset) in entries.items():
        dtype, length = _storage(reader, name, dimensions, kind)
        if offset % alignment or begin + offset + length > reader.size:
            raise reader.damaged(f"the tensor {name} begins at byte {begin + offset} of {reader.size}")
        shape = shapes.get(name, dimensions[::-1])
        if math.prod(shape) != math.prod(dimensions):
            raise reader.damaged(f"the tensor {name} is {dimensions[::-1]}, and should be {shape}")
        found[name] = StoredTensor(path, name, dtype, shape, begin + offset, reader.stamp)
    return found


def _counts(reader: _Reader) -> tuple[int, int]:
    if reader.size < len(MAGIC) or bytes(reader.numbers("4B")) != MAGIC:
        raise reader.damaged("it does not begin as one")
    (version,) = reader.numbers("I")
    if version not in VERSIONS:
        swapped = version & 0xFFFF == 0
        what = "with the other byte order" if swapped else f"of version {version}"
        raise ValueError(f"{reader.name} is a GGUF file {what}. Use another copy of the model.")
    tensors, fields = reader.numbers("QQ")
    if reader.check(fields, LEAST_FIELD, "entries of metadata") > MOST_FIELDS:
        raise reader.damaged(f"{fields} entries of metadata")
    return reader.check(tensors, LEAST_TENSOR, "tensors"), fields


def _fields(reader: _Reader, count: int) -> tuple[int, dict[str, tuple[int, ...]]]:
    """(the alignment of the tensors, the original shapes of some)."""
    alignment, shapes = 32, {}
    for _ in range(count):
        name = reader.text()
        (kind,) = reader.numbers("I")
        if name == ALIGNMENT:
            alignment = reader.numbers("I")[0] if kind == UINT32 else 0
            if alignment < 1 or alignment & (alignment - 1):
                raise reader.damaged(f"{ALIGNMENT} is not a power of two")
        elif name.startswith(ORIGINAL_SHAPE):
            shapes[name.removeprefix(ORIGINAL_SHAPE)] = _shape(reader, name, kind)
        else:
            _skip_value(reader, name, kind)
    return alignment, shapes


def _shape(reader: _Reader, name: str, kind: int) -> tuple[int, ...]:
    item, count = reader.numbers("IQ") if kind == ARRAY else (0, 0)
    if item != INT32 or not 0 < count <= MOST_DIMENSIONS:
        raise reader.damaged(f"{name} is not a shape")
    shape = reader.numbers(f"{count}i")
    if min(shape) < 0:
        raise reader.damaged(f"{name} is not a shape: {shape}")
    return shape


def _skip_value(reader: _Reader, name: str, kind: int) -> None:
    count = 1
    if kind == ARRAY:
        kind, count = reader.numbers("IQ")
    if kind in SIZES:
        reader.skip(count, SIZES[kind], "numbers")
    elif kind == STRING and reader.check(count, 8, "texts") <= MOST_STRINGS:
        for _ in range(count):
            reader.skip_text()
    else:
        raise reader.damaged(f"{name} has metadata of an unknown type or size")


def _entry(reader: _Reader) -> tuple[str, tuple[tuple[int, ...], int, int]]:
    """A tensor's name, and its dimensions with that of the rows first, type, and place behind the header."""
    name = reader.text()
    (count,) = reader.numbers("I")
    if count > MOST_DIMENSIONS:
        raise reader.damaged(f"the tensor {name} has {count} dimensions")
    dimensions = reader.numbers(f"{count}Q")
    return name, (dimensions, *reader.numbers("IQ"))


def _storage(reader: _Reader, name: str, dimensions: tuple[int, ...], kind: int) -> tuple[str, int]:
    """(the name of a tensor's type, its length in bytes)."""
    gguf = library()
    try:
        known = gguf.GGMLQuantizationType(kind)
        size, length = gguf.GGML_QUANT_SIZES[known]
    except (ValueError, KeyError):
        raise ValueError(
            f"{reader.name}: {name} has the GGUF type {kind}, which the installed gguf package does not know. Run "
            "`pip install --upgrade gguf`, or use a version of the model in another type."
        ) from None
    if (dimensions[0] if dimensions else 1) % size:
        raise reader.damaged(f"the rows of {name}, {dimensions[0]} numbers long, are not whole blocks of {known.name}")
    return known.name, math.prod(dimensions) // size * length
