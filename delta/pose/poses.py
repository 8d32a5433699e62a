"""Poses read from POSE_KEYPOINT and from every other form that is known, and written as POSE_KEYPOINT.

POSE_KEYPOINT is a list with one dict per picture: `canvas_height`, `canvas_width`, and `people`, each a dict of parts
(`delta.pose.skeletons.PARTS`), each a flat list of x, y, confidence; or `animals`. The other forms are in
`delta.pose.forms`, a file for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .forms import FORMS
from .people import Frame, Person, PoseError
from .reading import NO_CONFIDENCE, Form, Path, Reading
from .skeletons import BODY_COUNT, FACE_COUNTS, FEET_COUNT, HAND_COUNT, PARTS

# Finer than anything drawn, and no number is a hair below a whole one, which others would round down.
PIXEL_DECIMALS = 4
WRITTEN_COUNTS = {
    "body": BODY_COUNT,
    "face": max(FACE_COUNTS),
    "left_hand": HAND_COUNT,
    "right_hand": HAND_COUNT,
    "feet": FEET_COUNT,
}
PART_WORDS = {"body": "bodies", "face": "faces", "left_hand": "left hands", "right_hand": "right hands", "feet": "feet"}


@dataclass(frozen=True)
class Understood:
    """A pose that was read: its frames, the names of its forms, and a line for whatever was left out."""

    frames: list[Frame]
    forms: list[str]
    notes: list[str]

    def report(self) -> str:
        """What was read and what was left out, in lines."""
        return "\n".join([f"Read {' and '.join(self.forms)}: {_counted(self.frames)}.", *self.notes])


def read_poses(data: Any, size: tuple[int, int] | None = None) -> list[Frame]:
    """The frames of `understand`."""
    return understand(data, size).frames


def understand(data: Any, size: tuple[int, int] | None = None) -> Understood:
    """Frames from a POSE_KEYPOINT, from one of its frames, or from another form that is known.

    size: height and width for pictures that do not say their own. Whatever is not read is told in the notes or refused.
    Coordinates may be pixels or 0..1, which is decided for each frame by what most of its points are. A point is missing
    where its confidence is not above 0, or x and y are both 0. Raises PoseError, a ValueError, for unknown forms and
    orders, broken numbers, pixels without a size, no frames, and points that all have the confidence 0.
    """
    reading, names = Reading(size), []
    frames = _read(data, (), reading, names)
    if not any(_has_points(frame) for frame in frames) and NO_CONFIDENCE in reading.notes:
        path, _ = reading.notes[NO_CONFIDENCE]
        raise PoseError(path, f"{NO_CONFIDENCE} Set the confidence of the points to draw to 1.")
    return Understood(frames, list(dict.fromkeys(names)), reading.lines())


def _read(data: Any, path: Path, reading: Reading, names: list[str]) -> list[Frame]:
    form = _form_of(data)
    if form is not None:
        names.append(form.name)
        return form.read(data, path, reading)
    if isinstance(data, (list, tuple)) and data and not path:
        return [frame for index, each in enumerate(data) for frame in _read(each, (index,), reading, names)]
    if path or isinstance(data, Mapping):
        raise PoseError(
            path,
            "there is no list of people or any other known form of poses. A frame looks like people: [...], "
            "canvas_width, canvas_height.",
        )
    raise PoseError((), "the pose holds no frames. Connect a pose detector or Pose From JSON.")


def _form_of(data: Any) -> Form | None:
    return next((form for form in FORMS if form.fits(data)), None)


def _has_points(frame: Frame) -> bool:
    parts = [getattr(person, name) for person in frame.people for name in WRITTEN_COUNTS]
    return any(part is not None for part in parts) or any(animal.any() for animal in frame.animals)


def _counted(frames: list[Frame]) -> str:
    people = [person for frame in frames for person in frame.people]
    parts = Counter(word for person in people for name, word in PART_WORDS.items() if getattr(person, name) is not None)
    animals = sum(len(frame.animals) for frame in frames)
    if animals:
        parts["animals"] = animals
    canvas = next((frame.canvas for frame in frames if frame.canvas), None)
    words = f"{len(frames)} frame{'s' if len(frames) > 1 else ''}" + (
        f" of {canvas[1]} x {canvas[0]}" if canvas else ""
    )
    return f"{words}; " + (", ".join(f"{word}: {count}" for word, count in parts.items()) or "nobody in it")


def to_keypoints(frames: list[Frame]) -> list[dict[str, Any]]:
    """POSE_KEYPOINT in pixels, in the one form that every reader takes.

    A part that is missing is all zeros, as OpenPose itself writes it, for some readers stop at None; a face has 70
    points. Feet and animals are there where they are known. Raises PoseError for a frame without a canvas.
    """
    return [_frame_keypoints(frame, () if len(frames) == 1 else (index,)) for index, frame in enumerate(frames)]


def canvas_of_frame(frame: Frame, path: Path) -> tuple[int, int]:
    """Height and width of a frame; raises PoseError where they are not known."""
    if frame.canvas is None:
        raise PoseError(
            path,
            "the size of the picture is unknown. Add canvas_width and canvas_height to the frame, or set width and height.",
        )
    return frame.canvas


def _frame_keypoints(frame: Frame, path: Path) -> dict[str, Any]:
    height, width = canvas_of_frame(frame, path)
    scale = np.array([width, height, 1.0])
    keypoints = {
        "people": [_person_keypoints(person, scale) for person in frame.people],
        "canvas_height": height,
        "canvas_width": width,
    }
    if frame.animals:
        keypoints["animals"] = [(points * scale).round(PIXEL_DECIMALS).tolist() for points in frame.animals]
    return keypoints


def _person_keypoints(person: Person, scale: np.ndarray) -> dict[str, list[float]]:
    keypoints = {}
    for key, name in PARTS.items():
        points = getattr(person, name)
        if points is None and name == "feet":
            continue
        filled = np.zeros((WRITTEN_COUNTS[name], 3))
        if points is not None:
            filled[: len(points)] = points * scale
        keypoints[key] = filled.round(PIXEL_DECIMALS).reshape(-1).tolist()
    return keypoints
