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


def test_cancel_stops_between_the_frames(host):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        draw(host, crowd(1) * 2)


def test_what_is_refused(host):
    with pytest.raises(ValueError, match="The pose holds no frames"):
        draw(host, [])
    with pytest.raises(ValueError, match="Line 1, column 1: this is no JSON"):
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
