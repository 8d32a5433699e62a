"""Poses of people, read from and written as POSE_KEYPOINT: the OpenPose JSON that pose detectors and editors exchange.

POSE_KEYPOINT is a list with one dict per picture: `canvas_height`, `canvas_width`, and `people`, each a dict of parts
(`delta.pose.skeletons.PARTS`), each a flat list of x, y, confidence. What detectors and editors make of it differs -
pixels or 0..1, None or [] or zeros for what is missing, 18 or 25 points of a body, 68 or 70 of a face - and all of that
is read. (OpenPose, doc/02_output.md; comfyui_controlnet_aux; ComfyUI's SDPose nodes.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .skeletons import BODY_25_TO_18, FEET_OF_BODY_25, PARTS

LONGEST_SIDE = 16384
# Points in 0..1 may lie outside the canvas, but most of them lie closer than this; and no pose fits into so few pixels.
LARGEST_NORMALISED = 2.0
# Finer than anything drawn, and no number is a hair below a whole one, which others would round down.
PIXEL_DECIMALS = 4


@dataclass(frozen=True)
class Person:
    """The parts of a person: [points, 3] float64 each, of x and y in 0..1 of the canvas (outside it beyond) and the
    confidence, or None. The row of a point that is missing is 0.

    body: 18 points. face: 68, or 70 with the pupils. left_hand, right_hand: 21. feet: 6.
    """

    body: np.ndarray | None = None
    face: np.ndarray | None = None
    left_hand: np.ndarray | None = None
    right_hand: np.ndarray | None = None
    feet: np.ndarray | None = None


@dataclass(frozen=True)
class Frame:
    """The people in one picture, and its height and width in pixels where they are known."""

    people: list[Person]
    canvas: tuple[int, int] | None = None


class PoseError(ValueError):
    """What is wrong with a pose, and the path of keys and indices to it."""

    def __init__(self, path: tuple[str | int, ...], message: str):
        self.path = path
        where = _described(path)
        super().__init__(f"{where}: {message}" if where else message[0].upper() + message[1:])


def _described(path: tuple[str | int, ...]) -> str:
    """The path in words, counted from 1: "frame 3, person 2, face_keypoints_2d"."""
    words, person_next = [], False
    for step in path:
        if isinstance(step, int):
            words.append(f"{'person' if person_next else 'frame'} {step + 1}")
        elif step != "people" or step == path[-1]:
            words.append(step)
        person_next = step == "people"
    return ", ".join(words)


def read_poses(data: Any) -> list[Frame]:
    """Frames from a POSE_KEYPOINT, or from the dict of a single frame.

    Coordinates may be pixels or 0..1, which is decided for each frame by what most of its points are. A point is missing
    where its confidence is not above 0, or x and y are both 0. BODY_25 becomes 18 points and feet. Keys that are not
    known, 3-D points and animals are left alone. Raises PoseError, a ValueError, for anything else: other counts, NaN, a
    frame in pixels without a canvas, no frames, and animals only.
    """
    if isinstance(data, Mapping):
        frames = [_read_frame(data, ())]
    elif isinstance(data, (list, tuple)) and data:
        frames = [_read_frame(frame, (index,)) for index, frame in enumerate(data)]
    else:
        raise PoseError((), "the pose holds no frames. Connect a pose detector or Pose From JSON.")
    if not any(frame.people for frame in frames) and _has_animals(data):
        raise PoseError((), "the pose holds animals only, and people are read here. Use a pose detector for people.")
    return frames


def to_keypoints(frames: list[Frame]) -> list[dict[str, Any]]:
    """POSE_KEYPOINT in pixels, in the one form that every reader takes.

    A part that is missing is all zeros, as OpenPose itself writes it, for some readers stop at None; a face has 70
    points. Feet are there where they are known. Raises PoseError for a frame without a canvas.
    """
    return [_frame_keypoints(frame, () if len(frames) == 1 else (index,)) for index, frame in enumerate(frames)]


def _has_animals(data: Any) -> bool:
    return any(frame.get("animals") for frame in ([data] if isinstance(data, Mapping) else data))


def _read_frame(frame: Any, path: tuple) -> Frame:
    if not isinstance(frame, Mapping) or not frame.keys() & {"people", "animals"}:
        raise PoseError(
            path, "there is no list of people. A frame looks like people: [...], canvas_width, canvas_height."
        )
    people = frame.get("people")
    if not isinstance(people, (list, tuple, type(None))):
        raise PoseError((*path, "people"), "it must be a list, with one entry for each person.")
    canvas = _read_canvas(frame, path)
    raw = [_read_parts(person, (*path, "people", index)) for index, person in enumerate(people or [])]
    if _are_pixels([points for parts in raw for points in parts.values()]):
        if canvas is None:
            raise PoseError(
                path,
                "the points are pixels of a picture of unknown size. Add canvas_width and canvas_height to the frame.",
            )
        for parts in raw:
            for points in parts.values():
                points[:, :2] /= canvas[::-1]
    return Frame([Person(**parts) for parts in raw], canvas)


def _are_pixels(parts: list[np.ndarray]) -> bool:
    points = np.concatenate([np.zeros((0, 3)), *parts])
    distances = np.abs(points[points[:, 2] > 0, :2]).max(1)
    return bool(distances.size) and float(np.median(distances)) > LARGEST_NORMALISED


def _read_canvas(frame: Mapping, path: tuple) -> tuple[int, int] | None:
    sides = {key: frame.get(key) for key in ("canvas_height", "canvas_width")}
    if all(side is None for side in sides.values()):
        return None
    for key, side in sides.items():
        if side is None:
            raise PoseError(path, f"there is no {key}. Add it to the frame.")
        whole = isinstance(side, (int, float, np.number)) and not isinstance(side, bool) and side == side // 1
        if not whole or not 1 <= side <= LONGEST_SIDE:
            raise PoseError(
                (*path, key), f"{side!r} is no size. Give a whole number of pixels from 1 to {LONGEST_SIDE}."
            )
    return tuple(int(side) for side in sides.values())


def _read_parts(person: Any, path: tuple) -> dict[str, np.ndarray]:
    """The parts of which a point is there, by the names of Person."""
    if not isinstance(person, Mapping):
        raise PoseError(path, f"a person must be a set of parts such as pose_keypoints_2d, not {person!r:.40}.")
    parts = {form.name: _read_points(person.get(key), form.counts, (*path, key)) for key, form in PARTS.items()}
    body = parts["body"]
    if body is not None and len(body) == 25:
        parts["body"] = body[list(BODY_25_TO_18)]
        if parts["feet"] is None:
            parts["feet"] = body[FEET_OF_BODY_25]
    return {name: points for name, points in parts.items() if points is not None and points.any()}


def _read_points(values: Any, counts: tuple[int, ...], path: tuple) -> np.ndarray | None:
    """[points, 3] as they are written, with zeros for points that are missing; None for a part that is missing."""
    if values is None:
        return None
    try:
        numbers = np.array(values, dtype=np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        raise PoseError(path, "there is something else than numbers. Each point is x, y, confidence.") from None
    if not numbers.size:
        return None
    if numbers.size not in {3 * count for count in counts}:
        expected = " or ".join(map(str, counts))
        raise PoseError(
            path, f"{numbers.size} numbers; expected {expected} points of x, y, confidence, 3 numbers each."
        )
    points = numbers.reshape(-1, 3)
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise PoseError(
            path, f"point {bad.argmax() + 1} holds NaN, null or infinite values. Write 0, 0, 0 for a missing point."
        )
    points[(points[:, 2] <= 0) | ~points[:, :2].any(1)] = 0
    return points


def _frame_keypoints(frame: Frame, path: tuple) -> dict[str, Any]:
    if frame.canvas is None:
        raise PoseError(path, "the size of the picture is unknown. Add canvas_width and canvas_height to the frame.")
    height, width = frame.canvas
    people = [_person_keypoints(person, np.array([width, height, 1.0])) for person in frame.people]
    return {"people": people, "canvas_height": height, "canvas_width": width}


def _person_keypoints(person: Person, scale: np.ndarray) -> dict[str, list[float]]:
    keypoints = {}
    for key, (name, counts) in PARTS.items():
        points = getattr(person, name)
        if points is None and name == "feet":
            continue
        filled = np.zeros((18 if name == "body" else counts[-1], 3))
        if points is not None:
            filled[: len(points)] = points * scale
        keypoints[key] = filled.round(PIXEL_DECIMALS).reshape(-1).tolist()
    return keypoints
