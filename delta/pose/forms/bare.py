"""Points alone: those of one person, or a list of people, in an order that their number tells."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..people import Frame
from ..reading import Form, Path, Reading, frame_of, parts_of_points, points_of
from ..skeletons import ORDERS


def _fits(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return data.ndim in (2, 3)
    if not isinstance(data, (list, tuple)) or not data:
        return False
    return all(isinstance(entry, (int, float, list, tuple, np.ndarray)) for entry in data) and _is_long(data)


def _is_long(data: Any) -> bool:
    """Whether there are as many numbers as the smallest skeleton has; a list of fewer is something else."""
    try:
        return np.array(data, dtype=np.float64).size >= 2 * min(ORDERS)
    except (ValueError, TypeError, OverflowError):
        return False


def _read(data: Any, path: Path, reading: Reading) -> list[Frame]:
    array = np.array(data, dtype=np.float64)
    people = list(array) if array.ndim == 3 else [array]
    places = [(*path, index) if array.ndim == 3 else path for index in range(len(people))]
    parts = [
        parts_of_points(points_of(person, place, tuple(ORDERS)), place, reading, tuple(ORDERS))
        for person, place in zip(people, places)
    ]
    return [frame_of(parts, [], None, path, reading)]


FORM = Form("a list of points", _fits, _read)
