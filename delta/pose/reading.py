"""What every reader of a form of poses shares: numbers to points, points to parts of people, pixels to 0..1, and the notes
of what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .people import Frame, Person, PoseError, place_in_words
from .skeletons import FACE_COUNTS, HAND_COUNT, ORDERS, Order

LONGEST_SIDE = 16384
# Points in 0..1 may lie outside the canvas, but most of them lie closer than this; and no pose fits into so few pixels.
LARGEST_NORMALISED = 2.0
# A right heel before the 68 points of a face lies far outside of them.
FAR_FROM_FACE = 1.0

Path = tuple[str | int, ...]
Parts = dict[str, np.ndarray]


@dataclass
class Reading:
    """A pose while it is read.

    size: height and width to take for a picture that does not say its own, or None. notes: what was left out or taken for
    granted, with the first place and how often.
    """

    size: tuple[int, int] | None = None
    notes: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def note(self, path: Path, text: str) -> None:
        first, count = self.notes.get(text, (path, 0))
        self.notes[text] = first, count + 1

    def lines(self) -> list[str]:
        """The notes, one line each."""
        return [_note_line(text, path, count) for text, (path, count) in self.notes.items()]


class Form(NamedTuple):
    """A form in which people keep poses. fits: whether data look like it; read: its frames, or PoseError."""

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Any, Path, Reading], list[Frame]]


def _note_line(text: str, path: Path, count: int) -> str:
    where = place_in_words(path)
    times = f" ({count} times)" if count > 1 else ""
    return f"{where}{times}: {text}" if where else text[0].upper() + text[1:] + times


def points_of(values: Any, path: Path, counts: Sequence[int] = ()) -> np.ndarray | None:
    """[points, 3] as they are written, with zeros for points that are missing; None for a part that is missing.

    Numbers in a row, rows of 2 or 3 numbers, or rows with the names x, y and confidence, score or visibility. Numbers in
    a row without confidences are known by one of `counts`. A point is missing where its confidence is not above 0, where
    x and y are both 0 or null, and, without a confidence, where both are negative. Raises PoseError for other numbers.
    """
    if values is None or isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)):
        if values is None:
            return None
        raise PoseError(path, f"it must be a list of numbers, not {values!r:.40}.")
    if not len(values):
        return None
    rows = values
    if any(isinstance(value, Mapping) for value in values):
        rows = [_row_of_names(row, (*path, index)) for index, row in enumerate(values)]
    elif any(isinstance(value, (list, tuple)) for value in values):
        width = next(len(value) for value in values if isinstance(value, (list, tuple)))
        rows = [[0] * width if row is None else row for row in values]
    try:
        numbers = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise PoseError(path, "it contains something other than numbers. Each point is x, y, confidence.") from None
    numbers = _with_confidences(_in_rows(numbers, path, counts))
    nothing = np.isnan(numbers[:, :2]).all(1) & ~(numbers[:, 2] > 0)
    numbers[nothing] = 0
    bad = ~np.isfinite(numbers).all(1)
    if bad.any():
        raise PoseError(
            path, f"point {bad.argmax() + 1} holds NaN, null or infinite values. Write 0, 0, 0 for a missing point."
        )
    return numbers


def _row_of_names(row: Any, path: Path) -> list[Any]:
    if row is None:
        return [0, 0, 0]
    if not isinstance(row, Mapping) or not {"x", "y"} <= row.keys():
        raise PoseError(path, f"a point must have x and y, not {row!r:.40}.")
    confidence = next((row[key] for key in ("confidence", "score", "visibility") if row.get(key) is not None), 1)
    return [row["x"], row["y"], confidence]


def _in_rows(numbers: np.ndarray, path: Path, counts: Sequence[int]) -> np.ndarray:
    if numbers.ndim == 3 and len(numbers) == 1:
        numbers = numbers[0]
    if numbers.ndim == 2 and numbers.shape[1] in (2, 3):
        return numbers
    if numbers.ndim == 1 and numbers.size in {2 * count for count in counts}:
        return numbers.reshape(-1, 2)
    if numbers.ndim == 1 and numbers.size % 3 == 0:
        return numbers.reshape(-1, 3)
    expected = ", ".join(map(str, counts))
    raise PoseError(
        path,
        f"{numbers.size} numbers; expected {_or(expected)} points of x, y, confidence, 3 numbers each.",
    )


def _or(listed: str) -> str:
    first, _, last = listed.rpartition(", ")
    return f"{first} or {last}" if first else last


def _with_confidences(rows: np.ndarray) -> np.ndarray:
    if rows.shape[1] == 3:
        return rows.copy()
    # Editors write -1, -1 for a joint that was taken away.
    seen = rows.any(1) & ~(rows < 0).all(1) & ~np.isnan(rows).all(1)
    return np.column_stack([rows, seen])


def only_seen(points: np.ndarray) -> np.ndarray:
    """The points with zeros where one is missing."""
    points = points.copy()
    points[(points[:, 2] <= 0) | ~points[:, :2].any(1)] = 0
    return points


def parts_of_points(points: np.ndarray, path: Path, reading: Reading, counts: Sequence[int]) -> Parts:
    """The parts of a person from all of its points in one list, whose order is told by their number.

    Raises PoseError for a number that is not among `counts`.
    """
    if len(points) not in counts:
        listed = _or(", ".join(map(str, counts)))
        raise PoseError(path, f"{points.size} numbers; expected {listed} points of x, y, confidence, 3 numbers each.")
    return parts_in_order(points, ORDERS[len(points)], path, reading)


def parts_in_order(points: np.ndarray, order: Order, path: Path, reading: Reading) -> Parts:
    if order.name:
        reading.note(path, f"read as {order.name}.")
    parts = {"body": _taken(points, order.body)}
    if order.feet:
        parts["feet"] = _taken(points, order.feet)
    for name in ("face", "left_hand", "right_hand"):
        if getattr(order, name):
            parts[name] = points[slice(*getattr(order, name))]
    return parts


def _taken(points: np.ndarray, places: Sequence[int | tuple[int, int] | None]) -> np.ndarray:
    """Points in another order: of a pair the middle, which is there where both are; None is a point that is missing."""
    taken = np.zeros((len(places), 3))
    for index, place in enumerate(places):
        if isinstance(place, tuple):
            pair = only_seen(points[list(place)])
            if pair[:, 2].all():
                taken[index] = *pair[:, :2].mean(0), pair[:, 2].min()
        elif place is not None:
            taken[index] = points[place]
    return taken


def face_of(points: np.ndarray, path: Path, reading: Reading) -> np.ndarray | None:
    """The points of a face that are known."""
    if len(points) == 69 and _first_is_a_heel(points):
        reading.note(path, "of 69 points the first one is WanAnimate's right heel and was left out.")
        return points[1:]
    if len(points) in FACE_COUNTS:
        return points
    if len(points) < max(FACE_COUNTS):
        reading.note(
            path,
            f"{len(points)} points instead of 68 or 70: the detector left out what it did not find. All are drawn; which is "
            "which is unknown.",
        )
        return points
    reading.note(path, f"a face of {len(points)} points was left out; only 68 and 70 are supported.")
    return None


def _first_is_a_heel(points: np.ndarray) -> bool:
    seen = only_seen(points)
    rest = seen[1:][seen[1:, 2] > 0, :2]
    if not len(rest):
        return False
    low, high = rest.min(0), rest.max(0)
    # A heel that was not found is no point of a face either.
    outside = np.maximum(low - points[0, :2], points[0, :2] - high).max()
    return seen[0, 2] == 0 or outside > FAR_FROM_FACE * (high - low).max()


def hand_of(points: np.ndarray, path: Path, reading: Reading) -> np.ndarray | None:
    if len(points) == HAND_COUNT:
        return points
    reading.note(path, f"a hand of {len(points)} points was left out; only {HAND_COUNT} are supported.")
    return None


def feet_of(points: np.ndarray, path: Path, reading: Reading) -> np.ndarray | None:
    if len(points) == 6:
        return points
    reading.note(path, f"feet of {len(points)} points were left out; only 6 are supported.")
    return None


PART_READERS = {"face": face_of, "left_hand": hand_of, "right_hand": hand_of, "feet": feet_of}


def frame_of(
    people: Sequence[Parts],
    animals: Sequence[np.ndarray],
    canvas: tuple[int, int] | None,
    path: Path,
    reading: Reading,
    normalised: bool | None = None,
) -> Frame:
    """A frame in 0..1 of its canvas from points in pixels or in 0..1, which most of them tell.

    normalised: which of both it is, where the form says so. A frame without a canvas takes the size of the reading.
    Raises PoseError for pixels without either.
    """
    lists = [only_seen(points) for parts in people for points in parts.values()] + [only_seen(a) for a in animals]
    if canvas is None and reading.size is not None:
        canvas = reading.size
        reading.note(path, f"the pose gives no size; {canvas[1]} x {canvas[0]} was used.")
    _note_unsure(people, animals, path, reading)
    scale = np.ones(2)
    if not normalised and (normalised is False or _are_pixels(lists)):
        if canvas is None:
            raise PoseError(
                path,
                "the points are pixels of a picture of unknown size. Add canvas_width and canvas_height to the frame, or "
                "set width and height.",
            )
        scale = np.array(canvas[::-1], dtype=np.float64)
    return Frame(
        [Person(**_seen_parts(parts, scale)) for parts in people],
        canvas,
        [_scaled(only_seen(points), scale) for points in animals],
    )


def _seen_parts(parts: Parts, scale: np.ndarray) -> Parts:
    seen = {name: _scaled(only_seen(points), scale) for name, points in parts.items()}
    return {name: points for name, points in seen.items() if points.any()}


def _scaled(points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    points[:, :2] /= scale
    return points


def _note_unsure(people: Sequence[Parts], animals: Sequence[np.ndarray], path: Path, reading: Reading) -> None:
    """Say where points have places, but no confidence above 0, so that nothing of them is drawn."""
    lists = [*(points for parts in people for points in parts.values()), *animals]
    placed = [points for points in lists if (points[:, :2] > 0).any()]
    if placed and not any((points[:, 2] > 0).any() for points in lists):
        reading.note(path, NO_CONFIDENCE)


NO_CONFIDENCE = "all points have confidence 0, which means not found, so nothing would be drawn."


def _are_pixels(lists: Sequence[np.ndarray]) -> bool:
    points = np.concatenate([np.zeros((0, 3)), *lists])
    distances = np.abs(points[points[:, 2] > 0, :2]).max(1)
    return bool(distances.size) and float(np.median(distances)) > LARGEST_NORMALISED


def canvas_of(data: Mapping, keys: tuple[str, str], path: Path) -> tuple[int, int] | None:
    """Height and width of the picture under two keys, as numbers or as text; None where both are missing or 0."""
    sides = {key: data.get(key) for key in keys}
    if all(side is None for side in sides.values()):
        return None
    for key, side in sides.items():
        if side is None:
            raise PoseError(path, f"there is no {key}. Add it to the frame.")
        sides[key] = _side(side)
        if sides[key] is None:
            raise PoseError(
                (*path, key), f"{side!r} is not a valid size. Give a whole number of pixels from 1 to {LONGEST_SIDE}."
            )
    return tuple(sides.values())


def _side(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if value.strip().isdecimal() else None
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return int(value) if is_number and value == value // 1 and 1 <= value <= LONGEST_SIDE else None
