"""MediaPipe's landmarks of pose, hands and face: objects with x, y and visibility, in 0..1 of the picture.

From its tasks (`pose_landmarks`, a list for each person), its solutions (one person; `landmark` inside) and JavaScript
(`poseLandmarks`), or the list of 33 alone. (MediaPipe, Pose Landmarker and Holistic guides.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import Form, Parts, Path, Reading, canvas_of, frame_of, hand_of, parts_of_points, points_of

POSE_COUNT = 33
KEYS = {
    "pose": ("pose_landmarks", "poseLandmarks", "landmarks", "landmark"),
    "left_hand": ("left_hand_landmarks", "leftHandLandmarks"),
    "right_hand": ("right_hand_landmarks", "rightHandLandmarks"),
    "face": ("face_landmarks", "faceLandmarks"),
}
LEFT_OUT = ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks")
# Which of the 468 points of its face lie where the 68 of OpenPose's are, as LatentSync (arXiv 2412.09262) has them; then the
# two irises of newer models.
FACE_MESH = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
IRISES = (468, 473)
MESH_COUNTS = (468, 478)


def _fits(data: Any) -> bool:
    if isinstance(data, Mapping):
        return any(key in data for keys in KEYS.values() for key in keys)
    return isinstance(data, (list, tuple)) and len(data) == POSE_COUNT and all(map(_is_landmark, data))


def _is_landmark(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"x", "y"} <= entry.keys()


def _read(data: Any, path: Path, reading: Reading) -> list[Frame]:
    canvas = None
    if isinstance(data, Mapping):
        canvas = canvas_of(data, ("height", "width"), path) or canvas_of(data, ("canvas_height", "canvas_width"), path)
        for key in data.keys() & set(LEFT_OUT):
            reading.note((*path, key), "it was left out: metres cannot be drawn in a picture.")
    else:
        data = {"landmarks": data}
    parts = {name: _lists(data, keys, path) for name, keys in KEYS.items()}
    people = [_person(lists, reading) for lists in _together(parts, path)]
    return [frame_of(people, [], canvas, path, reading, normalised=True)]


def _lists(data: Mapping, keys: tuple[str, ...], path: Path) -> list[tuple[Any, Path]]:
    """The lists of landmarks under one of the keys, one for each person, and where they stand."""
    key = next((key for key in keys if data.get(key)), None)
    if key is None:
        return []
    value, place = _unwrapped(data[key], (*path, key))
    if not isinstance(value, (list, tuple)):
        raise PoseError(place, "it must be a list of landmarks.")
    if _is_landmark(value[0]):
        return [(value, place)]
    return [_unwrapped(entry, (*place, index)) for index, entry in enumerate(value)]


def _unwrapped(value: Any, path: Path) -> tuple[Any, Path]:
    if isinstance(value, Mapping) and "landmark" in value:
        return value["landmark"], (*path, "landmark")
    return value, path


def _together(parts: dict[str, list], path: Path) -> list[dict[str, tuple[Any, Path]]]:
    """The lists of each person. Hands and faces belong to somebody where there is one person only."""
    count = max(map(len, parts.values()), default=0)
    if count > 1 and any(lists and len(lists) != count for lists in parts.values()):
        raise PoseError(path, "it is unclear whose hands and faces these are: there are fewer of them than people.")
    return [{name: lists[index] for name, lists in parts.items() if lists} for index in range(count)]


def _person(lists: dict[str, tuple[Any, Path]], reading: Reading) -> Parts:
    parts: Parts = {}
    for name, (values, path) in lists.items():
        points = points_of(values, path)
        if points is None:
            continue
        if name == "pose":
            parts |= parts_of_points(points, path, reading, (POSE_COUNT,))
            continue
        # Hands and faces have no visibility, for which 0 is written.
        points[:, 2] = 1
        known = _face(points, path, reading) if name == "face" else hand_of(points, path, reading)
        parts |= {} if known is None else {name: known}
    return parts


def _face(points: np.ndarray, path: Path, reading: Reading) -> np.ndarray | None:
    if len(points) not in MESH_COUNTS:
        reading.note(path, f"a face of {len(points)} points was left out; only {MESH_COUNTS} are supported.")
        return None
    reading.note(path, f"of the face's {len(points)} points, the 68 that OpenPose knows were used.")
    return points[[*FACE_MESH, *(IRISES if len(points) > max(IRISES) else ())]]


FORM = Form("MediaPipe landmarks", _fits, _read)
