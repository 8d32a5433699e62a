"""Pose nodes in the real host, with ComfyUI's own pose nodes, and over the server."""

import inspect
import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

DRAW = {
    "width": 0,
    "height": 0,
    "body": True,
    "hands": True,
    "face": True,
    "stick_width": 4.0,
    "min_confidence": 0.3,
}
PARTS = {
    "pose_keypoints_2d": 18,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}
CORE_DRAW = {
    "draw_body": True,
    "draw_hands": True,
    "draw_face": True,
    "draw_feet": False,
    "stick_width": 4,
    "face_point_size": 3,
    "score_threshold": 0.3,
    "draw_head": True,
}


@pytest.fixture
def core(host):
    """The module of ComfyUI's SDPose nodes."""
    try:
        return inspect.getmodule(host.node("SDPoseDrawKeypoints"))
    except KeyError:
        pytest.skip("This version of ComfyUI has no SDPoseDrawKeypoints.")


def default_text(host) -> str:
    return host.node("StyleDeltaPoseFromJson").INPUT_TYPES()["required"]["text"][1]["default"]


def from_json(host, text: str) -> list[dict]:
    return host.node("StyleDeltaPoseFromJson").execute(text).args[0]


def draw(host, pose, **changes) -> torch.Tensor:
    return host.node("StyleDeltaDrawPose").execute(pose, **DRAW | changes).args[0]


def crowd(people: int) -> list[dict]:
    """One frame of people with all parts, on 512 x 512 pixels."""
    generator = np.random.default_rng(1)

    def part(count: int) -> list[float]:
        points = generator.integers(20, 492, (count, 2))
        return np.concatenate([points, np.ones((count, 1))], 1).reshape(-1).tolist()

    persons = [{name: part(count) for name, count in PARTS.items()} for _ in range(people)]
    return [{"people": persons, "canvas_height": 512, "canvas_width": 512}]


def assert_same_lines(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """What one picture shows is at most a pixel from what the other shows; core neither dims limbs nor smooths."""
    assert ours.shape == theirs.shape and theirs.max() == 1
    lit = [(picture.amax(-1) > 0.25).float() for picture in (ours, theirs)]
    for one, other in (lit, lit[::-1]):
        assert (one > F.max_pool2d(other, 3, 1, 1)).sum() < 0.005 * one.sum()


def test_the_default_text_is_a_person(host):
    text = default_text(host)
    picture = draw(host, from_json(host, text))
    assert picture.shape == (1, 768, 512, 3) and picture.dtype == torch.float32
    # Right shoulder, and the middle of the trunk's right limb at 60 %.
    assert (picture[0, 204, 196] * 255).tolist() == [255, 170, 0]
    assert (picture[0, 299, 239] * 255).round().tolist() == [0, 153, 0]
    assert host.node("StyleDeltaPoseToJson").execute(from_json(host, text)).args[0] == text


def test_the_text_is_no_prompt_with_choices(host):
    assert host.node("StyleDeltaPoseFromJson").INPUT_TYPES()["required"]["text"][1]["dynamicPrompts"] is False


def test_sizes_and_parts(host):
    pose = crowd(2)
    assert draw(host, pose, width=1024).shape == (1, 1024, 1024, 3)
    assert draw(host, pose, width=768, height=512).shape == (1, 512, 768, 3)
    assert draw(host, pose, body=False, hands=False, face=False).max() == 0
    assert draw(host, pose, min_confidence=1.0).max() == 1
    assert draw(host, pose * 3).shape == (3, 512, 512, 3)


def run_node(host, name: str, *args, **inputs) -> tuple:
    return host.node(name).execute(*args, **inputs).args


def test_reports_say_what_was_read_and_left_out(host):
    body = json.loads(default_text(host))["people"][0]["pose_keypoints_2d"]
    unsure = [number if index % 3 < 2 or index > 5 else 0.1 for index, number in enumerate(body)]
    data = {"people": [{"pose_keypoints_2d": unsure, "face_keypoints_2d": [300, 300, 1] * 56}]}
    pictures, report = run_node(host, "StyleDeltaDrawPose", data, **DRAW | {"width": 512, "height": 768})
    assert pictures.shape == (1, 768, 512, 3)
    assert "bodies: 1, faces: 1" in report and "512 x 768 was used" in report and "56 points instead of 68" in report
    assert "2 of 74 points have a confidence below 0.3" in report
    _, report = run_node(host, "StyleDeltaPoseFromJson", json.dumps(data), image=torch.zeros(1, 768, 512, 3))
    assert "512 x 768 was used" in report
    pose, _ = run_node(host, "StyleDeltaPoseFromJson", json.dumps(data), 512, 768)
    assert pose[0]["canvas_height"] == 768
    with pytest.raises(ValueError, match="set width and height"):
        run_node(host, "StyleDeltaPoseFromJson", json.dumps(data))


def test_feet_are_drawn_when_asked_for(host):
    feet = {"people": [{"foot_keypoints_2d": [100, 100, 1] * 6}], "canvas_width": 512, "canvas_height": 512}
    assert draw(host, feet).max() == 0 and draw(host, feet, feet=True).max() == 1


def test_core_reads_dwposes_form(host, core):
    text, _ = run_node(host, "StyleDeltaPoseToJson", crowd(2), "DWPose")
    theirs = core.SDPoseDrawKeypoints.execute(json.loads(text), **CORE_DRAW).args[0]
    assert_same_lines(draw(host, crowd(2)), theirs)


def test_a_mirrored_pose_is_the_mirrored_picture_but_for_colours(host):
    pose = from_json(host, default_text(host))
    settings = {"scale": 1.0, "move_x": 0.0, "move_y": 0.0, "around": "picture", "person": 0, "alone": False}
    mirrored, _ = run_node(host, "StyleDeltaTransformPose", pose, mirror=True, **settings)
    # The middle of a pixel is mirrored to the middle of the one beside it.
    assert_same_lines(draw(host, mirrored), draw(host, pose).flip(2).roll(1, 2))
    twice, _ = run_node(host, "StyleDeltaTransformPose", mirrored, mirror=True, **settings)
    assert twice == pose
    smaller, _ = run_node(host, "StyleDeltaTransformPose", pose, mirror=False, **settings | {"scale": 0.5})
    assert smaller[0]["people"][0]["pose_keypoints_2d"][:2] == [256.0, 257.0]


def test_proportions_of_another_person(host):
    pose = from_json(host, default_text(host))
    settings = {"amount": 1.0, "size": "pose", "stay": "feet", "person": 0}
    same, report = run_node(host, "StyleDeltaPoseProportions", pose, pose, **settings)
    assert same == pose and "thighs x 1.00" in report
    body = list(json.loads(default_text(host))["people"][0]["pose_keypoints_2d"])
    for ankle, knee in ((10, 9), (13, 12)):
        body[3 * ankle + 1] = (body[3 * ankle + 1] + body[3 * knee + 1]) / 2
    short = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 512, "canvas_height": 768}
    changed, report = run_node(host, "StyleDeltaPoseProportions", pose * 2, json.dumps(short), **settings)
    assert len(changed) == 2 and "lower legs x 0.5" in report


