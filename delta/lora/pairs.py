"""Pairs of LoRA files for the two models of Wan 2.2, one for high noise and one for low noise, told by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .stack import StackEntry, read_stack

HIGH, LOW = "high noise", "low noise"
# Words of file names, case and `Noise` aside, the last ones Chinese; the short ones count only where the other file is there.
LONG = {"high": "low", "\u9ad8\u566a": "\u4f4e\u566a"}
SHORT = {"hn": "ln", "h": "l"}
OTHER_SIDE = LONG | SHORT | {low: high for high, low in (LONG | SHORT).items()}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[\u9ad8\u4f4e]\u566a")
# What makers of a pair write in the one name and not in the other.
SEPARATORS = re.compile(r"[\s_.-]+")


class SplitStack(NamedTuple):
    """The rows for each of the two models, and a line about every row of the stack."""

    high: list[StackEntry]
    low: list[StackEntry]
    lines: list[str]


class _Pair(NamedTuple):
    """side: which of the two a file is; partner: the other file, None where it is not there; wanted: what it would be called."""

    side: str
    partner: str | None
    wanted: str


def split_pairs(
    stack: Sequence | None, names: Iterable[str], high_strength: float = 1.0, low_strength: float = 1.0
) -> SplitStack:
    """A stack for each of the two models. names: of all files; the strengths multiply those of the rows for the model.

    A row that names either file of a pair gives both. A file whose partner has a row of its own, or is not there, goes to its
    own side; one whose name tells no side goes to both. Raises ValueError as `read_stack` does, and for a partner that two
    files may be.
    """
    entries, known = read_stack(stack), _by_key(names)
    rows = {_key(entry[0]) for entry in entries}
    split = SplitStack([], [], [])
    for number, entry in enumerate(entries, start=1):
        name, strength, clip = entry
        low = strength if entry.strength_low is None else entry.strength_low
        pair = _pair_of(name, known)
        files = _files(name, pair, rows)
        told = []
        for side, rows_of_side, value in (
            (HIGH, split.high, strength * high_strength),
            (LOW, split.low, low * low_strength),
        ):
            if file := files.get(side):
                rows_of_side.append(StackEntry(file, value, clip, entry.block_weights))
                told.append(f"{side} {value:g} {file}")
        why = ""
        if pair and pair.partner is None:
            why = f"; used for its side only, as there is no {pair.wanted}"
        elif pair and len(files) == 1:
            why = "; its partner has a row of its own"
        elif not pair:
            why = "; its name names no side, so both use it"
        split.lines.append(f"{number}. {', '.join(told)}{why}")
    return split


def _files(name: str, pair: _Pair | None, rows: set[str]) -> dict[str, str]:
    """The file for each side that a row has one for."""
    if pair is None:
        return {HIGH: name, LOW: name}
    files = {pair.side: name}
    if pair.partner is not None and _key(pair.partner) not in rows:
        files[LOW if pair.side == HIGH else HIGH] = pair.partner
    return files


def _pair_of(name: str, known: dict[str, list[str]]) -> _Pair | None:
    """What the words of a file's name tell; None where they tell no side, or both."""
    marks = [mark for mark in WORD.finditer(name) if _word(mark[0]) in OTHER_SIDE]
    partners = {}
    for some in (marks, *([mark] for mark in marks)):
        other = _swapped(name, some)
        if found := known.get(_key(other)):
            partners[other] = _one_of(found, other, name)
    long = [mark for mark in marks if _word(mark[0]) in (*LONG, *LONG.values())]
    marks = long or (marks if partners else [])
    sides = {HIGH if _word(mark[0]) in LONG | SHORT else LOW for mark in marks}
    if len(sides) != 1:
        return None
    wanted = _swapped(name, marks)
    return _Pair(sides.pop(), next(iter(partners.values()), None), wanted)


def _word(text: str) -> str:
    return text.lower().removesuffix("noise")


def _swapped(name: str, marks: Sequence[re.Match]) -> str:
    """The name with these words turned to the other side, in their own case."""
    for mark in reversed(marks):
        word = _word(mark[0])
        old, new = mark[0][: len(word)], OTHER_SIDE[word]
        new = new.upper() if old.isupper() else new.capitalize() if old[0].isupper() else new
        name = name[: mark.start()] + new + name[mark.start() + len(word) :]
    return name


def _one_of(found: list[str], wanted: str, name: str) -> str:
    if wanted in found:
        return wanted
    if len(found) > 1:
        raise ValueError(
            f"The partner of {name} could be {' or '.join(sorted(found))}. Give the right one a row of its own, or "
            "rename one of them."
        )
    return found[0]


def _by_key(names: Iterable[str]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(_key(name), []).append(name)
    return known


def _key(name: str) -> str:
    """A file's name without what two files of a pair may differ in by chance: case, and what stands between words."""
    return SEPARATORS.sub(" ", name.replace("\\", "/").casefold())
