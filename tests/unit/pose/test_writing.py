"""Poses are written in three forms, and each reader of such a form gets the same pose."""

import json

import numpy as np
import pytest

from delta.pose.json_text import STANDING_PERSON
from delta.pose.people import PoseError
from delta.pose.poses import read_poses
from delta.pose.writing import written_pose

BODY = json.loads(STANDING_PERSON)["people"][0]["pose_keypoints_2d"]


def pose(**parts) -> dict:
    return {"canvas_width": 512, "canvas_height": 768, "people": [{"pose_keypoints_2d": BODY, **parts}]}


def part(count: int, confidence: float = 1.0) -> list[float]:
    return [number for i in range(count) for number in (20.0 + i, 40.0 + 2 * i, confidence)]


WHOLE = {
    "face_keypoints_2d": part(70),
    "hand_left_keypoints_2d": part(21),
    "hand_right_keypoints_2d": part(21, 0.5),
    "foot_keypoints_2d": part(6),
}


def test_openpose_is_the_first_form():
    text, notes = written_pose(pose(), "OpenPose")
    assert (text, notes) == (STANDING_PERSON, [])


def test_dwposes_points_are_there_or_not():
    text, notes = written_pose(pose(**WHOLE), "DWPose")
    (frame,) = json.loads(text)
    (person,) = frame["people"]
    assert person["pose_keypoints_2d"] == BODY and person["hand_right_keypoints_2d"] == part(21)
    assert notes == ["Confidences were set to 1, because comfyui_controlnet_aux draws nothing below that."]
    (bare,) = json.loads(written_pose(pose(), "DWPose")[0])
    assert bare["people"][0]["face_keypoints_2d"] is None and (bare["canvas_height"], bare["canvas_width"]) == (
        768,
        512,
    )
    animal = {"animals": [part(17)], "canvas_width": 512, "canvas_height": 768}
    (frame,) = json.loads(written_pose(animal, "DWPose")[0])
    assert frame["version"] == "ap10k" and "people" not in frame
    assert frame["animals"][0][1] == [21.0, 42.0, 1.0]


def test_wan_animates_metadata():
    text, notes = written_pose([pose(**WHOLE)] * 2, "WanAnimate")
    first, _ = json.loads(text)
    assert (first["width"], first["height"], notes) == (512, 768, [])
    shapes = {key: np.shape(value) for key, value in first.items() if key.startswith("keypoints")}
    assert shapes == {
        "keypoints_body": (20, 3),
        "keypoints_left_hand": (21, 3),
        "keypoints_right_hand": (21, 3),
        "keypoints_face": (69, 3),
    }
    np.testing.assert_allclose(first["keypoints_body"][0], [256 / 512, 130 / 768, 1], atol=1e-6)
    # The middle of the left toes and of the right ones, and the right heel before the face.
    np.testing.assert_allclose(first["keypoints_body"][18], [20.5 / 512, 41 / 768, 1], atol=1e-6)
    np.testing.assert_allclose(first["keypoints_body"][19], [23.5 / 512, 47 / 768, 1], atol=1e-6)
    np.testing.assert_allclose(first["keypoints_face"][0], [25 / 512, 50 / 768, 1], atol=1e-6)
    np.testing.assert_allclose(first["keypoints_face"][1], [20 / 512, 40 / 768, 1], atol=1e-6)
    assert not np.any(json.loads(written_pose(pose(), "WanAnimate")[0])[0]["keypoints_left_hand"])
    nobody = json.loads(written_pose({**pose(), "people": []}, "WanAnimate")[0])
    assert not np.any(nobody[0]["keypoints_body"])
    two = pose()
    two["people"] *= 2
    with pytest.raises(PoseError, match="WanAnimate supports one person in each frame, and there are 2"):
        written_pose(two, "WanAnimate")
    _, notes = written_pose(pose(face_keypoints_2d=part(56)), "WanAnimate")
    assert "56 points in an unknown order" in notes[0]


@pytest.mark.parametrize("form", ["OpenPose", "DWPose", "WanAnimate"])
def test_what_is_written_is_read(form):
    (expected,) = read_poses(pose(**WHOLE | {"hand_right_keypoints_2d": part(21)}))
    (read,) = read_poses(json.loads(written_pose(pose(**WHOLE | {"hand_right_keypoints_2d": part(21)}), form)[0]))
    assert read.canvas == expected.canvas
    for name in ("body", "left_hand", "right_hand"):
        np.testing.assert_allclose(getattr(read.people[0], name), getattr(expected.people[0], name), atol=1e-6)
    np.testing.assert_allclose(read.people[0].face[:68], expected.people[0].face[:68], atol=1e-6)
