"""A safetensors file written tensor by tensor: whole or not at all, read back, and gone on with after an interruption."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..files.file_errors import already_there, read_back_differently
from ..files.headers import CHUNK
from ..files.leftovers import remove_leftovers, unfinished_name
from ..files.safe_text import writable
from ..files.stored_tensor import DTYPES
from ..files.tensor_files import rename_to_new
from ..progress import Step
from .formats import Rounding

TYPES = {dtype: name for name, dtype in DTYPES.items()}
# Room that is to be left on the disk.
SPARE_BYTES = 100_000_000


class Entry(NamedTuple):
    """A tensor that the file is to have."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Made(NamedTuple):
    """The tensors of a part by their names in the file, what rounding cost, and the digests of weights of the model that the
    host is to read again of them, by the model's names."""

    tensors: Mapping[str, Tensor]
    roundings: Sequence[Rounding] = ()
    meant: Mapping[str, str] = {}


class Part(NamedTuple):
    """Tensors that are made together, and the function that makes them; `size`, where it is not the entries'."""

    entries: Sequence[Entry]
    make: Callable[[], Made]


@dataclass
class Written:
    """What became of a file: digests by the names of its tensors, and those of `Made.meant`; roundings; and how many parts
    an interrupted run had written."""

    digests: dict[str, str] = field(default_factory=dict)
    meant: dict[str, str] = field(default_factory=dict)
    roundings: list[Rounding] = field(default_factory=list)
    resumed: int = 0
    size: int = 0


# check(path of the file before it gets its name, what was written) may raise to give the file up.
Check = Callable[[Path, Written], None]


