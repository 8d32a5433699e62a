"""A tensor of a model file by its header."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class StoredTensor(NamedTuple):
    """dtype: by the name that safetensors or GGUF has for it; start: of its bytes in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
