"""Scenes of the 3-D pose editor (ZhUyU1997/open-pose-editor and the extensions built on it), seen by their camera.

A scene holds bodies, each a tree of joints with position, rotation (Euler angles, order XYZ, of three.js) and scale in their
parent's space, and a perspective camera of 60 degrees, which looks along its own -z. The size of the picture is not
saved. Hands and feet are meshes of the editor's own and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import Form, Parts, Path, Reading, frame_of
from ..skeletons import BODY_COUNT

HEADER = "Openpose Editor"
FIELD_OF_VIEW = 60.0
# In OpenPose's order.
JOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
# The body itself is the root, and its child `five` lies between the shoulders. The first editors turned both shoulders in one
# group, and both hips; later ones have a group of its own for each, named inner.
PARENTS = {
    "five": "",
    "neck": "five",
    "nose": "neck",
    "right_eye": "nose",
    "left_eye": "nose",
    "right_ear": "right_eye",
    "left_ear": "left_eye",
    "shoulder": "five",
    "hip": "five",
    **{f"{side}_{joint}_inner": joint for side in ("right", "left") for joint in ("shoulder", "hip")},
    **{f"{side}_{joint}": f"{side}_{joint}_inner" for side in ("right", "left") for joint in ("shoulder", "hip")},
    **{
        f"{side}_{joint}": f"{side}_{parent}"
        for side in ("right", "left")
        for joint, parent in (("elbow", "shoulder"), ("wrist", "elbow"), ("knee", "hip"), ("ankle", "knee"))
    },
}
# The first editors did not save it: half the height of their body.
UNSAVED = {"five": {"position": [0, 23, 0]}}


def _fits(data: Any) -> bool:
    return isinstance(data, Mapping) and str(data.get("header", "")).startswith(HEADER)


def _read(data: Mapping, path: Path, reading: Reading) -> list[Frame]:
    content = data.get("object")
    bodies = content.get("bodies") if isinstance(content, Mapping) else None
    if not isinstance(bodies, (list, tuple)):
        raise PoseError(path, "this file of the 3-D editor contains no bodies; it may be a gesture. Save the scene.")
    camera = content.get("camera")
    if not isinstance(camera, Mapping):
        raise PoseError((*path, "object"), "there is no camera. Save the scene again.")
    if reading.size is None:
        raise PoseError(path, "a scene of the 3-D editor gives no picture size. Set width and height.")
    reading.note(path, "hands and feet of the 3-D editor's scenes were left out.")
    places = [(*path, "object", "bodies", index) for index in range(len(bodies))]
    people: list[Parts] = []
    for body, place in zip(bodies, places):
        people.append({"body": _seen(_joints(body, place), camera, (*path, "object", "camera"), reading.size)})
    return [frame_of(people, [], None, path, reading, normalised=True)]


def _joints(body: Any, path: Path) -> np.ndarray:
    """[18, 3]: where the joints of a body lie in the scene."""
    children = body.get("child") if isinstance(body, Mapping) else None
    if not isinstance(children, Mapping):
        raise PoseError(path, "there are no joints under `child`.")
    spaces = {"": _space(body, path)}

    def space_of(name: str) -> np.ndarray:
        if name not in spaces:
            # What lies at its parent's place may be left out.
            part = children.get(name, UNSAVED.get(name, {}))
            spaces[name] = space_of(PARENTS[name]) @ _space(part, (*path, "child", name))
        return spaces[name]

    return np.array([space_of(name)[:3, 3] for name in JOINTS])


def _space(part: Any, path: Path) -> np.ndarray:
    """The matrix [4, 4] from a joint's space to that of its parent."""
    if not isinstance(part, Mapping):
        raise PoseError(path, "a joint must have position, rotation and scale.")
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(_vector(part, "rotation", 0.0, path)) * _vector(part, "scale", 1.0, path)
    matrix[:3, 3] = _vector(part, "position", 0.0, path)
    return matrix


def _vector(part: Mapping, key: str, missing: float, path: Path) -> np.ndarray:
    values = part.get(key)
    if values is None:
        return np.full(3, missing)
    order = values[3] if isinstance(values, (list, tuple)) and len(values) > 3 else "XYZ"
    if order != "XYZ":
        raise PoseError((*path, key), f"angles in the order {order} are not read; the editor writes XYZ.")
    try:
        vector = np.array(values[:3], dtype=np.float64)
    except (ValueError, TypeError):
        vector = np.zeros(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise PoseError((*path, key), "it must be three numbers.")
    return vector


def _rotation(angles: np.ndarray) -> np.ndarray:
    """The matrix of a turn about x after one about y after one about z, as three.js has it for XYZ."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _seen(places: np.ndarray, camera: Mapping, path: Path, size: tuple[int, int]) -> np.ndarray:
    """[18, 3] in 0..1 of a picture of this size; what is behind the camera is missing."""
    height, width = size
    own = (places - _vector(camera, "position", 0.0, path)) @ _rotation(_vector(camera, "rotation", 0.0, path))
    zoom = camera.get("zoom", 1)
    half = np.tan(np.radians(FIELD_OF_VIEW / 2)) / (zoom if isinstance(zoom, (int, float)) and 0 < zoom < np.inf else 1)
    depth = -own[:, 2]
    points = np.zeros((BODY_COUNT, 3))
    before = depth > 0
    across = own[before, :2] / depth[before, None] / half
    points[before, 0] = 0.5 + 0.5 * across[:, 0] * height / width
    points[before, 1] = 0.5 - 0.5 * across[:, 1]
    points[before, 2] = 1
    return points


FORM = Form("a scene of the 3-D pose editor", _fits, _read)
