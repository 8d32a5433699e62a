"""Safe reading and whole-or-nothing writing of tensor files."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .file_errors import already_there, missing
from .file_reader import FileReader
from .leftovers import remove_leftovers, unfinished_name
from .pickles import load_pickle
from .safe_text import writable
from .safetensors_header import header_of, read_safetensors_header
from .stored_tensor import DTYPES, StoredTensor

SAFETENSORS = (".safetensors", ".sft")
# The names under which training scripts put a state dict beside other things.
STATE_DICTS = ("state_dict", "model_state_dict", "model")


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, or of a pickle read by `torch.load(weights_only=True)`.

    Raises FileNotFoundError, or ValueError that names the file and the remedy when it is damaged, is not a file of
    tensors, or holds NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path)

    def check(name: str, tensor: Tensor) -> None:
        if not all_finite(tensor):
            raise ValueError(
                f"{path.name}: the tensor {name} holds NaN or infinite values. Use another copy of the file."
            )

    if path.suffix.lower() in SAFETENSORS:
        return _read_safetensors(path, check)
    tensors = _read_pickle(path)
    for name, tensor in tensors.items():
        check(name, tensor)
    return tensors, {}


def tensor_names(path: str | Path) -> list[str]:
    """The names of a file's tensors, of safetensors without reading the tensors. Raises ValueError for a damaged file.

    Some pickles hold their state dict under a name, or among other things.
    """
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS:
        return list(read_safetensors_header(path).tensors)
    content = load_pickle(path)
    for name in ("state_dict", "adapter", "controlnet"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    return [name for name in content if isinstance(name, str)] if isinstance(content, dict) else []


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor of any type on the CPU has neither NaN nor infinite values, in one pass over it."""
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    # Not all operations exist for numbers of one byte.
    lowest, highest = torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)
    return bool(lowest.isfinite() and highest.isfinite())


def write_tensors(
    path: str | Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    check: Callable[[dict[str, Tensor]], None] = lambda written: None,
) -> None:
    """Write a safetensors file under a temporary name and rename it, so that a partial file never stays.

    check(tensors read back) is called before the rename and may raise to give the file up. Raises FileExistsError rather
    than replace a file, and OSError with the remedy when the disk is full or the folder cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    metadata = {key: writable(value) for key, value in metadata.items()}
    if path.exists():
        raise already_there(path)
    remove_leftovers(path.parent)
    temporary = unfinished_name(path)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        check(_read_safetensors(temporary)[0])
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        rename_to_new(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, SafetensorError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise OSError(
                f"{path.name} could not be written ({error}). Free some disk space, or choose a writable folder; "
                "nothing was kept."
            ) from error
        raise


def rename_to_new(source: Path, target: Path) -> None:
    """Rename, but never onto a file that appeared meanwhile: a link fails where a rename would replace."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise already_there(target) from None
    except OSError:
        # A file system without hard links.
        source.rename(target)
    else:
        source.unlink()


def _read_safetensors(
    path: Path, check: Callable[[str, Tensor], None] = lambda name, tensor: None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors in memory of their own, and the metadata. Raises ValueError where the file changes meanwhile.

    check(name, tensor) may raise. It is called while the numbers of a tensor are still close to the processor.
    """
    tensors = {}
    with FileReader(path) as file:
        header = header_of(path, file)
        for name, stored in header.tensors.items():
            tensors[name] = _read(file, stored)
            check(name, tensors[name])
        file.check()
    return tensors, header.metadata


def _read(file: FileReader, tensor: StoredTensor) -> Tensor:
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise ValueError(
            f"{file.name}: {tensor.name} is of a type that is not known here, {tensor.dtype}. Use another version of the file."
        )
    return file.read(tensor.start, math.prod(tensor.shape) * dtype.itemsize).view(dtype).view(tensor.shape)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    content = load_pickle(path)
    named = [content[name] for name in STATE_DICTS if name in content] if isinstance(content, dict) else []
    state = next((value for value in named if isinstance(value, dict)), named[0] if named else content)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path.name} contains no plain state dict of tensors. Export the model's state_dict and try again."
        )
    if not all(isinstance(name, str) and writable(name) == name for name in state):
        raise ValueError(
            f"{path.name} has tensors whose names are not text. Export the model's state_dict and try again."
        )
    return {name: tensor.detach() for name, tensor in state.items()}
