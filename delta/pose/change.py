"""Poses scaled, moved and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .people import Frame, Person, check_person, parts_of
from .skeletons import ANIMAL_MIRROR, BODY_MIRROR, FACE_COUNTS, FACE_MIRROR, FEET_MIRROR

MIRRORS = {"body": BODY_MIRROR, "feet": FEET_MIRROR}


def transform(
    frames: Sequence[Frame],
    scale: float = 1.0,
    move: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
    *,
    own_middle: bool = False,
    person: int = 0,
    alone: bool = False,
) -> list[Frame]:
    """Poses mirrored, scaled and then moved.

    scale: from the middle of the picture, or of each person and animal with `own_middle`. move: to the right and downwards,
    in widths and heights of the picture. mirror: left and right are exchanged, joints included. person: the number of the
    only one in each frame that changes, from 1, or 0 for all, animals too; alone: the others are left out. Raises ValueError
    for a scale that is not above 0, and PoseError where no frame has that person.
    """
    if not scale > 0:
        raise ValueError(f"A pose cannot be scaled by {scale}. Give a number above 0.")
    check_person(frames, person)

    def changed(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        middle = _middle(parts.values()) if own_middle else np.full(2, 0.5)
        parts = _mirrored(parts, middle[0]) if mirror else parts
        return {
            name: _moved(points, lambda xy: (xy - middle) * scale + middle + move) for name, points in parts.items()
        }

    return [_with(frame, changed, person, alone) for frame in frames]


def _with(frame: Frame, changed: Callable, person: int, alone: bool) -> Frame:
    wanted = range(len(frame.people)) if person == 0 else [person - 1]
    people = [Person(**changed(parts_of(each))) if i in wanted else each for i, each in enumerate(frame.people)]
    animals = frame.animals
    if person == 0:
        animals = [changed({"animal": animal})["animal"] for animal in animals]
    if alone and person:
        people, animals = people[person - 1 : person], []
    return replace(frame, people=people, animals=animals)


def _middle(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The middle of the box around the points that are there."""
    points = np.concatenate([np.zeros((0, 3)), *parts])
    seen = points[points[:, 2] > 0, :2]
    return (seen.min(0) + seen.max(0)) / 2 if len(seen) else np.full(2, 0.5)


def _moved(points: np.ndarray, to: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    moved, seen = points.copy(), points[:, 2] > 0
    moved[seen, :2] = to(points[seen, :2])
    return moved


def _mirrored(parts: dict[str, np.ndarray], axis: float) -> dict[str, np.ndarray]:
    """Parts on the other side of a vertical line, each under the name of the side on which it is now."""
    mirrored = {}
    for name, points in parts.items():
        places = ANIMAL_MIRROR if name == "animal" else MIRRORS.get(name)
        # Of a face of another number only the places are known, and they look the same in any order.
        if name == "face" and len(points) in FACE_COUNTS:
            places = FACE_MIRROR[: len(points)]
        other = {"left_hand": "right_hand", "right_hand": "left_hand"}.get(name, name)
        turned = points if places is None else points[list(places)]
        mirrored[other] = _moved(turned, lambda xy: xy * (-1, 1) + (2 * axis, 0))
    return mirrored
