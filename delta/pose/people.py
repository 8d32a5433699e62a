"""What is known of a pose: people and animals in pictures, and what is wrong with a pose that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np


@dataclass(frozen=True)
class Person:
    """The parts of a person: [points, 3] float64 each, of x and y in 0..1 of the canvas (outside it beyond) and the
    confidence, or None. The row of a point that is missing is 0.

    body: 18 points. face: 68, or 70 with the pupils; or another number of points of which only the places are known.
    left_hand, right_hand: 21. feet: 6.
    """

    body: np.ndarray | None = None
    face: np.ndarray | None = None
    left_hand: np.ndarray | None = None
    right_hand: np.ndarray | None = None
    feet: np.ndarray | None = None


def parts_of(person: Person) -> dict[str, np.ndarray]:
    """The parts of a person that are there, by their names."""
    parts = {each.name: getattr(person, each.name) for each in fields(Person)}
    return {name: points for name, points in parts.items() if points is not None}


@dataclass(frozen=True)
class Frame:
    """The people and animals in one picture, and its height and width in pixels where they are known.

    animals: [17, 3] each, in the order of AP-10K, as the parts of a person.
    """

    people: list[Person]
    canvas: tuple[int, int] | None = None
    animals: list[np.ndarray] = field(default_factory=list)


class PoseError(ValueError):
    """What is wrong with a pose, and the path of keys and indices to it."""

    def __init__(self, path: tuple[str | int, ...], message: str):
        self.path = path
        where = place_in_words(path)
        super().__init__(f"{where}: {message}" if where else message[0].upper() + message[1:])


def most_people(frames: Sequence[Frame]) -> int:
    """How many people the fullest frame has."""
    return max((len(frame.people) for frame in frames), default=0)


def check_person(frames: Sequence[Frame], person: int) -> None:
    """Raise PoseError where no frame has the person of that number, counted from 1; 0 means all."""
    if person > most_people(frames):
        raise PoseError((), f"there is no person {person}; no frame has more than {most_people(frames)}.")


# Keys whose value is a list, and what one of its entries is called.
ENTRIES = {
    "people": "person",
    "animals": "animal",
    "annotations": "annotation",
    "instances": "instance",
    "instance_info": "instance",
    "bodies": "body",
    "keypoints": "point",
}


def place_in_words(path: tuple[str | int, ...]) -> str:
    """The path in words, counted from 1: "frame 3, person 2, face_keypoints_2d"."""
    words, entry = [], "frame"
    for step in path:
        if isinstance(step, int):
            words.append(f"{entry} {step + 1}")
        elif step not in ENTRIES or step == path[-1]:
            words.append(step)
        entry = ENTRIES.get(step, "frame") if isinstance(step, str) else "point"
    return ", ".join(words)
