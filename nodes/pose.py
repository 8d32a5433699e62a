"""Poses for ControlNets: keypoints drawn, read from JSON and written as JSON."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.pose.drawing import LONGEST_SIDE, DrawOptions, draw_poses, picture_size, unsure_lines
from ..delta.pose.json_text import STANDING_PERSON, to_keypoints_of_text, understand_any, understand_text
from ..delta.pose.writing import WRITERS, written_pose
from ..delta.report_text import markdown
from . import menu
from .host import run
from .pose_inputs import PoseType, known_size, lines, pose_input, report_output, size_image_input


def _side_input(name: str, other: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=LONGEST_SIDE,
        step=8,
        tooltip=f"From 0 to 8192 pixels. 0 uses the pose's canvas, or follows from the {other} where that is set. A "
        "canvas with other proportions is fitted in whole and centred.",
    )


def _canvas_side_input(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=LONGEST_SIDE,
        optional=True,
        tooltip=f"From 0 to 8192 pixels: the {name} of the picture, for poses that do not give it. Set both, or "
        "connect image.",
    )


class DrawPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaDrawPose",
            display_name="Draw Pose",
            category=menu.HINTS,
            description="Draws keypoints of people as OpenPose does: coloured limbs and joints, hands and faces on black; "
            "animals in the skeleton of AP-10K. Parts and points that are missing are left out.",
            inputs=[
                pose_input(),
                _side_input("width", "height"),
                _side_input("height", "width"),
                io.Boolean.Input(
                    "body",
                    default=True,
                    tooltip="Draw limbs and joints, and animals. Off, only hands, faces and feet are drawn.",
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
                    tooltip="From 0 to 1. Points with a lower confidence are left out, along with the limbs that "
                    "end there.",
                ),
                io.Boolean.Input(
                    "feet",
                    default=False,
                    optional=True,
                    tooltip="Draw the points of feet, as ComfyUI's SDPose node does. Most models have never seen any.",
                ),
                size_image_input(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="One picture per frame, for Apply ControlNet (StyleDelta) with an OpenPose model: control_v11p_sd15_openpose, "
                    "T2I-Adapter openpose, xinsir's openpose or union for SDXL, a Flux union set to pose.",
                ),
                report_output(),
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
        feet: bool = False,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        read = understand_any(pose, known_size(image, height, width))
        options = DrawOptions(body, hands, face, stick_width, min_confidence, feet)
        pictures = draw_poses(read.frames, *picture_size(read.frames, height, width), options, run.progress())
        return io.NodeOutput(pictures, lines(read.report(), *unsure_lines(read.frames, min_confidence)))


class PoseFromJson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseFromJson",
            display_name="Pose From JSON",
            category=menu.HINTS,
            description="Reads keypoints of people from JSON, as OpenPose, pose editors, detectors and data sets save it, to be "
            "drawn or edited by hand.",
            inputs=[
                io.String.Input(
                    "text",
                    default=STANDING_PERSON,
                    multiline=True,
                    # Braces belong to the JSON and are no choices of a prompt.
                    dynamic_prompts=False,
                    tooltip="The JSON of one frame or a list of frames: OpenPose with 17 to 136 points for a person, the first "
                    "pose editors, scenes of the 3-D editor, COCO, mmpose, MediaPipe, WanAnimate. Each point is x, y, "
                    "confidence, in pixels or from 0 to 1. Parts may be missing.",
                ),
                _canvas_side_input("width"),
                _canvas_side_input("height"),
                size_image_input(),
            ],
            outputs=[
                PoseType.Output(
                    display_name="pose",
                    tooltip="The keypoints in pixels, for Draw Pose and every node that takes POSE_KEYPOINT.",
                ),
                report_output(),
            ],
        )

    @classmethod
    def execute(cls, text: str, width: int = 0, height: int = 0, image: torch.Tensor | None = None) -> io.NodeOutput:
        read = understand_text(text, known_size(image, height, width))
        return io.NodeOutput(to_keypoints_of_text(read, text), markdown(read.report()))


class PoseToJson(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseToJson",
            display_name="Pose To JSON",
            category=menu.HINTS,
            description="Writes keypoints of people as OpenPose JSON that is easy to edit, with one line for each part, as "
            "DWPose of comfyui_controlnet_aux gives them, or as WanAnimate's metadata.",
            inputs=[
                pose_input(),
                io.Combo.Input(
                    "form",
                    options=list(WRITERS),
                    default="OpenPose",
                    optional=True,
                    tooltip="OpenPose: an object for one frame, a list for several, in pixels with 2 decimals. DWPose: always a "
                    "list, null for a missing part, confidences 0 or 1. WanAnimate: a list of keypoints_body and so on, from "
                    "0 to 1, for one person in each frame.",
                ),
                size_image_input(),
            ],
            outputs=[
                io.String.Output(
                    display_name="text",
                    tooltip="The JSON. Show it with Preview as Text and copy it into Pose From JSON.",
                ),
                report_output(),
            ],
        )

    @classmethod
    def execute(cls, pose: Any, form: str = "OpenPose", image: torch.Tensor | None = None) -> io.NodeOutput:
        text, notes = written_pose(pose, form, known_size(image, 0, 0))
        return io.NodeOutput(text, lines(*notes))


NODES = [DrawPose, PoseFromJson, PoseToJson]
