"""Keypoints of OpenPose: which numbers each part of a person has, what is joined to what, and in which colour.

Orders, limbs and colours are those of OpenPose's COCO model and of the ControlNet annotator, which pose ControlNets
were trained on. "Left" is the person's own left.
"""

from __future__ import annotations

import colorsys
from typing import NamedTuple

Colour = tuple[int, int, int]


class PartFormat(NamedTuple):
    """A part of a person in OpenPose's JSON: the name in `delta.pose.poses.Person`, and how many points it may have."""

    name: str
    counts: tuple[int, ...]


PARTS = {
    "pose_keypoints_2d": PartFormat("body", (18, 25)),
    "face_keypoints_2d": PartFormat("face", (68, 70)),
    "hand_left_keypoints_2d": PartFormat("left_hand", (21,)),
    "hand_right_keypoints_2d": PartFormat("right_hand", (21,)),
    "foot_keypoints_2d": PartFormat("feet", (6,)),
}
# Nose, neck, arms and legs, eyes and ears of BODY_25 in the order of the COCO model, which has no middle of the hips.
BODY_25_TO_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
# Big toe, small toe and heel of the left, then of the right foot, as in `foot_keypoints_2d`.
FEET_OF_BODY_25 = slice(19, 25)

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

# From the wrist (0) along the four bones of each finger, thumb first.
BONES = [(bone - 1 if bone % 4 != 1 else 0, bone) for bone in range(1, 21)]
BONE_COLOURS: list[Colour] = [
    tuple(int(255 * channel) for channel in colorsys.hsv_to_rgb(index / len(BONES), 1, 1))
    for index in range(len(BONES))
]
HAND_COLOUR: Colour = (0, 0, 255)
FACE_COLOUR: Colour = (255, 255, 255)
