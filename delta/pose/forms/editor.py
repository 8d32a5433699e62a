"""What the first pose editors save: the width and height of the picture, and x and y of 18 joints for each person.

fkunn1326/openpose-editor writes the joints of all people in one list, space-nuko/ComfyUI-OpenPose-Editor a list for each
person. A joint that was taken away is -1, -1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import Form, Path, Reading, canvas_of, frame_of, parts_of_points, points_of
from ..skeletons import BODY_COUNT, ORDERS


def _fits(data: Any) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("keypoints"), (list, tuple))


def _read(data: Mapping, path: Path, reading: Reading) -> list[Frame]:
    canvas = canvas_of(data, ("height", "width"), path) or canvas_of(data, ("canvas_height", "canvas_width"), path)
    keypoints, place = data["keypoints"], (*path, "keypoints")
    if _depth(keypoints) == 3:
        lists = [(points_of(person, (*place, index)), (*place, index)) for index, person in enumerate(keypoints)]
        people = [
            parts_of_points(points, where, reading, tuple(ORDERS)) for points, where in lists if points is not None
        ]
        return [frame_of(people, [], canvas, path, reading)]
    points = points_of(keypoints, place, tuple(ORDERS))
    if points is None:
        return [frame_of([], [], canvas, path, reading)]
    return [
        frame_of(
            [parts_of_points(p, place, reading, tuple(ORDERS)) for p in _people(points, place)],
            [],
            canvas,
            path,
            reading,
        )
    ]


def _people(points: np.ndarray, path: Path) -> list[np.ndarray]:
    """The points of each person: those of one in a known order, or 18 for each."""
    if len(points) in ORDERS:
        return [points]
    if len(points) % BODY_COUNT:
        raise PoseError(path, f"{len(points)} points; expected {BODY_COUNT} for each person.")
    return np.split(points, len(points) // BODY_COUNT)


def _depth(values: Any) -> int:
    depth = 0
    while isinstance(values, (list, tuple)) and values:
        depth, values = depth + 1, next((value for value in values if value is not None), None)
    return depth


FORM = Form("a pose editor's width, height and keypoints", _fits, _read)
