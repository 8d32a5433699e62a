"""OpenPose's JSON, which ComfyUI's POSE_KEYPOINT is too: people of parts, each x, y, confidence; animals of AP-10K.

OpenPose, doc/02_output.md; its first version calls the parts `pose_keypoints` and so on and has 18 points. What detectors
and editors make of it differs - pixels or 0..1, None or [] or zeros for what is missing, 17 to 26 points of a body or
all 133 to 136 in one list - and all of that is read. (comfyui_controlnet_aux; ComfyUI's SDPose nodes.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import (
    PART_READERS,
    Form,
    Parts,
    Path,
    Reading,
    canvas_of,
    frame_of,
    only_seen,
    parts_of_points,
    points_of,
)
from ..skeletons import ANIMAL_COUNT, FACE_COUNTS, FEET_COUNT, HAND_COUNT, ORDERS, PARTS

COUNTS = {
    "body": tuple(ORDERS),
    "face": FACE_COUNTS,
    "left_hand": (HAND_COUNT,),
    "right_hand": (HAND_COUNT,),
    "feet": (FEET_COUNT,),
}
# Newer ones first.
KEYS = {**PARTS, **{key.removesuffix("_2d"): name for key, name in PARTS.items()}, "keypoints": "body"}
# Lists that are no points.
OTHER_LISTS = ("person_id", "bbox")


def _fits(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(data.keys() & {"people", "animals"})


def _read(data: Mapping, path: Path, reading: Reading) -> list[Frame]:
    people = _listed(data, "people", path)
    animals = _listed(data, "animals", path)
    canvas = canvas_of(data, ("canvas_height", "canvas_width"), path) or canvas_of(data, ("height", "width"), path)
    parts = [person_parts(person, (*path, "people", index), reading) for index, person in enumerate(people)]
    beasts = [animal_points(animal, (*path, "animals", index)) for index, animal in enumerate(animals)]
    return [frame_of(parts, beasts, canvas, path, reading)]


def _listed(data: Mapping, key: str, path: Path) -> Sequence[Any]:
    entries = data.get(key)
    if not isinstance(entries, (list, tuple, type(None))):
        raise PoseError((*path, key), "it must be a list, with one entry for each of them.")
    return entries or []


def person_parts(person: Any, path: Path, reading: Reading) -> Parts:
    """The parts of a person by the names of `Person`. Raises PoseError for points under other names alone."""
    if not isinstance(person, Mapping):
        raise PoseError(path, f"a person must be a set of parts such as pose_keypoints_2d, not {person!r:.40}.")
    own: Parts = {}
    listed: Parts = {}
    for key, name in KEYS.items():
        points = None if name in own else points_of(person.get(key), (*path, key), COUNTS[name])
        if points is None:
            continue
        if name == "body":
            listed = listed or parts_of_points(points, (*path, key), reading, COUNTS[name])
        else:
            known = PART_READERS[name](points, (*path, key), reading)
            own |= {} if known is None else {name: known}
    # Feet of their own count more than those of BODY_25.
    parts = listed | own
    _refuse_or_note_others(person, parts, path, reading)
    return parts


def _refuse_or_note_others(person: Mapping, parts: Parts, path: Path, reading: Reading) -> None:
    others = [key for key, value in person.items() if key not in (*KEYS, *OTHER_LISTS) and _is_filled(value)]
    if not others:
        return
    names = ", ".join(map(str, others))
    if not any(only_seen(points).any() for points in parts.values()):
        raise PoseError(
            path,
            f"there are no known points, only {names}. People are read from "
            f"{', '.join(PARTS)}; 3-D points cannot be drawn without their camera.",
        )
    reading.note(path, f"{names} was left out.")


def _is_filled(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes)) and len(value) > 0


def animal_points(animal: Any, path: Path) -> np.ndarray:
    """[17, 3] of an animal of AP-10K; raises PoseError for another number of points."""
    points = points_of(animal, path, (ANIMAL_COUNT,))
    if points is None:
        return np.zeros((ANIMAL_COUNT, 3))
    if len(points) != ANIMAL_COUNT:
        raise PoseError(path, f"{len(points)} points; an animal has the {ANIMAL_COUNT} of AP-10K.")
    return points


FORM = Form("OpenPose JSON", _fits, _read)
