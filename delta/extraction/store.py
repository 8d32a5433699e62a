"""Finished differences on the disk: an extraction that was interrupted goes on where it stopped, and what is finished
takes no memory, because it is mapped from its file."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files.json_text import json_object
from ..files.tensor_files import all_finite, write_tensors
from ..linear_algebra.factors import LowRank
from .extract import Difference, MemoryStore, Store

KEPT_DAYS = 7
# What is kept of a difference besides its tensors and shape, in the order of its fields.
NUMBERS = ("norm", "residual", "deviation", "noise")
Found, Result = TypeVar("Found"), TypeVar("Result")


def resumed(
    parent: str | Path,
    key: Mapping[str, Any],
    notes: list[str],
    extract: Callable[[Store], Found],
    finish: Callable[[Found], Result],
) -> Result:
    """finish(extract(store)), with a store that goes on where an interrupted run with the same key stopped; `notes` is told so.

    What was extracted stays there when the run is cancelled or `finish` fails, as on a full disk. It is removed at the end, and
    where `extract` finds by a ValueError that other files are needed.
    """
    store = open_store(parent, key)
    if len(store):
        notes.append(f"resumed an interrupted run: {len(store)} weights were already done")
    try:
        found = extract(store)
    except ValueError:
        store.remove()
        raise
    result = finish(found)
    store.remove()
    return result


def open_store(parent: str | Path, key: Mapping[str, Any]) -> Store:
    """A `FolderStore`, or one in memory where the folder cannot be written."""
    try:
        return FolderStore(parent, key)
    except OSError:
        return MemoryStore()


def run_folder(parent: str | Path, key: Mapping[str, Any]) -> Path:
    """The folder of the run that `key` decides, made where it is not there; those of a week ago are removed.

    Raises OSError where it cannot be made.
    """
    parent = Path(parent)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = parent / digest[:32]
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(parent, folder)
    return folder


class FolderStore:
    """The differences of one extraction in a folder of its own, one file each."""

    def __init__(self, parent: str | Path, key: Mapping[str, Any]):
        """`key` holds everything that decides the result: the same key finds the same folder again.

        Folders that nobody has gone on with for a week are removed. Raises OSError where the folder cannot be made.
        """
        self.folder = run_folder(parent, key)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*.safetensors"))

    def get(self, name: str) -> Difference | None:
        """The difference of a weight, None where it is not there or its file is damaged."""
        try:
            tensors, metadata = _mapped(self._path(name))
        except (OSError, SafetensorError):
            return None
        numbers = json_object(metadata.get("difference")) or {}
        if not all(map(all_finite, tensors.values())):
            return None
        try:
            low_rank = LowRank(tensors["up"], tensors["down"], tuple(numbers["shape"]))
            return Difference(low_rank, None, tensors["values"], *(numbers[key] for key in NUMBERS))
        except (KeyError, TypeError):
            # Of another version, such as one that took the rounding of all rows for the same.
            return None

    def put(self, name: str, difference: Difference) -> Difference:
        """Write a difference with factors; answers it mapped from its file. Raises OSError for a full disk."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            # Windows keeps a file that is mapped.
            return difference
        numbers = {"shape": difference.low_rank.shape} | {key: getattr(difference, key) for key in NUMBERS}
        factors = {"up": difference.low_rank.up, "down": difference.low_rank.down, "values": difference.values}
        write_tensors(path, factors, {"name": name, "difference": json.dumps(numbers)})
        return self.get(name)

    def remove(self) -> None:
        """Remove the folder. What is mapped from it stays readable."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"


def _mapped(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file that nobody else writes, mapped into memory, and its metadata."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def _remove_old(parent: Path, but: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for folder in parent.iterdir():
        if folder != but and folder.is_dir() and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)
