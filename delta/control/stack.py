"""The CONTROL_NET_STACK currency: rows of 5, (net, image, strength, start, end), in Comfyroll's and Efficiency's order.

Other packs unpack exactly five values, so what else a row carries rides on a tuple subclass. Easy-Use's rows of 7,
(name, strength, start, end, falloff of soft weights, image, ...), are read too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .schedule import ControlSchedule
from .weights import ControlWeights


class ControlExtras(NamedTuple):
    """What a row carries beside its five values."""

    vae: Any | None = None
    mask: Tensor | None = None
    weights: ControlWeights | None = None
    schedule: ControlSchedule | None = None
    fit: str = "crop"


class ControlEntry(tuple):
    """(net, image, strength, start, end), with more in `extras`. In stacks of other packs the net may be a file's name."""

    extras: ControlExtras

    def __new__(
        cls, net: Any, image: Tensor, strength: float, start: float, end: float, extras: ControlExtras | None = None
    ) -> ControlEntry:
        entry = super().__new__(cls, (net, image, strength, start, end))
        entry.net, entry.image, entry.strength, entry.start, entry.end = entry
        entry.extras = extras or ControlExtras()
        return entry

    def off_because(self) -> str:
        """Why the row does nothing, empty for one that acts. A span without length is off, as in the host and in other packs."""
        if self.strength == 0:
            return "strength 0"
        if self.start >= self.end:
            return f"its range from {self.start:g} to {self.end:g} is empty"
        return ""

    def describe(self) -> str:
        """The numbers of the row and what else it has, in a few words."""
        more = [name for name in ("mask", "weights", "schedule") if getattr(self.extras, name) is not None]
        more += [f"fit {self.extras.fit}"] if self.extras.fit != "crop" else []
        return ", ".join([f"strength {self.strength:g} from {self.start:g} to {self.end:g}", *more])


def read_control_stack(stack: Sequence | None) -> list[tuple[int, ControlEntry]]:
    """The entries of a stack that any pack may have made, with the numbers of their rows, counted from 1.

    Rows without a net are empty slots and left out; the stack itself stays. Raises ValueError that names the row which cannot
    be read, and the one that acts and has no image.
    """
    entries = []
    for number, row in enumerate(check_is_stack(stack), start=1):
        if not row or row[0] is None or row[0] == "None":
            continue
        entry = _entry(number, row)
        if entry.image is None and not entry.off_because():
            raise ValueError(
                f"Row {number} of the control stack has no image. Connect its hint, or switch the row off."
            )
        entries.append((number, entry))
    return entries


def check_is_stack(stack: Any) -> Sequence[Sequence]:
    """The rows of a stack, none for None. Raises ValueError for what is no list of rows, such as one row alone."""
    if stack is None:
        return ()
    if isinstance(stack, list | tuple) and all(isinstance(row, list | tuple) for row in stack):
        return stack
    what = f"a {type(stack).__name__}"
    if isinstance(stack, list | tuple):
        what = (
            f"a single row of {len(stack)} values" if len(stack) >= 5 else f"a list that contains {_first_other(stack)}"
        )
    raise ValueError(
        f"The control stack must be a list of rows (control net, image, strength, start, end), but it is {what}. "
        "Check the node that makes this stack: it must return a list, even for one row."
    )


def _first_other(stack: Sequence) -> str:
    """The type of the first thing that is no row."""
    return f"a value of type {next(type(row).__name__ for row in stack if not isinstance(row, list | tuple))}"


def _entry(number: int, row: Sequence) -> ControlEntry:
    if isinstance(row, ControlEntry):
        return row
    try:
        if isinstance(row[0], str) and len(row) >= 6:
            net, strength, start, end, falloff, image = row[:6]
            extras = ControlExtras(weights=ControlWeights(falloff=float(falloff)))
        else:
            net, image, strength, start, end = row
            extras = None
        numbers = float(strength), float(start), float(end)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a number is not finite")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Row {number} of the control stack has {len(row)} values that cannot be read ({error}); expected (control net, "
            "image, strength, start, end). Check the node that makes this stack."
        ) from error
    return ControlEntry(net, image, *numbers, extras)
