"""The host's LoRA files: found by the names of rows and by those that people write, and what lies beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial

from ...delta.lora.file_names import FileNames
from ...delta.lora.info import NOTES, PICTURES, WORDS, LoraInfo, families_in, model_family, read_info
from ...delta.lora.located import Faults
from ...delta.lora.row_text import WHERE as CONNECTED
from ...delta.lora.rows import WHERE, LoraRow
from ...delta.lora.stack import StackEntry, read_stack
from . import folders

KIND = "loras"
# The families that files are for, by their paths, as long as their stamps stay the same.
_families: dict[str, tuple[str, list[str]]] = {}
_exists = partial(folders.has_file, KIND)


def names() -> FileNames:
    """The names of all LoRA files."""
    return _names_of(tuple(folders.file_names(KIND)))


@lru_cache(maxsize=1)
def _names_of(files: tuple[str, ...]) -> FileNames:
    return FileNames(files)


def find(name: str) -> str:
    """The file that a name means as people write it. Raises FileNotFoundError, or ValueError for a name of several files."""
    try:
        return names().find(name)
    except LookupError as error:
        raise FileNotFoundError(
            f"{error} Put the file into {folders.places(KIND)} and refresh, or write another name."
        ) from error


def located(rows: Sequence[LoraRow], connected: Sequence[LoraRow]) -> list[StackEntry]:
    """The entries of a node's own rows, then of those that are connected to it, whose names are as people write them.

    Raises FileNotFoundError that names all rows without a file, and the nearest names.
    """
    faults = Faults(names(), folders.places(KIND))
    entries = [*faults.check(rows, WHERE, _exists), *faults.find(connected, CONNECTED)]
    faults.raise_any()
    return entries


def check_stack(entries: Sequence[StackEntry]) -> None:
    """Raise FileNotFoundError that names all entries without a file, and the nearest names."""
    if all(_exists(entry[0]) for entry in entries):
        return
    faults = Faults(names(), folders.places(KIND))
    faults.check([LoraRow(*row) for row in enumerate(entries, start=1)], WHERE, _exists)
    faults.raise_any()


def stamp(name: str) -> str:
    """Changes when a LoRA's file does, or those beside it that tell of it. Empty for a file that is not there."""
    own = folders.file_stamp(KIND, name)
    return own and " ".join([own, *(folders.stamp_of(path) for path in _beside(name, (WORDS, *NOTES)))])


def info(name: str) -> LoraInfo:
    """What a LoRA's file and those beside it tell. Raises FileNotFoundError with the remedy."""
    return read_info(folders.file_path(KIND, name))


def infos(stack: Sequence) -> list[LoraInfo]:
    """What is known of the files of a stack of any pack, without those that are not there and those at strength 0."""
    return [info(name) for name, *strengths in _rows(stack) if any(strengths)]


def _rows(stack: Sequence) -> list[StackEntry]:
    try:
        return [entry for entry in read_stack(stack) if _exists(entry[0])]
    except ValueError:
        # Told where the stack is applied.
        return []


def picture_beside(name: str) -> str | None:
    """The path of the picture beside a file, None where there is none."""
    return next(iter(_beside(name, PICTURES)), None)


def _beside(name: str, endings: Iterable[str]) -> list[str]:
    stem = os.path.splitext(folders.file_path(KIND, name))[0]
    return [path for ending in endings if os.path.isfile(path := stem + ending)]


def families(seconds: float) -> tuple[dict[str, list[str]], int]:
    """The families of models that the LoRA files may be for, by the files' names; of how many of them it is not known yet.

    seconds: how long headers are read now; what was read is kept until the file changes.
    """
    end, found, rest = time.monotonic() + seconds, {}, 0
    for name in folders.file_names(KIND):
        path, own = folders.file_path(KIND, name), folders.file_stamp(KIND, name)
        if _families.get(path, ("",))[0] != own:
            if time.monotonic() > end:
                rest += 1
                continue
            _families[path] = own, families_in(path)
        found[name] = _families[path][1]
    return found, rest


def family_of_model(kind: str, name: str) -> str:
    """The family of a model file of the lists of checkpoints and diffusion models; empty where its header does not tell.

    Raises FileNotFoundError for a name that is in neither list.
    """
    if kind not in folders.MODEL_FOLDERS[:2] or name not in folders.file_names(kind):
        raise FileNotFoundError("There is no model of that name.")
    return model_family(folders.file_path(kind, name))