def test_cancel_stops_between_the_frames(host):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        draw(host, crowd(1) * 2)


def test_what_is_refused(host):
    with pytest.raises(ValueError, match="The pose holds no frames"):
        draw(host, [])
    with pytest.raises(ValueError, match="Line 1, column 1: this is not valid JSON"):
        from_json(host, "not a pose")


def test_core_draws_what_we_write(host, core):
    """Also incomplete people, on which it fails when a part is None."""
    text = default_text(host)
    for pose in (from_json(host, text), from_json(host, json.dumps(crowd(2)))):
        theirs = core.SDPoseDrawKeypoints.execute(pose, **CORE_DRAW).args[0]
        assert_same_lines(draw(host, pose), theirs)


def test_what_core_detects_is_drawn(host, core):
    generator = np.random.default_rng(1)
    # Whole pixels, to which it rounds down.
    keypoints = generator.integers(20, 480, (2, 1, 133, 2)).astype(np.float32)
    scores = np.full((2, 1, 133), 0.9, dtype=np.float32)
    # What its heatmaps do not show.
    keypoints[0, 0, :20], scores[0, 0, :20] = -1, -0.1
    pose = core._to_openpose_frames(keypoints, scores, 512, 512)
    assert_same_lines(draw(host, pose), core.SDPoseDrawKeypoints.execute(pose, **CORE_DRAW).args[0])


def test_over_the_server(server, host):
    prompt = {
        "pose": {"class_type": "StyleDeltaPoseFromJson", "inputs": {"text": default_text(host)}},
        "draw": {"class_type": "StyleDeltaDrawPose", "inputs": {"pose": ["pose", 0], **DRAW}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["draw", 0]}},
        "json": {"class_type": "StyleDeltaPoseToJson", "inputs": {"pose": ["pose", 0]}},
        "text": {"class_type": "PreviewAny", "inputs": {"source": ["json", 0]}},
    }
    outputs = server.run(prompt)
    png = Image.open(io.BytesIO(server.view(**outputs["show"]["images"][0])))
    assert png.size == (512, 768)
    assert png.convert("RGB").getpixel((196, 204)) == (255, 170, 0)
    assert outputs["text"]["text"][0] == default_text(host)


def test_text_takes_the_place_of_a_pose(server, host):
    """As a link from a text, and written into the prompt; as it was before the inputs that came later."""
    text = default_text(host)
    prompt = {
        "text": {"class_type": "StyleDeltaPoseToJson", "inputs": {"pose": json.loads(text)}},
        "draw": {"class_type": "StyleDeltaDrawPose", "inputs": {"pose": ["text", 0], **DRAW}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["draw", 0]}},
        "turn": {
            "class_type": "StyleDeltaTransformPose",
            "inputs": {
                "pose": ["text", 0],
                **{"scale": 1, "move_x": 0.25, "move_y": 0, "mirror": False, "around": "picture", "person": 0},
                "alone": False,
            },
        },
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["turn", 1]}},
    }
    outputs = server.run(prompt)
    png = Image.open(io.BytesIO(server.view(**outputs["show"]["images"][0])))
    assert png.convert("RGB").getpixel((196, 204)) == (255, 170, 0)
    assert outputs["report"]["text"][0] == "Read OpenPose JSON: 1 frame of 512 x 768; bodies: 1."
