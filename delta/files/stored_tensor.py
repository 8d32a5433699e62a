"""A tensor of a model file by its header, and its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class StoredTensor(NamedTuple):
    """dtype: by the name that safetensors or GGUF has for it; start: of its bytes in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


def mapped_bytes(tensor: StoredTensor, size: int) -> Tensor:
    """The bytes of a tensor mapped into memory, uint8: safe_open would parse the whole header again for each.

    What is written into them does not reach the file. Raises ValueError where the file has changed.
    """
    if not size:
        return torch.empty(0, dtype=torch.uint8)
    try:
        found = np.memmap(tensor.file, np.uint8, mode="c", offset=tensor.start, shape=(size,))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{tensor.file.name} changed while it was being read ({error}). Run the node again."
        ) from error
    return torch.from_numpy(found)
