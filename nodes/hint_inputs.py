"""Inputs and the output that several hint nodes share, each written once."""

from __future__ import annotations

from comfy_api.latest import io

from ..delta.hints.line_art import AUTOMATIC_STROKES, STROKES


def image_input() -> io.Input:
    return io.Image.Input(
        "image",
        tooltip="The picture or pictures that the hint is drawn from, each on its own. Transparency is dropped.",
    )


def resolution_input(more: str = "Lines stay whole.") -> io.Input:
    return io.Int.Input(
        "resolution",
        default=0,
        min=0,
        max=4096,
        step=8,
        tooltip="From 0 to 4096: the shorter side, in pixels, at which the hint is computed; 0 is the picture's "
        f"own. Lower gives coarser forms. The hint always has the size of the picture. {more}",
    )


def blur_input(default: float, least: float, what: str) -> io.Input:
    return io.Float.Input(
        "blur",
        default=default,
        min=least,
        max=10.0,
        step=0.1,
        tooltip=f"From {least} to 10 pixels: {what} More leaves out grain and fine detail.",
    )


def darkness_input(default: float, least: float) -> io.Input:
    return io.Float.Input(
        "threshold",
        default=default,
        min=least,
        max=0.5,
        step=0.001,
        tooltip=f"From {least:g} to 0.5: how much darker than its surroundings something must be to become a line; black to "
        "white is 1. Lower shows fainter lines, and more texture.",
    )


def drawing_inputs(line: str) -> list[io.Input]:
    """What drawings need, at the end and optional, so that older graphs go on as they are."""
    return [
        io.Boolean.Input(
            "white_lines",
            default=False,
            optional=True,
            tooltip="The picture has bright lines on a dark background: a blackboard, a blueprint, a finished "
            f"hint. Without this, each bright line becomes two {line}s.",
        ),
        io.Combo.Input(
            "strokes",
            options=list(STROKES),
            default=AUTOMATIC_STROKES,
            optional=True,
            tooltip=f"What a drawn stroke that is wider than a line becomes: one {line} down its middle, or its "
            "outlines. Automatic is one line in drawings, where more than 60 percent is even background, "
            "and outlines in other pictures.",
        ),
    ]


def hint_output(models: str) -> io.Output:
    return io.Image.Output(display_name="hint", tooltip=f"The hint, in the size of the picture. For {models}.")
