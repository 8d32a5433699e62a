"""Hints for ControlNets, drawn from a picture without a model."""

from __future__ import annotations

from functools import partial

import torch
from comfy_api.latest import io

from ..delta.hints.batch import Draw, draw_hints
from ..delta.hints.canny import canny
from ..delta.hints.line_art import AUTOMATIC_STROKES, line_art
from ..delta.hints.opencv_canny import opencv_canny
from ..delta.hints.resize import resize_nearest
from ..delta.hints.scribble import scribble
from ..delta.hints.segmentation import COLOURS, METHODS, segment
from ..delta.hints.soft_edge import soft_edge
from ..delta.hints.straight_lines import straight_lines
from . import menu
from .hint_inputs import blur_input, darkness_input, drawing_inputs, hint_output, image_input, resolution_input
from .host import run


def _draw(image: torch.Tensor, draw: Draw, resolution: int, grows: bool = True) -> io.NodeOutput:
    return io.NodeOutput(draw_hints(image, draw, resolution, grows=grows, on_step=run.progress()))


SMOOTH, ANNOTATORS = "smooth", "annotators (OpenCV)"


class Canny(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaCanny",
            display_name="Canny Hint",
            category=menu.HINTS,
            description="Draws the edges of a picture as white lines of 1 pixel. Outlines are closed, and the "
            "thresholds adapt to the picture.",
            inputs=[
                image_input(),
                blur_input(1.0, 0.5, "the blur before edges are detected."),
                io.Boolean.Input(
                    "automatic",
                    default=True,
                    tooltip="Choose both thresholds from the contrasts of each picture; with the method of the annotators, 100 "
                    "and 200. Low and high are then not used.",
                ),
                io.Float.Input(
                    "low",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="From 0 to 1: an edge continues until its contrast falls below this. A hard step from "
                    "black to white is 1. With the method of the annotators it is OpenCV's threshold in "
                    "thousands: 0.1 is 100. Lower gives longer lines.",
                ),
                io.Float.Input(
                    "high",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="From 0 to 1, not below low: an edge needs this contrast somewhere. With the method of the "
                    "annotators 0.2 is 200. Lower gives more lines.",
                ),
                resolution_input("Lines stay whole and 1 pixel wide."),
                io.Combo.Input(
                    "method",
                    options=[SMOOTH, ANNOTATORS],
                    default=SMOOTH,
                    optional=True,
                    tooltip="Smooth blurs first, which leaves out grain and closes outlines. Annotators is what ControlNet's "
                    "own annotator and those of other packs call, pixel for pixel: cv2.Canny on the colours, with 100 and 200 "
                    "and no blur. It draws more fine lines.",
                ),
            ],
            outputs=[
                hint_output(
                    "canny models: control_v11p_sd15_canny, SDXL canny, canny of a union model, Flux canny, T2I canny"
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        blur: float,
        automatic: bool,
        low: float,
        high: float,
        resolution: int,
        method: str = SMOOTH,
    ) -> io.NodeOutput:
        thresholds = None if automatic else (low, high)
        if method == ANNOTATORS:
            draw = partial(opencv_canny, thresholds=thresholds)
        else:
            draw = partial(canny, blur=blur, thresholds=thresholds)
        return _draw(image, draw, resolution)


class SoftEdge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSoftEdge",
            display_name="Soft Edge Hint",
            category=menu.HINTS,
            description="Draws the outlines of forms as soft white lines, much as HED and PiDiNet do, and leaves "
            "out dense texture. Computed from gradients, without a model, so it does not know what an "
            "object is.",
            inputs=[
                image_input(),
                blur_input(1.0, 0.3, "the blur of the finest of the three scales used."),
                io.Float.Input(
                    "texture_suppression",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="From 0 to 1: how strongly dense texture, such as hair and leaves, is suppressed. 0 "
                    "keeps all of it.",
                ),
                resolution_input(),
            ],
            outputs=[
                hint_output(
                    "soft edge models: control_v11p_sd15_softedge, SDXL softedge, hed or pidi of a union model, Flux HED"
                )
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, blur: float, texture_suppression: float, resolution: int) -> io.NodeOutput:
        return _draw(image, partial(soft_edge, blur=blur, texture_suppression=texture_suppression), resolution)


class LineArt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLineArt",
            display_name="Line Art Hint",
            category=menu.HINTS,
            description="Draws dark lines and the dark side of edges as clean white strokes that follow the forms. "
            "Works on drawings and photos.",
            inputs=[
                image_input(),
                io.Float.Input(
                    "line_width",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="From 0 to 10 pixels: about half the width of a line. 0 fits it to the picture: 1 for a shorter "
                    "side of 512. Wider shows coarser forms only.",
                ),
                darkness_input(0.01, 0.0),
                resolution_input(),
                *drawing_inputs("line"),
            ],
            outputs=[
                hint_output(
                    "line art models: control_v11p_sd15_lineart, control_v11p_sd15s2_lineart_anime, SDXL lineart, lineart of "
                    "a union model"
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        line_width: float,
        threshold: float,
        resolution: int,
        white_lines: bool = False,
        strokes: str = AUTOMATIC_STROKES,
    ) -> io.NodeOutput:
        draw = partial(line_art, line_width=line_width, threshold=threshold, white_lines=white_lines, strokes=strokes)
        return _draw(image, draw, resolution)


class Scribble(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaScribble",
            display_name="Scribble Hint",
            category=menu.HINTS,
            description="Draws the main lines of a picture as thick white strokes of one width, as if drawn with a "
            "marker. It leaves a model more freedom than line art does.",
            inputs=[
                image_input(),
                io.Float.Input(
                    "thickness",
                    default=5.0,
                    min=1.0,
                    max=50.0,
                    step=0.5,
                    tooltip="From 1 to 50 pixels: the width of the strokes.",
                ),
                darkness_input(0.02, 0.001),
                resolution_input("Strokes stay in place."),
                *drawing_inputs("stroke"),
            ],
            outputs=[
                hint_output(
                    "scribble models: control_v11p_sd15_scribble, SDXL scribble, scribble of a union model, T2I sketch"
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        thickness: float,
        threshold: float,
        resolution: int,
        white_lines: bool = False,
        strokes: str = AUTOMATIC_STROKES,
    ) -> io.NodeOutput:
        draw = partial(scribble, thickness=thickness, threshold=threshold, white_lines=white_lines, strokes=strokes)
        return _draw(image, draw, resolution)


class StraightLines(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStraightLines",
            display_name="Straight Lines Hint",
            category=menu.HINTS,
            description="Draws the straight lines of rooms and buildings as thin white lines, much as M-LSD does. The same "
            "picture always gives the same lines.",
            inputs=[
                image_input(),
                blur_input(1.5, 0.5, "the blur before edges are detected."),
                io.Float.Input(
                    "min_length",
                    default=6.0,
                    min=1.0,
                    max=100.0,
                    step=0.5,
                    tooltip="From 1 to 100 percent of the shorter side: shorter lines are left out.",
                ),
                io.Float.Input(
                    "max_gap",
                    default=1.5,
                    min=0.0,
                    max=20.0,
                    step=0.5,
                    tooltip="From 0 to 20 percent of the shorter side: a line continues across gaps up to this.",
                ),
                resolution_input("A value above the picture's own acts like the picture's own."),
            ],
            outputs=[hint_output("straight line models: control_v11p_sd15_mlsd, SDXL mlsd, mlsd of a union model")],
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, blur: float, min_length: float, max_gap: float, resolution: int
    ) -> io.NodeOutput:
        draw = partial(straight_lines, blur=blur, min_length=min_length, max_gap=max_gap)
        return _draw(image, draw, resolution, grows=False)


class Segmentation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSegmentation",
            display_name="Segmentation (Unlabelled)",
            category=menu.HINTS,
            description="Divides a picture into flat regions by colour. The regions have no names: segmentation models read "
            "the colours of ADE20K classes, for which there is Segmentation Painter.",
            inputs=[
                image_input(),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="SLIC",
                    tooltip="SLIC makes regions of about one size; Felzenszwalb makes large ones where the picture is even.",
                ),
                io.Float.Input(
                    "region_size",
                    default=8.0,
                    min=1.0,
                    max=100.0,
                    step=0.5,
                    tooltip="From 1 to 100 percent of the shorter side: how wide a usual region is.",
                ),
                io.Combo.Input(
                    "colours",
                    options=list(COLOURS),
                    default=COLOURS[0],
                    tooltip="The mean colour of each region, or colours of which no two are alike. Neither is that of a class.",
                ),
                resolution_input(
                    "Regions are found at 512 (SLIC) or 384 (Felzenszwalb) at most, to save time, and enlarged by the "
                    "nearest pixel."
                ),
            ],
            outputs=[
                hint_output(
                    "models that follow areas of colour, such as T2I color. Models trained on ADE20K classes (seg) misread "
                    "it"
                )
            ],
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, method: str, region_size: float, colours: str, resolution: int
    ) -> io.NodeOutput:
        draw = partial(segment, method=method, region_size=region_size, colours=colours)
        return io.NodeOutput(draw_hints(image, draw, resolution, resize_nearest, on_step=run.progress()))


NODES = [Canny, SoftEdge, LineArt, Scribble, StraightLines, Segmentation]
