"""LoRAs under the names of other programs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..delta.lora.convert import convert_lora
from ..delta.lora.naming import COMFYUI, CONVENTIONS
from ..delta.report_text import markdown
from . import menu
from .host import loras
from .host import names as host_names


class ConvertLoraNames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaConvertLoraNames",
            display_name="Convert LoRA Names",
            category=menu.LORA,
            description="Gives a LoRA the layer names of another program. Fused weights are split, and split ones fused, exactly; "
            "the report accounts for every layer.",
            inputs=[
                io.LoraModel.Input("lora_model", tooltip="The LoRA to rename, of any program."),
                io.Combo.Input(
                    "naming",
                    options=list(CONVENTIONS),
                    default=COMFYUI,
                    tooltip="Which program's names the layers get. ComfyUI always reads kohya's names and its own, "
                    "the others only for some models; the first line of the report says which.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRA is for. It settles what the names alone leave open.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The text encoder that the LoRA is for. Used with a model only."
                ),
            ],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora_model", tooltip="The same LoRA under the new names, for Save LoRA."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Who reads the names, and how many layers were renamed, fused, split, added up and kept.",
                ),
            ],
        )

    @classmethod
    def execute(cls, lora_model: dict, naming: str, model: Any | None = None, clip: Any | None = None) -> io.NodeOutput:
        names, prove = host_names.model_names(model, clip), host_names.prover(model, clip)
        converted = convert_lora(loras.as_lora_model(lora_model), naming, names, prove)
        report = markdown(converted.report)
        return io.NodeOutput(converted.model, report, ui=ui.PreviewText(report))


NODES = [ConvertLoraNames]
