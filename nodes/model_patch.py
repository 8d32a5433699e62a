"""Control nets that are patches of a model: Qwen-Image DiffSynth, Z-Image Fun, Wan Uni3C and Anima LLLite."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.control.schedule import ControlSchedule
from . import menu
from .control_inputs import control_mask_input, control_schedule_input, control_span_inputs
from .host import control
from .host import model_patch as host_model_patch


class ApplyModelPatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaApplyModelPatch",
            display_name="Apply ControlNet Patch",
            category=menu.CONTROLNET,
            description="Guides the picture with a control net that ComfyUI loads as a model patch: for Qwen-Image "
            "(DiffSynth), Z-Image (Fun), Wan (Uni3C) or Anima (LLLite). It can be limited to a part of "
            "the sampling and to a mask, and follow a schedule.",
            inputs=[
                io.Model.Input("model", tooltip="The model that samples. It is not changed."),
                io.Custom("MODEL_PATCH").Input(
                    "model_patch",
                    tooltip="The net, from ModelPatchLoader, called Load Model Patch in newer versions of ComfyUI.",
                ),
                io.Vae.Input(
                    "vae",
                    tooltip="The VAE of the model, through which the net reads its hint. Anima LLLite does without it.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The hint that the net reads; for Wan Uni3C a video. Its longer side is cropped to the picture's shape.",
                ),
                *control_span_inputs(),
                io.Mask.Input(
                    "inpaint_mask",
                    optional=True,
                    tooltip="For nets that inpaint, of Qwen-Image, Z-Image and Anima: white is repainted. Other "
                    "nets need none.",
                ),
                control_mask_input(),
                control_schedule_input(),
                io.Image.Input(
                    "inpaint_image",
                    optional=True,
                    tooltip="For Z-Image Fun nets from version 2.0 on: the picture to inpaint where inpaint_mask "
                    "is white. Others take it at image.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the net, for sampling.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        model_patch: Any,
        vae: Any,
        image: torch.Tensor,
        strength: float,
        start_percent: float,
        end_percent: float,
        inpaint_mask: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        schedule: ControlSchedule | None = None,
        inpaint_image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if control.is_off(strength, start_percent, end_percent):
            return io.NodeOutput(model)
        settings = control.control_settings(strength, start_percent, end_percent, "crop", mask, schedule=schedule)
        hint = host_model_patch.Hint(image, inpaint_image, inpaint_mask)
        return io.NodeOutput(host_model_patch.apply_patch(model, model_patch, vae, hint, settings))


NODES = [ApplyModelPatch] if host_model_patch.is_offered() else []
