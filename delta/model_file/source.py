"""The tensors of a safetensors file, or of its shards, mapped into memory one at a time under their own names."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from ..files.headers import StoredTensor, read_header, sha256, shards
from ..files.stored_tensor import mapped_bytes
from ..progress import Step
from .writer import DTYPES


class TensorFile:
    """A file of tensors. name: of the file; tensors: by the header; metadata: of the file, or of the first shard."""

    def __init__(self, path: str | Path):
        """Raises FileNotFoundError, and ValueError for a file that is damaged, packed or holds tensors of unknown types."""
        from safetensors import safe_open

        path = Path(path)
        self.name, self._files = path.name, shards(path)
        self.tensors = {name: tensor for file in self._files for name, tensor in read_header(file).items()}
        with safe_open(self._files[0], framework="pt") as file:
            self.metadata: dict[str, str] = file.metadata() or {}
        for tensor in self.tensors.values():
            if tensor.dtype not in DTYPES:
                raise ValueError(f"{self.name}: {tensor.name} has an unknown type, {tensor.dtype}.")

    def dtype(self, name: str) -> torch.dtype:
        return DTYPES[self.tensors[name].dtype]

    def read(self, name: str) -> Tensor:
        """A tensor mapped into memory, which takes none until its numbers are asked for."""
        return mapped(self.tensors[name])

    def fingerprint(self, on_step: Step = lambda done, total: None) -> str:
        """The SHA-256 of the file; see `headers.sha256`."""
        return sha256(self._files, on_step)


def mapped(tensor: StoredTensor) -> Tensor:
    dtype = DTYPES[tensor.dtype]
    return mapped_bytes(tensor, math.prod(tensor.shape) * dtype.itemsize).view(dtype).view(tensor.shape)