def digest(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's bytes."""
    return hashlib.sha256(_bytes(tensor)).hexdigest()


def write_model(
    path: str | Path,
    parts: Sequence[Part],
    metadata: Mapping[str, str],
    on_step: Step = lambda done, total: None,
    check: Check = lambda path, written: None,
    folder: Path | None = None,
) -> Written:
    """Write a file of these parts, with one part in memory at a time, read it back and give it its name.

    folder: where an unfinished file stays when the run is interrupted, so that the next one goes on with it; without it nothing
    stays. on_step(bytes done, of all) may raise to cancel. Raises FileExistsError rather than replace a file, OSError with
    the remedy where there is no room, and ValueError where the disk gives back something else.
    """
    path = Path(path)
    if path.exists():
        raise already_there(path)
    remove_leftovers(path.parent)
    header, starts, size = _header([entry for part in parts for entry in part.entries], metadata)
    with _unfinished(path, folder) as file:
        _refuse_full_disk(path, file, size)
        content = sum(entry.size for part in parts for entry in part.entries)
        written = _write(file, parts, header, starts, size, lambda done: on_step(done, 2 * content))
        _read_back(file, path.name, parts, starts, written, lambda done: on_step(content + done, 2 * content))
        check(file, written)
        _move(file, path)
    return written


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int], int]:
    """The header, where each tensor begins in the file, and the size of the file.

    Types of more bytes come first, so that every tensor is aligned.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The file would have {twice} twice. Report this.")
    content: dict[str, Any] = (
        {"__metadata__": {key: writable(value) for key, value in metadata.items()}} if metadata else {}
    )
    end, offsets = 0, {}
    for entry in sorted(entries, key=lambda entry: -entry.dtype.itemsize):
        offsets[entry.name] = end
        content[entry.name] = {
            "dtype": TYPES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [end, end + entry.size],
        }
        end += entry.size
    text = json.dumps(content, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    starts = {name: begin + offset for name, offset in offsets.items()}
    return len(text).to_bytes(8, "little") + text, starts, begin + end


def _write(
    path: Path,
    parts: Sequence[Part],
    header: bytes,
    starts: Mapping[str, int],
    size: int,
    on_step: Callable[[int], None],
) -> Written:
    written = Written(size=size)
    journal = path.with_suffix(".done")
    finished = _finished(path, journal, header, size)
    written.resumed = len(finished)
    done = 0
    with path.open("rb+") as file, journal.open("a", encoding="utf-8") as log:
        for part in parts:
            first = part.entries[0].name
            if first not in finished:
                finished[first] = _write_part(file, part, starts)
                # The journal must not be ahead of the file.
                file.flush()
                log.write(json.dumps([first, finished[first]]) + "\n")
                log.flush()
            digests, meant, roundings = finished[first]
            written.digests |= digests
            written.meant |= meant
            written.roundings += [Rounding(*row) for row in roundings]
            done += sum(entry.size for entry in part.entries)
            on_step(done)
        os.fsync(file.fileno())
    return written


def _finished(path: Path, journal: Path, header: bytes, size: int) -> dict[str, list]:
    """The parts that an interrupted run has written, by the names of their first tensors; else the file is made."""
    if path.exists() and journal.exists() and path.stat().st_size == size:
        with path.open("rb") as file:
            if file.read(len(header)) == header:
                return dict(_lines(journal.read_text(encoding="utf-8")))
    journal.write_text("", encoding="utf-8")
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size)
    return {}


def _lines(text: str) -> Iterator[list]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            # The last line, cut short.
            return


def _write_part(file: Any, part: Part, starts: Mapping[str, int]) -> list:
    made = part.make()
    digests = {}
    for entry in part.entries:
        tensor = made.tensors[entry.name]
        if tensor.dtype != entry.dtype or tuple(tensor.shape) != entry.shape:
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ValueError(f"{entry.name} became {found} instead of {entry.dtype} {entry.shape}. Report this.")
        content = _bytes(tensor)
        file.seek(starts[entry.name])
        file.write(content)
        digests[entry.name] = hashlib.sha256(content).hexdigest()
    return [digests, dict(made.meant), [list(row) for row in made.roundings]]


def _read_back(
    path: Path,
    name: str,
    parts: Sequence[Part],
    starts: Mapping[str, int],
    written: Written,
    on_step: Callable[[int], None],
) -> None:
    """Raise ValueError for a tensor that is not on the disk as it was made."""
    done = 0
    with path.open("rb") as file:
        for entry in (entry for part in parts for entry in part.entries):
            file.seek(starts[entry.name])
            found, left = hashlib.sha256(), entry.size
            while left:
                chunk = file.read(min(left, CHUNK))
                if not chunk:
                    break
                found.update(chunk)
                left -= len(chunk)
            if found.hexdigest() != written.digests[entry.name]:
                raise read_back_differently(f"{name}: {entry.name}")
            done += entry.size
            on_step(done)


@contextmanager
def _unfinished(path: Path, folder: Path | None) -> Iterator[Path]:
    """Where the file is until it has its name. It stays there when the run is interrupted, if there is a folder for it."""
    file = unfinished_name(path) if folder is None else folder / "model.tmp"
    keep = False
    try:
        yield file
    except ValueError:
        raise
    except BaseException as error:
        keep = folder is not None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OSError(f"{path.name} could not be written ({error}). Free some disk space and run again.") from error
        raise
    finally:
        if not keep:
            file.unlink(missing_ok=True)
            file.with_suffix(".done").unlink(missing_ok=True)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _refuse_full_disk(path: Path, file: Path, size: int) -> None:
    # What an interrupted run has written takes its room already; blocks are counted where the system tells them.
    blocks = getattr(file.stat(), "st_blocks", 0) if file.exists() else 0
    needs = {
        path.parent.stat().st_dev: (path.parent, size),
        file.parent.stat().st_dev: (file.parent, size - 512 * blocks),
    }
    for folder, need in needs.values():
        free = shutil.disk_usage(folder).free
        if free < need + SPARE_BYTES:
            raise OSError(
                f"{path.name} needs {size / 1e9:.2f} GB, but {folder} has {free / 1e9:.2f} GB "
                "free. Free some disk space and run again; nothing was written."
            )


def _move(file: Path, path: Path) -> None:
    """Give the finished file its name, also on another disk."""
    if file.parent.stat().st_dev == path.parent.stat().st_dev:
        rename_to_new(file, path)
        return
    near = unfinished_name(path)
    try:
        shutil.copyfile(file, near)
        rename_to_new(near, path)
    finally:
        near.unlink(missing_ok=True)
