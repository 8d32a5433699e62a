"""Bytes of files in memory of our own. Nothing is mapped: the end of the process would be what comes of reading a mapped
file that another program cuts short, and numbers that change what comes of one that is written anew."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor


class Stamp(NamedTuple):
    """What tells that a file is still the one that it was."""

    device: int
    inode: int
    size: int
    changed: int


def stamp_of(file: BinaryIO | FileIO) -> Stamp:
    """The stamp of an open file."""
    status = os.fstat(file.fileno())
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class FileReader:
    """An open file, for `with`. name: of the file; stamp: of what it is now, or was when its header was read."""

    def __init__(self, path: Path, stamp: Stamp | None = None):
        """Raises OSError where it cannot be opened, and ValueError where it is no longer what `stamp` says."""
        self.name = path.name
        # Without a buffer, so that all bytes go where they stay.
        self._file = path.open("rb", buffering=0)
        self.stamp = stamp_of(self._file) if stamp is None else stamp
        try:
            self.check()
        except ValueError:
            self._file.close()
            raise

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, size: int) -> Tensor:
        """`size` bytes from `start` on, uint8 [size]. Raises ValueError where the file has become shorter."""
        found = torch.empty(size, dtype=torch.uint8)
        left = memoryview(found.numpy())
        self._file.seek(start)
        while left:
            count = self._file.readinto(left)
            if not count:
                raise self._changed()
            left = left[count:]
        return found

    def check(self) -> None:
        """Raise ValueError where the file has changed since its stamp was taken."""
        if stamp_of(self._file) != self.stamp:
            raise self._changed()

    def _changed(self) -> ValueError:
        return ValueError(
            f"{self.name} changed while it was being read. Wait until it has been written or copied completely, then run the node again."
        )
