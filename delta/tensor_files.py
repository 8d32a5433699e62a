"""Safe reading and whole-or-nothing writing of tensor files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, or of a pickle read by `torch.load(weights_only=True)`.

    Raises FileNotFoundError, or ValueError that names the file and the remedy when it is damaged, is not a file of
    tensors, or holds NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Check the name, or download the file again.")
    tensors, metadata = _read_safetensors(path) if path.suffix in (".safetensors", ".sft") else (_read_pickle(path), {})
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(
                f"{path.name}: the tensor {name} holds NaN or infinite values. Use another copy of the file."
            )
    return tensors, metadata


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file under a temporary name and rename it, so that a partial file never stays.

    Raises FileExistsError rather than replace a file.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already. Choose another name; nothing was written.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(handle)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path.name} is not a whole safetensors file ({error}). It is damaged, was cut short, or has the wrong "
            "extension; download or copy it again."
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import pickle

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path.name} cannot be read safely as a file of tensors. It is damaged, was cut short, or holds more than "
            "weights; use a safetensors version of it."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else None
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f"{path.name} holds no plain state dict of tensors. Export the model's state_dict and try again."
        )
    return content
