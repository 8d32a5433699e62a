"""ControlNets: load, apply with mask, block weights and schedule, and name the type of a union net."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.control.hint import read_hint
from ..delta.control.report import evenly, schedule_charts, schedule_report
from ..delta.control.schedule import INTERPOLATIONS, SHAPES, ControlSchedule, parse_schedule, shaped_schedule
from ..delta.control.union import AUTO, TYPES, type_numbers
from ..delta.control.weights import ControlWeights, weights_report
from ..delta.report_text import markdown
from . import menu
from .control_inputs import ControlScheduleType, ControlWeightsType, control_inputs, control_option_inputs
from .host import control, control_files, control_nets, folders, sampling
from .report import tell

# Core hands over None for a net that did not load, which is an error.
NOT_CONNECTED = object()


class LoadControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadControlNet",
            display_name="Load ControlNet",
            category=menu.CONTROLNET,
            description="Loads a ControlNet, Control-LoRA or T2I-Adapter and reports what it is: the model it is "
            "for, its blocks, its union types. Other kinds of files are refused, with the name of the "
            "node that loads them.",
            inputs=[
                io.Combo.Input(
                    "control_net_name",
                    options=folders.file_names(folders.CONTROL_NETS),
                    tooltip="A file in models/controlnet or models/t2i_adapter.",
                ),
            ],
            outputs=[
                io.ControlNet.Output(display_name="control_net", tooltip="The net, for every node that takes one."),
                io.String.Output(display_name="report", tooltip="What the net is, in a few lines."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, control_net_name: str = "", **_: object) -> str:
        return folders.file_stamp(folders.CONTROL_NETS, control_net_name)

    @classmethod
    def execute(cls, control_net_name: str) -> io.NodeOutput:
        net, report = control_files.load_net(control_net_name)
        return io.NodeOutput(net, markdown(report))


class ApplyControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaControlNetApply",
            display_name="Apply ControlNet (StyleDelta)",
            category=menu.CONTROLNET,
            description="Lets a control net guide the picture with a hint: everywhere or where a mask is white, "
            "with a strength for each block and each part of the sampling. Chain several for several "
            "nets. The net itself is not changed.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The conditioning of the prompt."),
                io.Conditioning.Input("negative", tooltip="The conditioning of the negative prompt."),
                *control_inputs(),
                *control_option_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive conditioning with the net."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative conditioning with the same net."),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        control_net: Any = NOT_CONNECTED,
        image: torch.Tensor | None = None,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        fit: str = "crop",
        vae: Any | None = None,
        mask: torch.Tensor | None = None,
        weights: ControlWeights | None = None,
        schedule: ControlSchedule | None = None,
    ) -> io.NodeOutput:
        if control_net is NOT_CONNECTED or control.is_off(strength, start_percent, end_percent):
            return io.NodeOutput(positive, negative)
        if image is None:
            raise ValueError("A control net is connected, but no image. Connect the hint for it to read.")
        settings = control.control_settings(strength, start_percent, end_percent, fit, mask, weights, schedule)
        return io.NodeOutput(*control.apply_control(positive, negative, control_net, read_hint(image), settings, vae))


class ControlNetWeights(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaControlWeights",
            display_name="Control Weights",
            category=menu.CONTROLNET,
            description="Sets how strong each block of a control net is, by its name. The report lists the blocks of the net, where "
            "each acts, and its weight.",
            inputs=[
                io.ControlNet.Input("control_net", tooltip="The net whose blocks are weighted, of any known kind."),
                io.String.Input(
                    "block_weights",
                    default="",
                    multiline=True,
                    tooltip="Factors by block, such as `input.0-3=0.5, middle=0, double.*=0.8`. The last rule that matches a block "
                    "decides; `*=0` first switches everything else off. The report shows the names.",
                ),
                io.Float.Input(
                    "falloff",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.005,
                    tooltip="Soft weights, from 0 to 2: each block gets this factor times the weight of the next "
                    "deeper one, which keeps the layout and frees the detail. 1 is off; 0.825 is the usual "
                    "value, with more strength to compensate.",
                ),
                io.Float.Input(
                    "uncond_multiplier",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="A factor for the negative conditioning, from 0 to 10. At 0 only the positive one follows the hint, which CFG "
                    "then exaggerates.",
                ),
            ],
            outputs=[
                ControlWeightsType.Output(
                    display_name="weights", tooltip="The weights, for Apply ControlNet (StyleDelta) or Control Stack."
                ),
                io.String.Output(display_name="report", tooltip="The blocks of this net and the weight of each."),
            ],
        )

    @classmethod
    def execute(cls, control_net: Any, block_weights: str, falloff: float, uncond_multiplier: float) -> io.NodeOutput:
        weights = ControlWeights(block_weights, falloff, uncond_multiplier)
        return io.NodeOutput(weights, markdown(weights_report(control_nets.layout_of(control_net), weights)))


class ControlNetSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaControlSchedule",
            display_name="Control Schedule",
            category=menu.CONTROLNET,
            description="Sets how the strength of a control net changes while sampling, and shows the strength at every step.",
            inputs=[
                io.String.Input(
                    "keyframes",
                    default="1.0@0, 0.6@0.3, 0@0.8",
                    tooltip="Strengths, each with the progress from which it applies, such as the default. They "
                    "multiply the strength of the net. Leave it empty to use shape, shape_start and "
                    "shape_end.",
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(INTERPOLATIONS),
                    default="linear",
                    tooltip="How the strength goes from one keyframe to the next: linear, with ease (slow at both ends), or hold (it "
                    "stays until the next).",
                ),
                io.Combo.Input(
                    "shape",
                    options=list(SHAPES),
                    default="fade out",
                    tooltip="Without keyframes: how the strength runs from shape_start to shape_end. Outside it is 0.",
                ),
                io.Float.Input(
                    "shape_start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Without keyframes: where in the sampling the shape begins, from 0 to 1.",
                ),
                io.Float.Input(
                    "shape_end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Without keyframes: where in the sampling the shape ends, from 0 to 1.",
                ),
                io.Float.Input(
                    "plot_strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="For plot and report only: the strength of the net, from -10 to 10, as you set it where the net is applied.",
                ),
                io.Int.Input(
                    "plot_steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="For plot and report only: how many steps, from 1 to 1000, evenly spread. Connect sigmas for the true ones.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="For plot and report only: the model that samples. It is needed for sigmas.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="For plot and report only: the noise levels of a scheduler, which determine where each "
                    "step really is.",
                ),
                io.ControlNet.Input(
                    "control_net",
                    optional=True,
                    tooltip="For the plot only: the net, to show its blocks. It is needed for weights.",
                ),
                ControlWeightsType.Input(
                    "weights",
                    optional=True,
                    tooltip="For the plot only: block weights, which give a curve for each weight.",
                ),
            ],
            outputs=[
                ControlScheduleType.Output(
                    display_name="schedule", tooltip="The schedule, for Apply ControlNet (StyleDelta) or Control Stack."
                ),
                io.Image.Output(
                    display_name="plot",
                    tooltip="Strength times schedule times block weight at every step of the sampling.",
                ),
                io.String.Output(display_name="report", tooltip="The strength at every step, as text."),
            ],
        )

    @classmethod
    def execute(
        cls,
        keyframes: str,
        interpolation: str,
        shape: str,
        shape_start: float,
        shape_end: float,
        plot_strength: float,
        plot_steps: int,
        model: Any | None = None,
        sigmas: torch.Tensor | None = None,
        control_net: Any | None = None,
        weights: ControlWeights | None = None,
    ) -> io.NodeOutput:
        if keyframes.strip():
            schedule = parse_schedule(keyframes, interpolation)
        else:
            schedule = shaped_schedule(shape, shape_start, shape_end, interpolation)
        progresses = evenly(plot_steps) if sigmas is None else sampling.progresses(model, sigmas)
        factors = None if weights is None else control_nets.block_factors(control_net, weights)
        charts = schedule_charts(schedule, plot_strength, factors, progresses)
        told = tell(schedule_report(schedule, plot_strength, progresses), charts)
        return io.NodeOutput(schedule, told.plot, told.text, ui=told.ui)


class UnionType(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaUnionType",
            display_name="Union Type",
            category=menu.CONTROLNET,
            description="Tells a union net which kind of hint it gets, by the names of the net's own family: a Flux union net and an "
            "SDXL one number them differently.",
            inputs=[
                io.ControlNet.Input(
                    "control_net", tooltip="A union ControlNet of SDXL (xinsir) or Flux (InstantX, Shakker)."
                ),
                io.Combo.Input(
                    "type",
                    options=list(TYPES),
                    default=AUTO,
                    tooltip="The kind of hint. Auto leaves it to the net, which is right for nets without types. A "
                    "type that the net does not have is an error that lists those it has.",
                ),
            ],
            outputs=[io.ControlNet.Output(display_name="control_net", tooltip="The net, set to that kind of hint.")],
        )

    @classmethod
    def execute(cls, control_net: Any, type: str) -> io.NodeOutput:
        numbers = type_numbers(control_nets.union_family(control_net), type)
        return io.NodeOutput(control_net if numbers is None else control_nets.with_union_type(control_net, numbers))


NODES = [LoadControlNet, ApplyControlNet, ControlNetWeights, ControlNetSchedule, UnionType]
