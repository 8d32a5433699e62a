"""Files by the names that people write: with or without folder and ending, in any case; and the nearest of names that no file has."""

from __future__ import annotations

import difflib
import heapq
import unicodedata
from collections.abc import Callable, Iterable
from functools import cached_property

from ..files.safe_text import writable

NEAREST = 3
# Comparing letter by letter is slow: it is done with so many names only, those that share most pairs of letters.
COMPARED = 40
# How alike names must be to be called near, 0..1, as difflib measures.
ALIKE = 0.5
# Of a longer name only so many letters are compared and shown: people write none, and comparing takes their square.
LONGEST = 200
# Of a name that several files have, so many are shown.
MOST_SHOWN = 5


class UnknownName(LookupError, ValueError):
    """No file has this name."""


class FileNames:
    """The names of all files of a kind, with / or \\ between folders, as a folder's list gives them."""

    def __init__(self, files: Iterable[str], kind: str = "LoRA"):
        self.files, self.kind = list(files), kind
        self._exact = {_slashed(file): file for file in self.files}
        self._forms = [self._by(form) for form in (_plain, _without_ending, _own_name, _stem)]

    def _by(self, form: Callable[[str], str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in self.files:
            found.setdefault(form(file), []).append(file)
        return found

    def find(self, name: str) -> str:
        """The file that a name means: the one that is called so to the letter, else by its path, its path without ending,
        its own name, its own name without ending, whichever comes first.

        Raises UnknownName with the nearest names where no file is called so, ValueError where several are.
        """
        if exact := self._exact.get(_slashed(name.strip())):
            return exact
        for form in self._forms:
            found = form.get(_plain(name.strip()), ())
            if len(found) == 1:
                return found[0]
            if found:
                more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
                raise ValueError(
                    f"Several {self.kind}s are called {shown(name)}: {', '.join(found[:MOST_SHOWN])}{more}. Include the "
                    "folder."
                )
        raise UnknownName(f"No {self.kind} is called {shown(name)}.{self.near(name)}")

    def has(self, name: str) -> bool:
        """Whether a file is called so to the letter, whichever way its folders are separated."""
        return _slashed(name) in self._exact

    def near(self, name: str) -> str:
        """A sentence with the names nearest to one that no file has, with a space in front; empty where none is near."""
        wanted = _stem(name.strip()[-LONGEST:])
        pairs = _pairs(wanted)
        compared = heapq.nlargest(COMPARED, self._pairs_of, key=lambda stem: _shared(pairs, self._pairs_of[stem]))
        found = difflib.get_close_matches(wanted, compared, NEAREST, ALIKE)
        return f" Similar names: {', '.join(self._forms[-1][stem][0] for stem in found)}." if found else ""

    @cached_property
    def _pairs_of(self) -> dict[str, frozenset[str]]:
        return {stem: _pairs(stem) for stem in self._forms[-1]}

    def shortest(self, file: str) -> str:
        """The shortest name that means this file: without folder and ending where that is enough. Unknown ones stay."""
        name = _slashed(file)
        own = name.rpartition("/")[2]
        for short in (own.rpartition(".")[0], name.rpartition(".")[0]):
            try:
                if short and self.find(short) == self._exact.get(name):
                    return short
            except ValueError:
                continue
        return name


def shown(name: str) -> str:
    """A name as an error shows it: not without end, and without letters that no file can be written with."""
    text = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
    return writable(text)


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _plain(name: str) -> str:
    # macOS takes letters and their accents apart in names of files.
    return unicodedata.normalize("NFC", _slashed(name)).casefold()


def _without_ending(name: str) -> str:
    path = _plain(name)
    return path.rpartition(".")[0] or path


def _own_name(name: str) -> str:
    return _plain(name).rpartition("/")[2]


def _stem(name: str) -> str:
    own = _own_name(name)
    return own.rpartition(".")[0] or own


def _pairs(stem: str) -> frozenset[str]:
    """The pairs of letters that follow each other."""
    return frozenset(map("".join, zip(stem, stem[1:])))


def _shared(wanted: frozenset[str], pairs: frozenset[str]) -> float:
    """How much of two names' pairs is in both, 0..1."""
    return 2 * len(wanted & pairs) / (len(wanted) + len(pairs) or 1)
