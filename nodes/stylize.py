"""Painting with CIN style networks: a picture in a style, and a sheet of styles."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..delta.style_network.finish import pixels_at_once
from ..delta.style_network.network import Strength, StyleNetwork, stylize
from ..delta.style_network.params import StyleParams
from ..delta.style_network.sheet import PAINTED_SIDE, style_sheet
from . import menu
from .host import run
from .inputs import NetworkType, StyleType, keep_colours_input

# Float32 maps that live at once at full resolution, for making room on the device.
WORKING_BYTES_PER_PIXEL = 600


def _stage_input(name: str, stage: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=-0.5,
        max=1.5,
        step=0.05,
        optional=True,
        tooltip=f"Style strength of the {stage}, from -0.5 to 1.5. It multiplies the style strength; the product is "
        "limited to between -0.5 and 1.5.",
    )


class Stylize(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStylize",
            display_name="Stylize",
            category=menu.STYLE_NETWORK,
            description="Paints a picture of any size in a style. With a mask and a second style, two styles share the "
            "picture; with a mask alone, the picture stays where the mask is black.",
            inputs=[
                NetworkType.Input("style_network", tooltip="The network that the style belongs to."),
                io.Image.Input("image", tooltip="The picture or pictures to paint, of any size from 8 pixels."),
                StyleType.Input(
                    "style",
                    optional=True,
                    tooltip="The style or mix to paint in. Without one, or when the nodes that make it are "
                    "bypassed, the picture is not changed.",
                ),
                io.Float.Input(
                    "style_strength",
                    default=1.0,
                    min=-0.5,
                    max=1.5,
                    step=0.05,
                    tooltip="From -0.5 to 1.5. 1 is the style; 0 is the mean of the network's styles, which is a mild style "
                    "itself, or the picture's own style for the any-picture network; above 1 exaggerates.",
                ),
                io.Float.Input(
                    "image_blend",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="From 0 to 1: how much of the painting is mixed over the picture.",
                ),
                io.Float.Input(
                    "pixel_budget",
                    default=4.0,
                    min=0.1,
                    max=256.0,
                    step=0.1,
                    tooltip="From 0.1 to 256 megapixels. Larger pictures are painted with about half the memory. The result is the same, "
                    "without seams.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="White is painted in the style. Resized to the picture."),
                StyleType.Input("second_style", optional=True, tooltip="The style where the mask is black."),
                _stage_input("early", "early norms (edges; a small effect, and none in the any-picture network)"),
                _stage_input("middle", "middle norms (brush strokes and forms)"),
                _stage_input("late", "late norms (colour and contrast)"),
                keep_colours_input(),
                io.Int.Input(
                    "paint_size",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    optional=True,
                    tooltip="The longer side, in pixels up to 8192, at which the network paints; 0 is the picture's own. Smaller "
                    "gives larger strokes and is faster, larger gives finer ones. The painting is brought back to the picture's size.",
                ),
                io.Boolean.Input(
                    "same_look",
                    default=False,
                    optional=True,
                    tooltip="Paint a batch with the statistics of all its pictures together, so that the frames of "
                    "a video do not flicker. It takes memory for all of them at once; above the pixel "
                    "budget 50 to 100 bytes per pixel.",
                ),
                io.Boolean.Input(
                    "dither",
                    default=False,
                    optional=True,
                    tooltip="Hide the steps of 8-bit colours from the network with fixed noise of at most half a "
                    "step. Smooth skies and walls then get strokes instead of stripes.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The painted picture, of the same size.")],
        )

    @classmethod
    def execute(
        cls,
        style_network: StyleNetwork,
        image: torch.Tensor,
        style: StyleParams | None = None,
        style_strength: float = 1.0,
        image_blend: float = 1.0,
        pixel_budget: float = 4.0,
        mask: torch.Tensor | None = None,
        second_style: StyleParams | None = None,
        early: float = 1.0,
        middle: float = 1.0,
        late: float = 1.0,
        keep_colours: float = 0.0,
        paint_size: int = 0,
        same_look: bool = False,
        dither: bool = False,
    ) -> io.NodeOutput:
        if style is None:
            return io.NodeOutput(image)
        budget = int(pixel_budget * 1e6)
        pixels = pixels_at_once(image, paint_size, same_look)
        painted = stylize(
            style_network,
            image.cpu(),
            style,
            Strength(style_strength, early, middle, late),
            mask=None if mask is None else mask.cpu(),
            second=second_style,
            image_blend=image_blend,
            pixel_budget=budget,
            keep_colours=keep_colours,
            paint_size=paint_size,
            same_look=same_look,
            dither=dither,
            device=run.compute_device(min(budget, pixels) * WORKING_BYTES_PER_PIXEL),
            on_step=run.progress(),
        )
        return io.NodeOutput(run.to_output(painted))


class StyleSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStyleSheet",
            display_name="Style Sheet",
            category=menu.STYLE_NETWORK,
            description="Paints one picture in every style of a network and lays the results out with their numbers.",
            inputs=[
                NetworkType.Input("style_network", tooltip="A network with a style table."),
                io.Image.Input("image", tooltip="The picture to paint. Only the first picture of a batch is used."),
                io.Int.Input(
                    "tile_size",
                    default=256,
                    min=64,
                    max=1024,
                    step=8,
                    tooltip="The longer side of each painted picture in pixels, 64 to 1024. They are painted at up to 768 pixels "
                    "and scaled down, so that strokes look as in a large picture.",
                ),
                io.Int.Input("columns", default=7, min=1, max=32, tooltip="Pictures in a row, 1 to 32."),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="The contact sheet: the original first, then each style.")
            ],
        )

    @classmethod
    def execute(cls, style_network: StyleNetwork, image: torch.Tensor, tile_size: int, columns: int) -> io.NodeOutput:
        device = run.compute_device(PAINTED_SIDE**2 * WORKING_BYTES_PER_PIXEL)
        sheet = style_sheet(style_network, image[:1].cpu(), tile_size, columns, device, run.progress())
        return io.NodeOutput(run.to_output(sheet))


NODES = [Stylize, StyleSheet]
