"""Picking one of a folder's style files, by name or by number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from .file_names import FileNames

WHOLE = "all folders"


def folders_of(files: Sequence[str]) -> list[str]:
    """Every folder that holds files, and the folders above it. files: paths with / between folders."""
    found = {str(parent) for file in files for parent in PurePosixPath(file).parents if str(parent) != "."}
    return [WHOLE, *sorted(found)]


def is_in(file: str, folder: str) -> bool:
    """Whether a file is in a folder, or in one below it."""
    return folder == WHOLE or file.startswith(f"{folder}/")


def files_in(files: Sequence[str], folder: str) -> list[str]:
    """The files of a folder and of those below it, in the order of their names. Raises ValueError where there is none."""
    inside = sorted((file for file in files if is_in(file, folder)), key=str.lower)
    if not inside:
        raise ValueError(f"There are no style files in {folder}. Put LoRA or norm files there and refresh.")
    return inside


def pick(files: Sequence[str], name: str, index: int) -> int:
    """The number of a file: by its name, with or without folder and ending, else by its number, which goes around.

    Raises ValueError for a name that no file has, or that several have.
    """
    return files.index(FileNames(files, "style file").find(name)) if name.strip() else index % len(files)
