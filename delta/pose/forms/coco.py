"""COCO's annotations of key points, and the results of detectors in its form, to which AlphaPose's belong.

Annotations: `images` with width and height, `annotations` with an image_id and `keypoints` of x, y and 0 (not there), 1 (hidden)
or 2 (seen), COCO-WholeBody's `foot_kpts`, `face_kpts`, `lefthand_kpts` and `righthand_kpts` beside them, and `categories`
with the names of the points. Results: a list of image_id, keypoints, score. (COCO, arXiv 1405.0312; COCO-WholeBody, arXiv
2007.11858; AP-10K, arXiv 2108.12617; AlphaPose, docs/output.md.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import PART_READERS, Form, Parts, Path, Reading, canvas_of, frame_of, parts_of_points, points_of
from ..skeletons import FACE_COUNTS, FEET_COUNT, HAND_COUNT, ORDERS
from .openpose import animal_points

WHOLE_BODY = {
    "foot_kpts": ("feet", (FEET_COUNT,)),
    "face_kpts": ("face", FACE_COUNTS),
    "lefthand_kpts": ("left_hand", (HAND_COUNT,)),
    "righthand_kpts": ("right_hand", (HAND_COUNT,)),
}
# A point that only animals have.
ANIMAL_MARK = "tail"


def _fits(data: Any) -> bool:
    if isinstance(data, Mapping):
        return isinstance(data.get("annotations"), (list, tuple))
    return isinstance(data, (list, tuple)) and bool(data) and all(map(_is_result, data))


def _is_result(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"keypoints", "image_id"} <= entry.keys()


def _read(data: Any, path: Path, reading: Reading) -> list[Frame]:
    if isinstance(data, Mapping):
        entries, place = data["annotations"], (*path, "annotations")
        canvases = _canvases(data, path)
        animals = _animal_categories(data)
    else:
        entries, place, canvases, animals = data, path, {}, set()
    people: dict[Any, list[Parts]] = {image: [] for image in canvases}
    beasts: dict[Any, list[np.ndarray]] = {image: [] for image in canvases}
    for index, entry in enumerate(entries):
        where = (*place, index)
        if not isinstance(entry, Mapping):
            raise PoseError(where, f"an annotation must contain keypoints, not {entry!r:.40}.")
        image = _key(entry.get("image_id"))
        people.setdefault(image, [])
        if _key(entry.get("category_id")) in animals:
            beasts.setdefault(image, []).append(animal_points(entry.get("keypoints"), (*where, "keypoints")))
        elif parts := _parts(entry, where, reading):
            people[image].append(parts)
        else:
            reading.note(where, "it has no keypoints and was left out.")
    return [
        frame_of(people[image], beasts.get(image, []), canvases.get(image), path, reading, normalised=False)
        for image in people
    ]


def _key(name: Any) -> Any:
    """The id of a picture or a category, which may be a number or a text."""
    return name if isinstance(name, (int, float, str)) else str(name)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else []


def _canvases(data: Mapping, path: Path) -> dict[Any, tuple[int, int] | None]:
    return {
        _key(image.get("id")): canvas_of(image, ("height", "width"), (*path, "images", index))
        for index, image in enumerate(_listed(data.get("images")))
        if isinstance(image, Mapping)
    }


def _animal_categories(data: Mapping) -> set[Any]:
    categories = [category for category in _listed(data.get("categories")) if isinstance(category, Mapping)]
    names = {_key(category.get("id")): _listed(category.get("keypoints")) for category in categories}
    return {key for key, points in names.items() if any(ANIMAL_MARK in str(point).lower() for point in points)}


def _parts(entry: Mapping, path: Path, reading: Reading) -> Parts:
    parts: Parts = {}
    body = points_of(entry.get("keypoints"), (*path, "keypoints"), tuple(ORDERS))
    if body is not None:
        parts = parts_of_points(_sure(body), (*path, "keypoints"), reading, tuple(ORDERS))
    for key, (name, counts) in WHOLE_BODY.items():
        points = points_of(entry.get(key), (*path, key), counts)
        known = None if points is None else PART_READERS[name](_sure(points), (*path, key), reading)
        parts |= {} if known is None else {name: known}
    return parts


def _sure(points: np.ndarray) -> np.ndarray:
    """Hidden points, 1, and seen ones, 2, both have the full confidence."""
    points[:, 2] = points[:, 2].clip(max=1)
    return points


FORM = Form("COCO annotations", _fits, _read)
