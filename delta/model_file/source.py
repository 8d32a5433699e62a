"""The tensors of a safetensors file, or of its shards, read one at a time under their own names."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..files.headers import read_header, sha256, shards
from ..files.safetensors_header import read_safetensors_header
from ..files.stored_tensor import DTYPES, stored_numbers
from ..progress import Step

# Numbers of a tensor in a sketch: what programs tell models apart by are single vectors.
MOST_SKETCHED = 1 << 14


class TensorFile:
    """A file of tensors. name: of the file; tensors: by the header; metadata: of the file, or of the first shard."""

    def __init__(self, path: str | Path):
        """Raises FileNotFoundError, and ValueError for a file that is damaged, packed or holds tensors of unknown types."""
        path = Path(path)
        self.name, self._files = path.name, shards(path)
        self.tensors = {name: tensor for file in self._files for name, tensor in read_header(file).items()}
        self.metadata: dict[str, str] = read_safetensors_header(self._files[0]).metadata
        for tensor in self.tensors.values():
            if tensor.dtype not in DTYPES:
                raise ValueError(f"{self.name}: {tensor.name} has an unknown type, {tensor.dtype}.")

    def dtype(self, name: str) -> torch.dtype:
        return DTYPES[self.tensors[name].dtype]

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own. Raises ValueError where the file has changed."""
        return stored_numbers(self.tensors[name])

    def sketch(self) -> dict[str, Tensor]:
        """Every tensor by its type and shape, of which only small ones have numbers; the others take no memory (meta)."""
        return {
            name: self.read(name)
            if math.prod(tensor.shape) <= MOST_SKETCHED
            else torch.empty(tensor.shape, dtype=self.dtype(name), device="meta")
            for name, tensor in self.tensors.items()
        }

    def fingerprint(self, on_step: Step = lambda done, total: None) -> str:
        """The SHA-256 of the file; see `headers.sha256`."""
        return sha256(self._files, on_step)
