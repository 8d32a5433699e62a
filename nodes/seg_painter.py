"""Segmentation maps for ControlNets, painted class by class with masks."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..delta.hints.ade20k import ADE20K_COLOURS
from ..delta.hints.seg_painter import UNLABELLED, paint_class
from . import menu
from .host import run

MAX_SIZE = 8192


class SegPainter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSegPainter",
            display_name="Segmentation Painter",
            category=menu.HINTS,
            description="Paints a mask in the colour by which segmentation models know a class of ADE20K. Chain "
            "several to build a map; later ones cover earlier ones.",
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="Where it is above 0.5, the class is painted. It is resized without blending. One mask, or one for "
                    "each map.",
                ),
                io.Combo.Input(
                    "class_name",
                    options=list(ADE20K_COLOURS),
                    default="person",
                    tooltip="One of the 150 classes of ADE20K. Road and skyscraper have the same colour, as published.",
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=MAX_SIZE,
                    step=8,
                    tooltip=f"From 0 to {MAX_SIZE} pixels, 0 for the mask's own: the width of a new map. Not used "
                    "with previous.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=MAX_SIZE,
                    step=8,
                    tooltip=f"From 0 to {MAX_SIZE} pixels, 0 for the mask's own: the height of a new map. Not used "
                    "with previous.",
                ),
                io.Combo.Input(
                    "background",
                    options=[UNLABELLED, *ADE20K_COLOURS],
                    default=UNLABELLED,
                    tooltip="The class of a new map where the mask is black. Not used with previous.",
                ),
                io.Image.Input(
                    "previous",
                    optional=True,
                    tooltip="A map to paint on, from another Segmentation Painter. One, or one for each mask.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="map",
                    tooltip="The segmentation map, in pure class colours. For models trained on ADE20K: "
                    "control_v11p_sd15_seg, SDXL seg, segment of a union model.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        mask: torch.Tensor,
        class_name: str,
        width: int,
        height: int,
        background: str,
        previous: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(paint_class(mask, class_name, previous, width, height, background, run.progress()))


NODES = [SegPainter]
