"""The files of rows, and all rows that have none, told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .file_names import FileNames, shown
from .rows import LoraRow
from .stack import StackEntry

# Of more faults than these, only the first are told.
MOST_TOLD = 20


class Faults:
    """Sentences about rows whose files are not found, of which `raise_any` makes one error.

    files: the names of all LoRAs; folders: where they are looked for, in words.
    """

    def __init__(self, files: FileNames, folders: str):
        self.files, self._folders = files, folders
        self._missing: list[Callable[[], str]] = []
        self._others: list[str] = []

    def check(self, rows: Iterable[LoraRow], where: str, exists: Callable[[str], bool]) -> list[StackEntry]:
        """The entries of rows that name their files to the letter; where: what they stand in, for errors."""
        rows = list(rows)
        for number, entry in rows:
            if not exists(entry[0]):
                self._add(f"Row {number} of {where}: {shown(entry[0])} is not in {self._folders}.", entry[0])
        return [row.entry for row in rows]

    def find(self, rows: Iterable[LoraRow], where: str) -> list[StackEntry]:
        """The entries of rows whose files are named as people write them, with the names of the files."""
        found = []
        for number, entry in rows:
            place = f"Row {number} of {where}:"
            try:
                file = self.files.find(entry[0])
            except LookupError:
                self._add(f"{place} no LoRA in {self._folders} is called {shown(entry[0])}.", entry[0])
            except ValueError as error:
                self._others.append(f"{place} {error}")
            else:
                found.append(StackEntry(file, *entry[1:], entry.block_weights, entry.strength_low))
        return found

    def _add(self, sentence: str, name: str) -> None:
        # Near names take long to find among many files; only what is told needs them.
        self._missing.append(lambda: sentence + self.files.near(name))

    def raise_any(self) -> None:
        """Raise FileNotFoundError that names every missing row and the remedy; ValueError where no file is missing, but a
        name is that of several."""
        count = len(self._missing)
        told = [sentence() for sentence in self._missing[:MOST_TOLD]]
        if count > MOST_TOLD:
            told.append(f"{count - MOST_TOLD} more rows have no file.")
        if told:
            files = "file" if count == 1 else "files"
            told[-1] += f" Put the {files} there and refresh, or choose {'another one' if count == 1 else 'others'}."
        sentences = "\n".join([*told, *self._others[:MOST_TOLD]])
        if told:
            raise FileNotFoundError(sentences)
        if sentences:
            raise ValueError(sentences)
