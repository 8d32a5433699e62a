"""Keypoints: which numbers each part of a person has, in which orders detectors write them, what is joined to what, and in
which colour.

Orders, limbs and colours of what is drawn are those of OpenPose's COCO model and of the ControlNet annotator, which pose
ControlNets were trained on; those of animals are AP-10K's. "Left" is the person's own left.
"""

from __future__ import annotations

import colorsys
from typing import NamedTuple

Colour = tuple[int, int, int]
# A number, the two whose middle it is, or None for a point that the order does not have.
Place = int | tuple[int, int] | None

# The parts of a person in OpenPose's JSON, and their names in `delta.pose.people.Person`.
PARTS = {
    "pose_keypoints_2d": "body",
    "face_keypoints_2d": "face",
    "hand_left_keypoints_2d": "left_hand",
    "hand_right_keypoints_2d": "right_hand",
    "foot_keypoints_2d": "feet",
}
BODY_COUNT, HAND_COUNT, FEET_COUNT, ANIMAL_COUNT = 18, 21, 6, 17
# Without and with the pupils.
FACE_COUNTS = (68, 70)


class Order(NamedTuple):
    """In which order a detector writes the points of a person.

    name: its name, or "" for OpenPose's own. body, feet: the place of each of our points in it, and the face and hands
    from the first place up to the last one.
    """

    name: str
    body: tuple[Place, ...]
    feet: tuple[Place, ...] = ()
    face: tuple[int, int] | None = None
    left_hand: tuple[int, int] | None = None
    right_hand: tuple[int, int] | None = None


# COCO has no neck: OpenPose and DWPose take the middle of the shoulders.
_COCO = (0, (5, 6), 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_HALPE = (0, 18, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_HALPE_FEET = (20, 22, 24, 21, 23, 25)
_COCO_MODEL = tuple(range(BODY_COUNT))
# Big toe, small toe and heel of the left, then of the right foot, as in `foot_keypoints_2d`.
_FEET_FROM_17, _FEET_FROM_18, _FEET_FROM_19 = (tuple(range(first, first + 6)) for first in (17, 18, 19))

# By the number of points. COCO, COCO-WholeBody (arXiv 2007.11858), Halpe (arXiv 2211.03375), OpenPose's BODY_25 and COCO
# model, the latter with the middle of the toes by WanAnimate, MediaPipe's pose, DWPose with the neck put in.
ORDERS = {
    17: Order("COCO's 17 points, the neck in the middle of the shoulders", _COCO),
    18: Order("", _COCO_MODEL),
    20: Order("OpenPose's 18 points and the toes", _COCO_MODEL, (18, None, None, 19, None, None)),
    # BODY_25 has a middle of the hips at 8.
    25: Order("", (*range(8), *range(9, 19)), _FEET_FROM_19),
    26: Order("Halpe's 26 points", _HALPE, _HALPE_FEET),
    33: Order(
        "MediaPipe's 33 points, the neck in the middle of the shoulders",
        (0, (11, 12), 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7),
        (31, None, 29, 32, None, 30),
    ),
    133: Order("COCO-WholeBody's 133 points", _COCO, _FEET_FROM_17, (23, 91), (91, 112), (112, 133)),
    134: Order("DWPose's 134 points", _COCO_MODEL, _FEET_FROM_18, (24, 92), (92, 113), (113, 134)),
    136: Order("Halpe's 136 points", _HALPE, _HALPE_FEET, (26, 94), (94, 115), (115, 136)),
}

# Nose, neck, right shoulder, elbow, wrist, left ones, right hip, knee, ankle, left ones, eyes, ears (right first).
LIMBS = [
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
]  # fmt: skip
# Of the joints, and in the same order of the limbs.
BODY_COLOURS: list[Colour] = [
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
]  # fmt: skip
LIMB_BRIGHTNESS = 0.6
# ComfyUI's SDPose nodes go on counting with the joints' colours.
FEET_COLOURS = BODY_COLOURS[:FEET_COUNT]

# From the wrist (0) along the four bones of each finger, thumb first.
BONES = [(bone - 1 if bone % 4 != 1 else 0, bone) for bone in range(1, 21)]
BONE_COLOURS: list[Colour] = [
    tuple(int(255 * channel) for channel in colorsys.hsv_to_rgb(index / len(BONES), 1, 1))
    for index in range(len(BONES))
]
HAND_COLOUR: Colour = (0, 0, 255)
FACE_COLOUR: Colour = (255, 255, 255)

# AP-10K (arXiv 2108.12617): left and right eye, nose, neck, root of the tail, left shoulder, elbow and front paw, right
# ones, left hip, knee and back paw, right ones. Joined and coloured as comfyui_controlnet_aux does.
ANIMAL_LIMBS = [
    (0, 1), (1, 2), (0, 2), (2, 3), (3, 8), (8, 9), (9, 10), (3, 5), (5, 6), (6, 7), (3, 4), (4, 14), (14, 15),
    (15, 16), (4, 11), (11, 12), (12, 13),
]  # fmt: skip
ANIMAL_COLOURS: list[Colour] = [
    (255, 255, 255), (100, 255, 100), (150, 255, 255), (100, 50, 255), (50, 150, 200), (0, 255, 255), (0, 150, 0),
    (0, 0, 255), (0, 0, 150), (255, 50, 255), (255, 0, 255), (255, 0, 0), (150, 0, 0), (255, 255, 100), (0, 150, 0),
    (255, 255, 0), (150, 150, 150),
]  # fmt: skip


def _exchange(count: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    """The places of points in a mirror: those of a pair are exchanged."""
    places = list(range(count))
    for left, right in pairs:
        places[left], places[right] = right, left
    return tuple(places)


BODY_MIRROR = _exchange(BODY_COUNT, (2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
FEET_MIRROR = _exchange(FEET_COUNT, (0, 3), (1, 4), (2, 5))
ANIMAL_MIRROR = _exchange(ANIMAL_COUNT, (0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16))
# iBUG's 68 points: chin, brows, nostrils, eyes, outer and inner lips; and the pupils.
FACE_MIRROR = _exchange(
    70,
    *((i, 16 - i) for i in range(8)),
    *((i, 43 - i) for i in range(17, 22)),
    (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
    (68, 69),
)  # fmt: skip
