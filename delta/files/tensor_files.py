"""Safe reading and whole-or-nothing writing of tensor files."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SAFETENSORS = (".safetensors", ".sft")
# The names under which training scripts put a state dict beside other things.
STATE_DICTS = ("state_dict", "model_state_dict", "model")
# What PyTorch says of a class that it will not make, or of a compiled program.
FOREIGN_CLASS = re.compile(r"(?:GLOBAL|class) ([\w.]+) was not an allowed|TorchScript archives")


def missing(path: object) -> FileNotFoundError:
    return FileNotFoundError(f"{path} does not exist. Check the name, or download the file again.")


def already_there(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} already exists. Choose another name; nothing was written.")


def incomplete(name: str, kind: str, reason: object) -> ValueError:
    """The error of a file that is cut short, or no file of that kind."""
    return ValueError(
        f"{name} is not a complete {kind} file ({reason}). It is damaged, truncated, or has the wrong extension; download or "
        "copy it again."
    )


def read_back_differently(name: str) -> ValueError:
    return ValueError(
        f"{name} was read back with different values than were written. Check the disk; nothing was kept."
    )


class WholePickle(ValueError):
    """A pickle that holds more than tensors, so that reading it would run what is in it."""


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, or of a pickle read by `torch.load(weights_only=True)`.

    Raises FileNotFoundError, or ValueError that names the file and the remedy when it is damaged, is not a file of
    tensors, or holds NaN or infinite values.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path)
    tensors, metadata = _read_safetensors(path) if path.suffix.lower() in SAFETENSORS else (_read_pickle(path), {})
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not _all_finite(tensor):
            raise ValueError(
                f"{path.name}: the tensor {name} holds NaN or infinite values. Use another copy of the file."
            )
    return tensors, metadata


def tensor_names(path: str | Path) -> list[str]:
    """The names of a file's tensors, of safetensors without reading the tensors. Raises ValueError for a damaged file.

    Some pickles hold their state dict under a name, or among other things.
    """
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS:
        with _opened(path) as file:
            return list(file.keys())
    content = _load_pickle(path)
    for name in ("state_dict", "adapter", "controlnet"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    return [str(name) for name in content] if isinstance(content, dict) else []


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
    if path.exists():
        raise already_there(path)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
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


def _all_finite(tensor: Tensor) -> bool:
    # Not all operations exist for numbers of one byte.
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise incomplete(path.name, "safetensors", error) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    content = _load_pickle(path)
    for name in STATE_DICTS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f"{path.name} contains no plain state dict of tensors. Export the model's state_dict and try again."
        )
    return content


def _load_pickle(path: Path) -> Any:
    import pickle

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if found := FOREIGN_CLASS.search(str(error)):
            raise WholePickle(
                f"{path.name} cannot be read safely: it contains more than weights ({found[1] or 'a TorchScript archive'}), "
                "and reading it would run code from the file. Use a safetensors version of it."
            ) from error
        raise ValueError(
            f"{path.name} cannot be read safely as a file of tensors. It is damaged, truncated, or contains more than "
            "weights; use a safetensors version of it."
        ) from error
