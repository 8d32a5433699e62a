"""Stacks of control nets: one row a node, applied together."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.control.hint import read_hint
from ..delta.control.schedule import ControlSchedule
from ..delta.control.stack import ControlEntry, ControlExtras, check_is_stack, read_control_stack
from ..delta.control.weights import ControlWeights
from ..delta.report_text import markdown
from . import menu
from .control_inputs import ControlStackType, control_inputs, control_option_inputs
from .host import control, control_files, control_nets


class ControlStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaControlStack",
            display_name="Control Stack",
            category=menu.CONTROLNET,
            description="Adds a control net with its hint to a stack. Chain several, switch each on and off, and apply them together. "
            "Stacks of Comfyroll, Efficiency and Easy-Use can be mixed with it.",
            inputs=[
                io.Boolean.Input(
                    "enabled", default=True, tooltip="Off leaves this row out; the rest of the stack stays."
                ),
                *control_inputs(),
                *control_option_inputs(" Apply Control Stack can give one for all rows."),
                ControlStackType.Input(
                    "previous", optional=True, tooltip="A stack to add this row to. It is not changed."
                ),
            ],
            outputs=[
                ControlStackType.Output(display_name="control_net_stack", tooltip="The stack with this row added.")
            ],
        )

    @classmethod
    def execute(
        cls,
        enabled: bool,
        control_net: Any | None = None,
        image: torch.Tensor | None = None,
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        fit: str = "crop",
        vae: Any | None = None,
        mask: torch.Tensor | None = None,
        weights: ControlWeights | None = None,
        schedule: ControlSchedule | None = None,
        previous: list | None = None,
    ) -> io.NodeOutput:
        stack = list(check_is_stack(previous))
        if enabled and control_net is not None:
            extras = ControlExtras(vae, mask, weights, schedule, fit)
            stack.append(ControlEntry(control_net, image, strength, start_percent, end_percent, extras))
        return io.NodeOutput(stack)


class ApplyControlStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaApplyControlStack",
            display_name="Apply Control Stack",
            category=menu.CONTROLNET,
            description="Applies every row of a stack of control nets to both conditionings, and reports what each row does. An empty "
            "stack changes nothing.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The conditioning of the prompt."),
                io.Conditioning.Input("negative", tooltip="The conditioning of the negative prompt."),
                ControlStackType.Input(
                    "control_net_stack",
                    optional=True,
                    tooltip="A stack, of this pack or another one. Without one nothing is controlled.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of the model, for rows that have none and whose net needs one.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive conditioning with all nets."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative conditioning with the same nets."
                ),
                io.String.Output(display_name="report", tooltip="What each row is and does."),
            ],
        )

    @classmethod
    def execute(
        cls, positive: list, negative: list, control_net_stack: list | None = None, vae: Any | None = None
    ) -> io.NodeOutput:
        lines = []
        for number, entry in read_control_stack(control_net_stack):
            if reason := entry.off_because():
                lines.append(f"{number}. left out: {reason}")
                continue
            try:
                net = entry.net if not isinstance(entry.net, str) else control_files.load_net(entry.net)[0]
                positive, negative = _apply(positive, negative, net, entry, vae)
            except ValueError as error:
                raise ValueError(f"Row {number} of the control stack: {error}") from error
            lines.append(f"{number}. {control_nets.kind_of_net(net)}: {entry.describe()}")
        report = "\n".join(lines) or "The stack is empty: nothing was applied."
        return io.NodeOutput(positive, negative, markdown(report))


def _apply(positive: list, negative: list, net: Any, entry: ControlEntry, vae: Any | None) -> list[list]:
    """Both conditionings with the net of a row. vae: for rows that bring none."""
    own, mask, weights, schedule, fit = entry.extras
    settings = control.control_settings(entry.strength, entry.start, entry.end, fit, mask, weights, schedule)
    hint, vae = read_hint(entry.image), vae if own is None else own
    return control.apply_control(positive, negative, net, hint, settings, vae)


NODES = [ControlStack, ApplyControlStack]
