"""Two models to compare: what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ..files.checkpoint import common
from ..files.stored_weight import StoredWeight

TEXT_PREFIX = "text_encoders."


class Source(Protocol):
    """A model of which one weight at a time is read: a `checkpoint.Checkpoint`, or a model that the host has loaded."""

    name: str
    architecture: str
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> StoredWeight: ...


class Pair(NamedTuple):
    """What is compared: two models, the names of the weights that both have, and lines about the others."""

    tuned: Source
    base: Source
    names: list[str]
    notes: list[str]


def compare(tuned: Source, base: Source, text_encoders: bool = True) -> Pair:
    """Two models by what they have in common, with or without their text encoders.

    Raises ValueError as `checkpoint.common` does.
    """
    shared, only_tuned, only_base, misfits = common(tuned, base)
    notes = [
        f"{what}: {len(names)} weights ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            (f"in {tuned.name} only, left out", only_tuned),
            (f"in {base.name} only", only_base),
            ("of different sizes, left out", misfits),
        )
        if names
    ]
    # Only files have some.
    notes += [*getattr(tuned, "notes", ()), *getattr(base, "notes", ())]
    names = [name for name in shared if text_encoders or not name.startswith(TEXT_PREFIX)]
    return Pair(tuned, base, names, notes)
