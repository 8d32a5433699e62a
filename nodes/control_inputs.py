"""Inputs that several nodes of control nets share."""

from __future__ import annotations

from comfy_api.latest import io

from ..delta.control.mask import FITS

ControlStackType = io.Custom("CONTROL_NET_STACK")
ControlWeightsType = io.Custom("CONTROL_WEIGHTS")
ControlScheduleType = io.Custom("CONTROL_SCHEDULE")


def control_span_inputs() -> list[io.Input]:
    """How strong a control net is, and in which part of the sampling."""
    return [
        io.Float.Input(
            "strength",
            default=1.0,
            min=-10.0,
            max=10.0,
            step=0.01,
            tooltip="How strongly the hint acts, from -10 to 10. 1 is as trained, 0 leaves the net out, negative "
            "pushes away from the hint.",
        ),
        io.Float.Input(
            "start_percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip="Where in the sampling the net starts to act, from 0 (noise) to 1.",
        ),
        io.Float.Input(
            "end_percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.001,
            tooltip="Where in the sampling the net stops acting, from 0 to 1 (the finished picture).",
        ),
    ]


def control_mask_input() -> io.Input:
    """Where a control net acts."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where the net acts: white fully, black not at all. One, or one for each picture or frame. It is resized.",
    )


def control_schedule_input() -> io.Input:
    """How the strength of a control net changes."""
    return ControlScheduleType.Input(
        "schedule", optional=True, tooltip="How the strength changes while sampling, from Control Schedule."
    )


def control_inputs() -> list[io.Input]:
    """What every row of a control net has: its hint, how strong it is, in which part of the sampling, and the hint's fit."""
    return [
        io.ControlNet.Input(
            "control_net",
            optional=True,
            tooltip="A ControlNet, Control-LoRA or T2I-Adapter, made for the model that samples. Without one, or when the node "
            "that loads it is bypassed, nothing is controlled.",
        ),
        io.Image.Input(
            "image",
            optional=True,
            tooltip="The hint that the net reads, such as edges, a depth map or a pose. One, or one for each picture of the "
            "batch.",
        ),
        *control_span_inputs(),
        io.Combo.Input(
            "fit",
            options=list(FITS),
            default="crop",
            tooltip="How a hint with other proportions is fitted to the picture: crop cuts its longer side, as "
            "ComfyUI does; pad shows all of it on black; stretch distorts it. Pad and stretch keep thin "
            "lines. The mask is fitted in the same way.",
        ),
    ]


def control_option_inputs(vae: str = "") -> list[io.Input]:
    """What a row of a control net may have. vae: more about which one is used."""
    return [
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="The VAE of the model, for nets that read the hint through it: Qwen-Image, SD3, HunyuanDiT and most Flux nets. Others ignore "
            f"it.{vae}",
        ),
        control_mask_input(),
        ControlWeightsType.Input("weights", optional=True, tooltip="How strong each block is, from Control Weights."),
        control_schedule_input(),
    ]
