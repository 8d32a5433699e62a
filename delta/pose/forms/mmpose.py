"""What mmpose writes: instances of `keypoints` [[x, y], ...] and `keypoint_scores`, of a picture or of a video's frames.

`{"meta_info": ..., "instance_info": [...]}` of its demos, lists of instances of its inferencer, and for videos lists of
`{"frame_id": ..., "instances": [...]}`; in pixels, without the size of the picture. (open-mmlab/mmpose,
mmpose/structures/utils.py, apis/inferencers.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..people import Frame, PoseError
from ..reading import Form, Parts, Path, Reading, frame_of, parts_of_points, points_of
from ..skeletons import ANIMAL_COUNT, ORDERS
from .openpose import animal_points

# With what the orders begin that are known.
PERSON_BEGINS, ANIMAL_BEGINS = ("nose",), ("l_eye", "left_eye")


def _fits(data: Any) -> bool:
    if isinstance(data, Mapping):
        return "instance_info" in data or "predictions" in data
    return isinstance(data, (list, tuple)) and bool(data) and all(_is_instance(e) or _is_frame(e) for e in data)


def _is_instance(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"keypoints", "keypoint_scores"} <= entry.keys()


def _is_frame(entry: Any) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("instances"), (list, tuple))


def _read(data: Any, path: Path, reading: Reading) -> list[Frame]:
    is_animal = False
    if isinstance(data, Mapping):
        key = "instance_info" if "instance_info" in data else "predictions"
        is_animal = _is_animal(data.get("meta_info"), path)
        data, path = data[key], (*path, key)
    if not isinstance(data, (list, tuple)):
        raise PoseError(path, "it must be a list of instances.")
    if data and all(_is_frame(entry) for entry in data):
        places = [((*path, index, "instances"), entry["instances"]) for index, entry in enumerate(data)]
    elif data and all(isinstance(entry, (list, tuple)) for entry in data):
        places = [((*path, index), entry) for index, entry in enumerate(data)]
    else:
        places = [(path, data)]
    return [_frame(entries, place, is_animal, reading) for place, entries in places]


def _is_animal(meta: Any, path: Path) -> bool:
    """Whether the points are those of AP-10K. Raises PoseError for data sets whose order is not known."""
    names = (meta or {}).get("keypoint_id2name") if isinstance(meta, Mapping) else None
    first = str((names.get("0") or names.get(0)) if isinstance(names, Mapping) else "nose").lower()
    if first in PERSON_BEGINS:
        return False
    if first in ANIMAL_BEGINS:
        return True
    raise PoseError(
        (*path, "meta_info"),
        f"the points of {meta.get('dataset_name', 'this data set')} begin with {first}, and their order is unknown. Use a "
        "model trained on COCO, COCO-WholeBody, Halpe or AP-10K.",
    )


def _frame(instances: Any, path: Path, is_animal: bool, reading: Reading) -> Frame:
    points = [_points(entry, (*path, index)) for index, entry in enumerate(instances)]
    places = [(*path, index, "keypoints") for index in range(len(points))]
    if is_animal:
        return frame_of(
            [], [animal_points(p, w) for p, w in zip(points, places)], None, path, reading, normalised=False
        )
    people: list[Parts] = [parts_of_points(p, w, reading, tuple(ORDERS)) for p, w in zip(points, places)]
    return frame_of(people, [], None, path, reading, normalised=False)


def _points(instance: Any, path: Path) -> np.ndarray:
    if not isinstance(instance, Mapping) or "keypoints" not in instance:
        raise PoseError(path, f"an instance must contain keypoints, not {instance!r:.40}.")
    points = points_of(instance["keypoints"], (*path, "keypoints"), (*ORDERS, ANIMAL_COUNT))
    if points is None:
        raise PoseError((*path, "keypoints"), "there are no points.")
    scores = instance.get("keypoint_scores")
    if scores is not None:
        try:
            values = np.array(scores, dtype=np.float64).reshape(-1)
        except (ValueError, TypeError, OverflowError):
            raise PoseError((*path, "keypoint_scores"), "it contains something other than numbers.") from None
        if len(values) != len(points):
            raise PoseError((*path, "keypoint_scores"), f"{len(values)} scores for {len(points)} points.")
        points[:, 2] = values
    return points


FORM = Form("mmpose instances", _fits, _read)
