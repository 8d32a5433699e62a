"""The one door for pickles: what would be made is told first, and made only where the file has as many bytes."""

from __future__ import annotations

import os
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .pickle_outline import Outline, Refused, outline

ZIP = b"PK\x03\x04"
# What files of PyTorch before 1.6 begin with.
OLD_MAGIC = 0x1950A86A20F9469CFC6C
# What such a file holds before its content: that number, the version of the format, and facts of the machine.
OLD_PREFACE = 3
TORCHSCRIPT = "constants.pkl"
# How often all numbers of a file may be shared by its tensors.
MOST_SHARED = 4
LOCAL_HEADER, NAME_AND_EXTRA = 30, 26
# What PyTorch says of a class that it will not make, or of a compiled program.
FOREIGN_CLASS = re.compile(r"(?:GLOBAL|class) ([\w.]+) was not an allowed|TorchScript archives")


class WholePickle(ValueError):
    """A pickle that holds more than tensors, so that reading it would run what is in it."""


def load_pickle(path: Path) -> Any:
    """The content of a pickle of `torch.save`, by `torch.load(weights_only=True)` on the CPU.

    Raises OSError for a file that cannot be opened, WholePickle, and ValueError that names the file and the remedy for
    one that is damaged, or whose tensors would be larger than it.
    """
    with path.open("rb") as file:
        try:
            _refuse_larger_than_file(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except Refused as error:
            raise ValueError(
                f"{path.name} cannot be read safely as a file of tensors: {error}. Use a safetensors version of it."
            ) from error
        # Damage shows as an error of almost any type.
        except Exception as error:
            if found := FOREIGN_CLASS.search(str(error)):
                raise WholePickle(
                    f"{path.name} cannot be read safely: it contains more than weights ({found[1] or 'a TorchScript archive'}), "
                    "and reading it would run code from the file. Use a safetensors version of it."
                ) from error
            raise ValueError(
                f"{path.name} cannot be read safely as a file of tensors. It is damaged, truncated, or contains more than "
                "weights; use a safetensors version of it."
            ) from error


def _refuse_larger_than_file(file: BinaryIO) -> None:
    """Raise where something larger than the file would be made of it."""
    size = os.fstat(file.fileno()).st_size
    found = _of_zip(file, size) if file.read(len(ZIP)) == ZIP else _of_old_file(file)
    if sum(found.storages.values()) > size or found.tensors > MOST_SHARED * size:
        raise Refused("its tensors have more numbers than it holds")


def _of_zip(file: BinaryIO, size: int) -> Outline:
    """The outline of a zip file, of which each entry has the bytes that its storage is said to have."""
    entries = {entry.filename.partition("/")[2]: entry for entry in zipfile.ZipFile(file).infolist()}
    if TORCHSCRIPT in entries:
        raise ValueError("TorchScript archives")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values())
    if packed or sum(entry.file_size for entry in entries.values()) > size:
        raise Refused("its parts are compressed or lie over each other")
    found = outline(BytesIO(_stored(file, entries["data.pkl"])))
    for key, length in found.storages.items():
        if entries[f"data/{key}"].file_size != length:
            raise Refused(f"its storage {key[:20]} has another size than is said")
    return found


def _stored(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of a stored entry. The library would compare a checksum that files of PyTorch need not have."""
    file.seek(entry.header_offset + NAME_AND_EXTRA)
    lengths = file.read(4)
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    file.seek(entry.header_offset + LOCAL_HEADER + name + extra)
    return file.read(entry.file_size)


def _of_old_file(file: BinaryIO) -> Outline:
    file.seek(0)
    found = outline(file)
    if found.value == OLD_MAGIC:
        for _ in range(OLD_PREFACE):
            found = outline(file)
    return found
