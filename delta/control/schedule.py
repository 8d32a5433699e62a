"""How strong a control is while a picture is sampled: keyframes over the progress of the sampling.

Progress is what the host's start_percent and end_percent mean: 0 at the first noise, 1 at the finished picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

INTERPOLATIONS = ("linear", "ease", "hold")
# A shape between start and end: the strength at keyframes, whose places are shares of that span.
SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "constant": ((0.0, 1.0), (1.0, 1.0)),
    "fade out": ((0.0, 1.0), (1.0, 0.0)),
    "fade in": ((0.0, 0.0), (1.0, 1.0)),
    "fade in and out": ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0)),
    "strong at both ends": ((0.0, 1.0), (0.5, 0.0), (1.0, 1.0)),
}
LARGEST = 100.0
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
FULL_WIDTH = str.maketrans("\uff0c\uff1b\uff20\uff0e\uff05\uff0d", ",;@.%-")
BISECTIONS = 40
# Finer than any step, coarser than what the float32 noise levels of samplers round: a step right on a keyframe belongs to it.
DIGITS = 5


class Keyframe(NamedTuple):
    """A strength from some progress on."""

    progress: float
    strength: float


@dataclass(frozen=True)
class ControlSchedule:
    """Keyframes in the order of their progress, at least one. Outside `start` to `end` the strength is 0.

    interpolation: how the strength goes from one keyframe to the next, `linear`, with `ease` (slow at both ends), or `hold`
    (it stays until the next).
    """

    keyframes: tuple[Keyframe, ...]
    interpolation: str = "linear"
    start: float = 0.0
    end: float = 1.0

    def strength(self, progress: float) -> float:
        """The strength at a progress in 0..1: that of the first keyframe before it, of the last one after it."""
        if not self.start <= progress <= self.end:
            return 0.0
        later = next((i for i, key in enumerate(self.keyframes) if key.progress > progress), len(self.keyframes))
        if later == 0:
            return self.keyframes[0].strength
        before = self.keyframes[later - 1]
        if later == len(self.keyframes) or self.interpolation == "hold":
            return before.strength
        after = self.keyframes[later]
        share = (progress - before.progress) / (after.progress - before.progress)
        if self.interpolation == "ease":
            share = share * share * (3 - 2 * share)
        return before.strength + share * (after.strength - before.strength)


def shaped_schedule(shape: str, start: float, end: float, interpolation: str = "linear") -> ControlSchedule:
    """A schedule of one of SHAPES between two progresses. Raises ValueError for an unknown one, and for an empty span."""
    if shape not in SHAPES:
        raise ValueError(f"There is no shape `{shape}`. Choose one of: {', '.join(SHAPES)}.")
    if not 0 <= start < end <= 1:
        raise ValueError(
            f"The schedule runs from {start:g} to {end:g}. Set the start below the end, both between 0 and 1."
        )
    keyframes = tuple(Keyframe(start + place * (end - start), strength) for place, strength in SHAPES[shape])
    return ControlSchedule(keyframes, _checked(interpolation), start, end)


def parse_schedule(text: str, interpolation: str = "linear") -> ControlSchedule:
    """Read `1.0@0, 0.6@0.3, 0@80%`: strengths and the progress from which they hold.

    Commas, semicolons and new lines separate. Raises ValueError that points at the character which cannot be read.
    """
    plain, position, keyframes = text.translate(FULL_WIDTH), 0, []
    for item in re.split(r"([,;\n])", plain):
        if item.strip() and item not in ",;\n":
            keyframes.append(_keyframe(text, plain, position, position + len(item), keyframes))
        position += len(item)
    if not keyframes:
        raise ValueError("The schedule is empty. Write strength@progress, such as `1.0@0, 0.6@0.3, 0@0.8`.")
    return ControlSchedule(tuple(keyframes), _checked(interpolation))


def progress_at(sigma: float, sigma_at: Callable[[float], float]) -> float:
    """The largest progress in 0..1 at which there is still as much noise as sigma.

    sigma_at: the noise at a progress, never increasing; the host's `percent_to_sigma`.
    """
    if sigma_at(1.0) >= sigma:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if sigma_at(middle) >= sigma else (low, middle)
    return round(low, DIGITS)


def _checked(interpolation: str) -> str:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"There is no interpolation `{interpolation}`. Choose one of: {', '.join(INTERPOLATIONS)}.")
    return interpolation


def _keyframe(text: str, plain: str, start: int, end: int, earlier: list[Keyframe]) -> Keyframe:
    """The keyframe that plain[start:end] holds."""
    strength, position = _number(text, plain, start, end, "a strength")
    if abs(strength) > LARGEST:
        raise _error(text, start, f"a strength must be between -{LARGEST:g} and {LARGEST:g}, not {strength:g}", plain)
    if position == end or plain[position] != "@":
        raise _error(text, position, "expected @ and a progress", plain)
    place = position + 1
    progress, position = _number(text, plain, place, end, "a progress")
    if position < end and plain[position] == "%":
        progress, position = progress / 100, _skip_spaces(plain, position + 1, end)
    if position < end:
        raise _error(text, position, "expected a comma or the end", plain)
    if not 0 <= progress <= 1:
        percent = f" (for {progress:g} % write `{strength:g}@{progress / 100:g}`)" if 1 < progress <= 100 else ""
        raise _error(text, place, f"a progress must be between 0 and 1, not {progress:g}{percent}", plain)
    if earlier and progress <= earlier[-1].progress:
        raise _error(text, place, f"the progress {progress:g} is not after {earlier[-1].progress:g}", plain)
    return Keyframe(progress, strength)


def _number(text: str, plain: str, start: int, end: int, what: str) -> tuple[float, int]:
    """A number from `start` on, and where it and the spaces behind it end."""
    start = _skip_spaces(plain, start, end)
    match = NUMBER.match(plain, start, end)
    if not match or not math.isfinite(float(match[0])):
        raise _error(text, start, f"expected {what}", plain)
    return float(match[0]), _skip_spaces(plain, match.end(), end)


def _skip_spaces(plain: str, start: int, end: int) -> int:
    while start < end and plain[start].isspace():
        start += 1
    return start


def _error(text: str, position: int, reason: str, plain: str) -> ValueError:
    """An error with the line of the text and a mark under the character."""
    line_start = plain.rfind("\n", 0, position) + 1
    line = text[line_start:].split("\n", 1)[0]
    found = f"found `{text[position]}`" if position < len(text) and text[position] != "\n" else "the text ends"
    return ValueError(
        f"The schedule cannot be read at character {position + 1}: {reason}; {found}. "
        f"Write strength@progress, such as `1.0@0, 0.6@0.3, 0@0.8`.\n{line}\n{' ' * (position - line_start)}^"
    )
