"""Inputs that the pose nodes share."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..delta.report_text import markdown

PoseType = io.Custom("POSE_KEYPOINT")
# What is read as a pose: also the poses of WanAnimate's preprocessing, and JSON as text.
AnyPoseType = io.Custom("POSE_KEYPOINT,POSEDATA,STRING")
REPORT_TOOLTIP = "What was read, and what was left out and why. Show it with Preview as Text."


def pose_input(name: str = "pose", tooltip: str = "", optional: bool = False) -> io.Input:
    return AnyPoseType.Input(
        name,
        optional=optional,
        tooltip=tooltip
        or "Keypoints of people, one picture or the frames of a video: from Pose From JSON, core's SDPose Keypoint "
        "Extractor, or the pose estimators of comfyui_controlnet_aux; also WanAnimate's pose data, or JSON as text.",
    )


def size_image_input() -> io.Input:
    return io.Image.Input(
        "image",
        optional=True,
        tooltip="The picture that the pose was found in. Its size is used where the pose gives none.",
    )


def person_input() -> io.Input:
    return io.Int.Input(
        "person",
        default=0,
        min=0,
        max=100,
        tooltip="From 0 to 100: the number of the one person to change, in the order of the pose, or 0 for all.",
    )


def report_output() -> io.Output:
    return io.String.Output(display_name="report", tooltip=REPORT_TOOLTIP)


def known_size(image: torch.Tensor | None, height: int, width: int) -> tuple[int, int] | None:
    """Height and width for a pose that says none: those of the picture, else the given ones where both are."""
    if image is not None:
        return int(image.shape[1]), int(image.shape[2])
    return (height, width) if height and width else None


def lines(*texts: str) -> str:
    """A report of these parts, as Markdown; empty ones are left out."""
    return markdown("\n".join(text for text in texts if text))
