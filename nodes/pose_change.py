"""Poses changed: scaled, moved, mirrored, with the proportions of another person, and by hand."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.pose.change import transform
from ..delta.pose.json_text import STANDING_PERSON, understand_any
from ..delta.pose.poses import to_keypoints
from ..delta.pose.proportions import ANCHORS, with_proportions
from ..delta.pose.writing import edited_pose
from ..delta.report_text import markdown
from . import menu
from .inputs import widget_input
from .pose_inputs import (
    PoseType,
    known_size,
    lines,
    person_input,
    pose_input,
    report_output,
    size_image_input,
)


def _pose_outputs() -> list[io.Output]:
    return [
        PoseType.Output(display_name="pose", tooltip="The pose in pixels, for Draw Pose and Pose To JSON."),
        report_output(),
    ]


class TransformPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaTransformPose",
            display_name="Transform Pose",
            category=menu.HINTS,
            description="Mirrors, scales and moves poses, all people or one of them.",
            inputs=[
                pose_input(),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.05,
                    max=20.0,
                    step=0.05,
                    tooltip="From 0.05 to 20: how many times as large, from the centre that `around` sets.",
                ),
                io.Float.Input(
                    "move_x",
                    default=0.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    tooltip="From -2 to 2 widths of the picture: how far to the right; negative moves to the left.",
                ),
                io.Float.Input(
                    "move_y",
                    default=0.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    tooltip="From -2 to 2 heights of the picture: how far down; negative moves up.",
                ),
                io.Boolean.Input(
                    "mirror",
                    default=False,
                    tooltip="Left becomes right, about the centre that `around` sets. Joints, hands, faces and "
                    "feet change sides with their colours, so that a front view stays a front view.",
                ),
                io.Combo.Input(
                    "around",
                    options=["picture", "person"],
                    default="picture",
                    tooltip="picture: the centre of the picture, so that people keep their positions relative to "
                    "each other. person: the centre of each person.",
                ),
                person_input(),
                io.Boolean.Input(
                    "alone",
                    default=False,
                    tooltip="Leave out everybody except the person whose number is set; with 0 it does nothing.",
                ),
                size_image_input(),
            ],
            outputs=_pose_outputs(),
        )

    @classmethod
    def execute(
        cls,
        pose: Any,
        scale: float,
        move_x: float,
        move_y: float,
        mirror: bool,
        around: str,
        person: int,
        alone: bool,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        read = understand_any(pose, known_size(image, 0, 0))
        own_middle = {"picture": False, "person": True}[around]
        frames = transform(
            read.frames, scale, (move_x, move_y), mirror, own_middle=own_middle, person=person, alone=alone
        )
        return io.NodeOutput(to_keypoints(frames), markdown(read.report()))


class PoseProportions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseProportions",
            display_name="Pose Proportions",
            category=menu.HINTS,
            description="Gives the poses of one person the proportions of another: bones keep their directions and "
            "change their lengths; hands and face follow. For videos that drive a figure of another "
            "build.",
            inputs=[
                pose_input(tooltip="The poses to keep, one picture or the frames of a video."),
                pose_input(
                    "proportions",
                    tooltip="A pose of the person whose proportions you want, ideally standing and seen from the "
                    "front. The first person of the first picture is used.",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="From 0 to 1.5: how far bones go towards the other lengths. 0 changes nothing, 1 goes "
                    "all the way, above 1 exaggerates.",
                ),
                io.Combo.Input(
                    "size",
                    options=["pose", "proportions"],
                    default="pose",
                    tooltip="pose: the torso stays as long as it is, so the person stays about as large. proportions: bones become "
                    "as long as those of the other person, in pixels.",
                ),
                io.Combo.Input(
                    "stay",
                    options=list(ANCHORS),
                    default="feet",
                    tooltip="What stays where it is in each frame: the lower foot, the hips or the neck. Where it "
                    "is not visible, the next one does.",
                ),
                person_input(),
                size_image_input(),
            ],
            outputs=_pose_outputs(),
        )

    @classmethod
    def execute(
        cls,
        pose: Any,
        proportions: Any,
        amount: float,
        size: str,
        stay: str,
        person: int,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        read = understand_any(pose, known_size(image, 0, 0))
        example = understand_any(proportions)
        keep_size = {"pose": True, "proportions": False}[size]
        frames, notes = with_proportions(
            read.frames, example.frames, amount, keep_size=keep_size, stay=stay, person=person
        )
        return io.NodeOutput(to_keypoints(frames), lines(read.report(), *notes))


class PoseEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaPoseEditor",
            display_name="Pose Editor",
            category=menu.HINTS,
            description="Edits poses by hand: drag points, hide limbs, add people. Begins with a standing person, or with a "
            "connected pose.",
            inputs=[
                widget_input(
                    "STYLEDELTA_POSE_EDITOR",
                    "edited",
                    default=STANDING_PERSON,
                    tooltip="The edited pose. As text: JSON as Pose From JSON reads it; an empty one passes the connected pose on.",
                ),
                pose_input(
                    tooltip="A pose to begin with. Clear the JSON and run once, or press Take what was read after a run.",
                    optional=True,
                ),
                size_image_input(),
            ],
            outputs=_pose_outputs(),
        )

    @classmethod
    def execute(cls, edited: str, pose: Any = None, image: torch.Tensor | None = None) -> io.NodeOutput:
        size = known_size(image, 0, 0)
        read, offered = edited_pose(edited, pose, size)
        return io.NodeOutput(to_keypoints(read.frames), markdown(read.report()), ui={"styledelta_pose": [offered]})


NODES = [TransformPose, PoseProportions, PoseEditor]
