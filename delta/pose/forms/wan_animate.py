"""What the preprocessing of Wan 2.2 Animate keeps of each frame: width, height, `keypoints_body` and so on, in 0..1.

The body has the 18 points of OpenPose and the middle of each foot's toes; the face has 69 points, the first of which is the
right heel. Its objects (`kps_body`, in pixels, with the confidences apart) are read too. (Wan-Video/Wan2.2,
wan/modules/animate/preprocess/pose2d_utils.py; kijai/ComfyUI-WanAnimatePreprocess.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import (
    LARGEST_NORMALISED,
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
from ..skeletons import FACE_COUNTS, HAND_COUNT, ORDERS

KEYS = {
    "keypoints_body": ("body", tuple(ORDERS)),
    "keypoints_left_hand": ("left_hand", (HAND_COUNT,)),
    "keypoints_right_hand": ("right_hand", (HAND_COUNT,)),
    "keypoints_face": ("face", FACE_COUNTS),
}
OBJECT_KEYS = {
    "keypoints_body": "kps_body",
    "keypoints_left_hand": "kps_lhand",
    "keypoints_right_hand": "kps_rhand",
    "keypoints_face": "kps_face",
}
# Of the face with the right heel before it.
FACE_AND_HEEL = 69
# The poses that were fitted to the reference picture, then those that were found.
SEQUENCES = ("pose_metas", "pose_metas_original")


def _fits(data: Any) -> bool:
    if isinstance(data, Mapping):
        return "keypoints_body" in data or any(key in data for key in SEQUENCES)
    return hasattr(data, "kps_body")


def _read(data: Any, path: Path, reading: Reading) -> list[Frame]:
    if isinstance(data, Mapping) and "keypoints_body" not in data:
        key = next(key for key in SEQUENCES if key in data)
        frames = data[key]
        if not isinstance(frames, (list, tuple)):
            raise PoseError((*path, key), "it must be a list with the metadata of each frame.")
        return [_frame(frame, (*path, key, index), reading) for index, frame in enumerate(frames)]
    return [_frame(data, path, reading)]


def _frame(data: Any, path: Path, reading: Reading) -> Frame:
    if not _fits(data):
        raise PoseError(path, f"there is no keypoints_body in {data!r:.40}.")
    values = data if isinstance(data, Mapping) else _of_object(data)
    canvas = canvas_of(values, ("height", "width"), path)
    parts: Parts = {}
    for key, (name, counts) in KEYS.items():
        points = points_of(values.get(key), (*path, key), counts)
        if points is None:
            continue
        if canvas and _are_pixels(points):
            points[:, :2] /= canvas[::-1]
        if name == "face" and len(points) == FACE_AND_HEEL:
            points = points[1:]
        if name == "body":
            parts |= parts_of_points(points, (*path, key), reading, counts)
        else:
            known = PART_READERS[name](points, (*path, key), reading)
            parts |= {} if known is None else {name: known}
    return frame_of([parts], [], canvas, path, reading, normalised=True)


def _are_pixels(points: np.ndarray) -> bool:
    """Some versions keep hands in pixels beside a body in 0..1."""
    seen = only_seen(points)
    seen = seen[seen[:, 2] > 0, :2]
    return bool(len(seen)) and float(np.median(np.abs(seen).max(1))) > LARGEST_NORMALISED


def _of_object(meta: Any) -> dict[str, Any]:
    values = {"width": meta.width, "height": meta.height}
    for key, name in OBJECT_KEYS.items():
        points, confidences = getattr(meta, name, None), getattr(meta, f"{name}_p", None)
        if points is not None and confidences is not None:
            points = np.column_stack([points, confidences])
        values[key] = points
    return values


FORM = Form("WanAnimate's metadata", _fits, _read)
