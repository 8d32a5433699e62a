"""Poses written as JSON: OpenPose's, for people to edit; what DWPose of comfyui_controlnet_aux gives; WanAnimate's metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from .json_text import understand_any
from .people import Frame, Person, PoseError
from .poses import Understood, canvas_of_frame, to_keypoints
from .reading import Path, Reading
from .skeletons import BODY_COUNT, FACE_COUNTS, FEET_COUNT, HAND_COUNT, PARTS

INDENT = "  "
DECIMALS = 6
ANIMALS = "ap10k"
# Big toe, small toe and heel of the left, then of the right foot.
TOES, RIGHT_HEEL = ((0, 1), (3, 4)), 5


def written_pose(poses: Any, form: str, size: tuple[int, int] | None = None) -> tuple[str, list[str]]:
    """The JSON of a pose in one of `WRITERS`, and a line for whatever that form cannot hold.

    poses, size: as for `delta.pose.json_text.understand_any`. Raises as it, KeyError for another form, and PoseError for a
    frame without a canvas and for what would be another pose in that form.
    """
    frames, reading = understand_any(poses, size).frames, Reading()
    return WRITERS[form](frames, reading), reading.lines()


def pose_json(poses: Any) -> str:
    """The OpenPose JSON of a pose: a dict for one frame, else a list; pixels with 2 decimals, a line for each part."""
    return written_pose(poses, "OpenPose")[0]


def edited_pose(text: str, pose: Any = None, size: tuple[int, int] | None = None) -> tuple[Understood, str]:
    """The pose of an edited text, or the connected one where the text is empty; and the JSON that the editor may begin with.

    That is the connected pose, else the text in the editor's own form. Raises ValueError where there is neither.
    """
    connected = None if pose is None else understand_any(pose, size)
    if not text.strip() and connected is None:
        raise ValueError("There is no pose: the edit is empty and nothing is connected. Connect pose, or add a person.")
    read = understand_any(text, size) if text.strip() else connected
    return read, _openpose((connected or read).frames, Reading())


def _path(frames: list[Frame], index: int) -> Path:
    return () if len(frames) == 1 else (index,)


def _openpose(frames: list[Frame], reading: Reading) -> str:
    texts = [_frame_text(frame, keypoints) for frame, keypoints in zip(frames, to_keypoints(frames))]
    return texts[0] if len(texts) == 1 else _block(texts, "[]", "")


def _frame_text(frame: Frame, keypoints: dict[str, Any]) -> str:
    people = [_person_text(*pair) for pair in zip(frame.people, keypoints["people"])]
    animals = [f"{2 * INDENT}[{_points_text(np.ravel(points).tolist())}]" for points in keypoints.get("animals", [])]
    return (
        f'{{\n{INDENT}"canvas_width": {keypoints["canvas_width"]},\n'
        f'{INDENT}"canvas_height": {keypoints["canvas_height"]},\n'
        + (f'{INDENT}"animals": {_block(animals, "[]", INDENT)},\n' if animals else "")
        + f'{INDENT}"people": {_block(people, "[]", INDENT)}\n}}'
    )


def _person_text(person: Person, keypoints: dict[str, list[float]]) -> str:
    parts = [
        f'{3 * INDENT}"{key}": [{_points_text(keypoints[key])}]'
        for key, name in PARTS.items()
        if getattr(person, name) is not None
    ]
    return 2 * INDENT + _block(parts, "{}", 2 * INDENT)


def _block(entries: list[str], brackets: str, indent: str) -> str:
    """Entries on lines of their own between brackets."""
    inside = "\n" + ",\n".join(entries) + "\n" + indent if entries else ""
    return brackets[0] + inside + brackets[1]


def _points_text(numbers: list[float]) -> str:
    """The points with a wider gap between them, so that the eye finds them."""
    points = zip(numbers[::3], numbers[1::3], numbers[2::3])
    return ",  ".join(", ".join(map(_number, point)) for point in points)


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _dwpose(frames: list[Frame], reading: Reading) -> str:
    """A list of frames with null for a part that is missing, and 1 for every point that is there.

    comfyui_controlnet_aux draws no point whose confidence is below 1.
    """
    written = []
    for index, (frame, keypoints) in enumerate(zip(frames, to_keypoints(frames))):
        people = [
            {
                key: _sure(keypoints["people"][place][key]) if getattr(person, name) is not None else None
                for key, name in PARTS.items()
            }
            for place, person in enumerate(frame.people)
        ]
        animals = keypoints.get("animals", [])
        if any(0 < c < 1 for person in keypoints["people"] for values in person.values() for c in values[2::3]):
            reading.note(
                _path(frames, index),
                "confidences were set to 1, because comfyui_controlnet_aux draws nothing below that.",
            )
        written.append(
            {
                **(
                    {"version": ANIMALS, "animals": [np.reshape(_sure(np.ravel(a)), (-1, 3)).tolist() for a in animals]}
                    if animals
                    else {}
                ),
                **({"people": people} if people or not animals else {}),
                "canvas_height": keypoints["canvas_height"],
                "canvas_width": keypoints["canvas_width"],
            }
        )
    return json.dumps(written)


def _sure(numbers: Any) -> list[float]:
    points = np.reshape(numbers, (-1, 3)).copy()
    points[:, 2] = points[:, 2] > 0
    return points.reshape(-1).tolist()


def _wan_animate(frames: list[Frame], reading: Reading) -> str:
    """A list with the metadata of each frame, in which one person has room. Raises PoseError for several."""
    return json.dumps([_wan_frame(frame, _path(frames, index), reading) for index, frame in enumerate(frames)])


def _wan_frame(frame: Frame, path: Path, reading: Reading) -> dict[str, Any]:
    height, width = canvas_of_frame(frame, path)
    if len(frame.people) > 1:
        raise PoseError(
            (*path, "people"),
            f"WanAnimate supports one person in each frame, and there are {len(frame.people)}. Keep one with Transform Pose.",
        )
    if frame.animals:
        reading.note((*path, "animals"), "WanAnimate does not support animals; they were left out.")
    person = frame.people[0] if frame.people else Person()
    feet = np.zeros((FEET_COUNT, 3)) if person.feet is None else person.feet
    body = np.concatenate([_whole(person.body, BODY_COUNT), *(_middle(feet[list(toes)])[None] for toes in TOES)])
    face = person.face
    if face is not None and len(face) not in FACE_COUNTS:
        reading.note((*path, "people", 0), f"a face of {len(face)} points in an unknown order was left out.")
        face = None
    face = _whole(face, max(FACE_COUNTS))[: min(FACE_COUNTS)]
    return {
        "width": width,
        "height": height,
        "keypoints_body": body.round(DECIMALS).tolist(),
        "keypoints_left_hand": _whole(person.left_hand, HAND_COUNT).round(DECIMALS).tolist(),
        "keypoints_right_hand": _whole(person.right_hand, HAND_COUNT).round(DECIMALS).tolist(),
        # Its own face begins with the right heel.
        "keypoints_face": np.concatenate([feet[RIGHT_HEEL][None], face]).round(DECIMALS).tolist(),
    }


def _whole(points: np.ndarray | None, count: int) -> np.ndarray:
    filled = np.zeros((count, 3))
    if points is not None:
        filled[: len(points)] = points
    return filled


def _middle(points: np.ndarray) -> np.ndarray:
    """The middle of the points that are there."""
    seen = points[points[:, 2] > 0]
    return seen.mean(0) if len(seen) else np.zeros(3)


WRITERS: dict[str, Callable[[list[Frame], Reading], str]] = {
    "OpenPose": _openpose,
    "DWPose": _dwpose,
    "WanAnimate": _wan_animate,
}
