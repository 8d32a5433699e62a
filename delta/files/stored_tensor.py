"""A tensor of a model file by its header, and its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .file_reader import FileReader, Stamp


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
