"""Poses for ControlNets: keypoints drawn, read from JSON and written as JSON."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.pose.drawing import LONGEST_SIDE, DrawOptions, draw_poses, picture_size
from ..delta.pose.json_text import STANDING_PERSON, parse_pose_json, pose_json
from ..delta.pose.poses import read_poses
from . import menu
from .host import run

PoseType = io.Custom("POSE_KEYPOINT")


def _pose_input() -> io.Input:
    return PoseType.Input(
        "pose",
        tooltip="Keypoints of people, one picture or the frames of a video: from Pose From JSON, core's SDPose Keypoint "
        "Extractor, or the pose estimators of comfyui_controlnet_aux.",
    )


def _side_input(name: str, other: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=LONGEST_SIDE,
        step=8,
        tooltip=f"From 0 to 8192 pixels. 0 takes that of the pose's canvas, or follows from the {other} where that is set. A canvas of "
        "other proportions is fitted in whole and centred.",
    )


class DrawPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaDrawPose",
            display_name="Draw Pose",
            category=menu.HINTS,
            description="Draws keypoints of people as OpenPose does: coloured limbs and joints, hands and faces on black. "
            "Parts and points that are missing are left out.",
            inputs=[
                _pose_input(),
                _side_input("width", "height"),
                _side_input("height", "width"),
                io.Boolean.Input(
                    "body", default=True, tooltip="Draw limbs and joints. Off, only hands and faces are drawn."
                ),
                io.Boolean.Input(
                    "hands",
                    default=True,
                    tooltip="Draw hands. Switch them off for models that were trained on bodies only.",
                ),
                io.Boolean.Input(
                    "face",
                    default=True,
                    tooltip="Draw faces. Switch them off for models that were trained on bodies only, or to leave the "
                    "expression to the prompt.",
                ),
                io.Float.Input(
                    "stick_width",
                    default=4.0,
                    min=0.5,
                    max=32.0,
                    step=0.5,
                    tooltip="Half the width of limbs and the radius of joints, 0.5 to 32 pixels for a shorter side of 512; it grows "
                    "with the picture. 4 is usual; xinsir's SDXL models were trained with 6 at 1024 pixels.",
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="From 0 to 1. Points of which the detector was less sure are left out, with what is joined to "
                    "them.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="One picture per frame, for Apply ControlNet (StyleDelta) with an OpenPose model: control_v11p_sd15_openpose, "
                    "T2I-Adapter openpose, xinsir's openpose or union for SDXL, a Flux union set to pose.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        pose: Any,
        width: int,
        height: int,
        body: bool,
        hands: bool,
        face: bool,
        stick_width: float,
        min_confidence: float,
    ) -> io.NodeOutput:
        frames, options = read_poses(pose), DrawOptions(body, hands, face, stick_width, min_confidence)
        return io.NodeOutput(draw_poses(frames, *picture_size(frames, height, width), options, run.progress()))


class PoseFromJson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseFromJson",
            display_name="Pose From JSON",
            category=menu.HINTS,
            description="Reads keypoints of people from OpenPose JSON, as pose editors and detectors save it, to be drawn or "
            "edited by hand.",
            inputs=[
                io.String.Input(
                    "text",
                    default=STANDING_PERSON,
                    multiline=True,
                    # Braces belong to the JSON and are no choices of a prompt.
                    dynamic_prompts=False,
                    tooltip="The JSON of one frame or a list of frames: canvas_width, canvas_height, and people with "
                    "pose_keypoints_2d of 18 or 25 points, face_keypoints_2d of 68 or 70, hand_left_keypoints_2d and "
                    "hand_right_keypoints_2d of 21; each point is x, y, confidence, in pixels or from 0 to 1. Parts may be "
                    "missing.",
                )
            ],
            outputs=[
                PoseType.Output(
                    display_name="pose",
                    tooltip="The keypoints in pixels, for Draw Pose and every node that takes POSE_KEYPOINT.",
                )
            ],
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        return io.NodeOutput(parse_pose_json(text))


class PoseToJson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseToJson",
            display_name="Pose To JSON",
            category=menu.HINTS,
            description="Writes keypoints of people as OpenPose JSON that is easy to edit, with one line for each part.",
            inputs=[_pose_input()],
            outputs=[
                io.String.Output(
                    display_name="text",
                    tooltip="The JSON, in pixels with 2 decimals: an object for one frame, a list for several. Show it with "
                    "Preview as Text and copy it into Pose From JSON.",
                )
            ],
        )

    @classmethod
    def execute(cls, pose: Any) -> io.NodeOutput:
        return io.NodeOutput(pose_json(pose))


NODES = [DrawPose, PoseFromJson, PoseToJson]
