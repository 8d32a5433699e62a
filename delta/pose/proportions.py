"""The proportions of one person put on the poses of another: bones keep their directions and take other lengths.

A bone is foreshortened in a picture, so its length is taken from where it looks longest: over both sides of the body and,
in a video, over all frames. Every bone is then multiplied by one ratio in all frames, which keeps the motion and the
foreshortening. (The way of Wan 2.2 Animate's and UniAnimate's alignment to the reference, there from the first frame.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .people import Frame, Person, PoseError, check_person, most_people, parts_of
from .poses import canvas_of_frame
from .reading import Reading

NECK, NOSE, RIGHT_HIP, LEFT_HIP = 1, 0, 8, 11
HIPS = "hips"
# Joints that move with another one, from it outwards, and of which measure their bone is. HIPS is the middle of both.
BONES = (
    (HIPS, NECK, "torso"),
    (HIPS, RIGHT_HIP, "width of the hips"), (HIPS, LEFT_HIP, "width of the hips"),
    (NECK, 2, "width of the shoulders"), (NECK, 5, "width of the shoulders"),
    (2, 3, "upper arms"), (5, 6, "upper arms"), (3, 4, "forearms"), (6, 7, "forearms"),
    (RIGHT_HIP, 9, "thighs"), (LEFT_HIP, 12, "thighs"), (9, 10, "lower legs"), (12, 13, "lower legs"),
    (NECK, NOSE, "neck"),
    (NOSE, 14, "head"), (NOSE, 15, "head"), (NOSE, 16, "head"), (NOSE, 17, "head"),
)  # fmt: skip
# By what a head is measured: from the nose to an ear, which is about as long from the front and from the side; else to an eye.
HEAD_ENDS = ((16, 17), (14, 15))
# The first that both people have tells how large they are.
SIZES = ("torso", "width of the shoulders", "upper arms", "thighs", "head")
# What goes with a joint of the body, and whose ratio it takes where it is not measured itself.
ATTACHED = {"right_hand": (4, "forearms"), "left_hand": (7, "forearms"), "face": (NOSE, "head")}
FEET_JOINTS = (13, 13, 13, 10, 10, 10)
ANCHORS = {"feet": (10, 13), HIPS: (RIGHT_HIP, LEFT_HIP), "neck": (NECK,)}


def with_proportions(
    frames: Sequence[Frame],
    reference: Sequence[Frame],
    amount: float = 1.0,
    *,
    keep_size: bool = True,
    stay: str = "feet",
    person: int = 0,
) -> tuple[list[Frame], list[str]]:
    """Frames whose people have the proportions of the first person of the reference, and lines of what was done.

    amount: 0 changes nothing, 1 takes the proportions whole, between them ratios go over geometrically. keep_size: the
    torso stays as long as it is; else lengths become the reference's in pixels. stay: which of `ANCHORS` stays where it
    is; where it is not seen the next one does. person: the number of the only one that changes, from 1, or 0 for all.
    Raises PoseError without a canvas, without a body in the reference, and for people of whom nothing can be compared.
    """
    example, extent = _first_body(reference)
    wanted = _measures([(example, extent)])
    check_person(frames, person)
    reading = Reading()
    ratios = {}
    for place in range(most_people(frames)) if person == 0 else [person - 1]:
        seen = [(f.people[place], _extent(f, index)) for index, f in enumerate(frames) if place < len(f.people)]
        ratios[place] = _ratios(_measures(seen), wanted, amount, keep_size, place, reading)
    changed = []
    for index, frame in enumerate(frames):
        extent = _extent(frame, index)
        people = [
            _reshaped(each, ratios[place], extent, stay) if place in ratios else each
            for place, each in enumerate(frame.people)
        ]
        changed.append(replace(frame, people=people))
    return changed, [*_described(ratios), *reading.lines()]


def _extent(frame: Frame, index: int) -> np.ndarray:
    return np.array(canvas_of_frame(frame, (index,))[::-1], dtype=np.float64)


def _first_body(frames: Sequence[Frame]) -> tuple[Person, np.ndarray]:
    for index, frame in enumerate(frames):
        for person in frame.people:
            if person.body is not None:
                return person, _extent(frame, index)
    raise PoseError(
        (),
        "the pose connected to proportions contains no body. Connect a pose of the person whose proportions you want.",
    )


def _joints(body: np.ndarray, extent: np.ndarray) -> dict[int | str, np.ndarray]:
    """Where the joints that are seen lie, in pixels, and the middle of the hips."""
    joints: dict[int | str, np.ndarray] = {int(i): body[i, :2] * extent for i in np.flatnonzero(body[:, 2] > 0)}
    if RIGHT_HIP in joints and LEFT_HIP in joints:
        joints[HIPS] = (joints[RIGHT_HIP] + joints[LEFT_HIP]) / 2
    return joints


def _measures(people: Sequence[tuple[Person, np.ndarray]]) -> dict[str, float]:
    """The longest that each kind of bone looks, in pixels."""
    measures: dict[str, float] = {}
    for person, extent in people:
        found = list(_lengths(person, extent))
        for name, length in found:
            measures[name] = max(measures.get(name, 0.0), float(length))
    return {name: length for name, length in measures.items() if length > 0}


def _lengths(person: Person, extent: np.ndarray):
    if person.body is not None:
        joints = _joints(person.body, extent)
        for start, end, name in BONES:
            if name != "head" and start in joints and end in joints:
                yield name, np.hypot(*(joints[end] - joints[start]))
        ends = next((ends for ends in HEAD_ENDS if any(end in joints for end in ends)), ())
        for end in ends:
            if NOSE in joints and end in joints:
                yield (
                    "head to the ears" if ends is HEAD_ENDS[0] else "head to the eyes",
                    np.hypot(*(joints[end] - joints[NOSE])),
                )
    for name in ("right_hand", "left_hand"):
        hand = getattr(person, name)
        # From the wrist to the knuckle of the middle finger, which does not bend.
        if hand is not None and (hand[[0, 9], 2] > 0).all():
            yield "hands", np.hypot(*((hand[9, :2] - hand[0, :2]) * extent))


def _ratios(
    own: dict[str, float], wanted: dict[str, float], amount: float, keep_size: bool, place: int, reading: Reading
) -> dict[str, float]:
    """By how much each kind of bone is multiplied. What cannot be compared keeps the proportion it has to the rest."""
    own, wanted = _with_head(own, wanted)
    size = next((name for name in SIZES if name in own and name in wanted), None)
    if size is None:
        if own:
            raise PoseError(
                ("people", place),
                "this person shares no visible parts with the pose connected to proportions, so "
                "there is nothing to compare.",
            )
        return {}
    whole = wanted[size] / own[size]
    unit = 1.0 if keep_size else whole
    names = dict.fromkeys([name for *_, name in BONES] + ["hands"])
    ratios = {}
    for name in names:
        if name in own and name in wanted:
            ratios[name] = (wanted[name] / own[name] / (whole if keep_size else 1.0)) ** amount
        elif name in own:
            ratios[name] = unit**amount
            reading.note(
                ("people", place), f"{name}: not visible in the pose connected to proportions, so left as they are."
            )
    ratios["rest"] = unit**amount
    return ratios


def _with_head(own: dict[str, float], wanted: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """The measures with the head by whatever both have."""
    key = next((key for key in ("head to the ears", "head to the eyes") if key in own and key in wanted), None)
    return tuple({**m, "head": m[key]} if key else m for m in (own, wanted))


def _reshaped(person: Person, ratios: dict[str, float], extent: np.ndarray, stay: str) -> Person:
    if person.body is None or not ratios:
        return person
    joints = _joints(person.body, extent)
    moved = _moved_joints(joints, ratios)
    shift = _shift(joints, moved, stay)
    parts = {name: points.copy() for name, points in parts_of(person).items()}
    for joint, xy in moved.items():
        if joint != HIPS:
            parts["body"][joint, :2] = (xy + shift) / extent

    def follow(points: np.ndarray, rows: Sequence[int], joint: int, ratio: float) -> None:
        """Points of a hand, a face or a foot go with their joint and grow from it."""
        if joint not in joints:
            return
        seen = [row for row in rows if points[row, 2] > 0]
        xy = points[seen, :2] * extent
        points[seen, :2] = ((xy - joints[joint]) * ratio + moved[joint] + shift) / extent

    for name, (joint, ratio) in ATTACHED.items():
        if name in parts:
            wanted = ratios.get("hands") if name != "face" else None
            follow(parts[name], range(len(parts[name])), joint, wanted or ratios.get(ratio, ratios["rest"]))
    if "feet" in parts:
        for row, joint in enumerate(FEET_JOINTS):
            follow(parts["feet"], [row], joint, ratios.get("lower legs", ratios["rest"]))
    return Person(**parts)


def _moved_joints(joints: dict[int | str, np.ndarray], ratios: dict[str, float]) -> dict[int | str, np.ndarray]:
    """Joints from the hips outwards, each as far from the one before as its bone is now long.

    What hangs at a joint that is not seen goes with the nearest one that is, in the proportion of the rest.
    """
    root = HIPS if HIPS in joints else next(iter(joints))
    moved = {root: joints[root]}
    for start, end, name in BONES:
        if end not in joints or end in moved:
            continue
        base = start if start in moved else _nearest(joints[end], {joint: joints[joint] for joint in moved})
        ratio = ratios.get(name, ratios["rest"]) if base == start else ratios["rest"]
        moved[end] = moved[base] + (joints[end] - joints[base]) * ratio
    return moved


def _nearest(xy: np.ndarray, joints: dict[int | str, np.ndarray]) -> int | str:
    return min(joints, key=lambda joint: float(np.hypot(*(joints[joint] - xy))))


def _shift(before: dict, after: dict, stay: str) -> np.ndarray:
    """What takes the middle of the anchor back, and the lower foot to its height."""
    names = [stay, *(name for name in ANCHORS if name != stay)]
    found = next((seen for name in names if (seen := [j for j in ANCHORS[name] if j in after])), None)
    if found is None:
        return np.zeros(2)
    old, new = (np.array([joints[joint] for joint in found]) for joints in (before, after))
    shift = old.mean(0) - new.mean(0)
    if found[0] in ANCHORS["feet"]:
        # Also in a stride, in which the other foot is in the air.
        shift[1] = old[:, 1].max() - new[:, 1].max()
    return shift


def _described(ratios: dict[int, dict[str, float]]) -> list[str]:
    return [
        f"Person {place + 1}: "
        + ", ".join(f"{name} x {ratio:.2f}" for name, ratio in each.items() if name != "rest")
        + "."
        for place, each in ratios.items()
        if each
    ]
