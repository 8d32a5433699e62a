"""The faults of files that several readers and writers meet, each in one wording."""

from __future__ import annotations

from pathlib import Path


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
