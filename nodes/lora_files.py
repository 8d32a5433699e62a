"""LoRAs as LORA_MODEL: load, apply, save with proof, report."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..delta.lora.compare import compare_loras
from ..delta.lora.info import trigger_words
from ..delta.lora.naming import NAMINGS
from ..delta.lora.report import lora_report
from ..delta.lora.save import AS_IT_IS, DTYPES, save_lora
from ..delta.lora.stack import StackEntry, format_report
from ..delta.report_text import markdown
from . import menu
from .host import beside, folders, lora_files, loras, run, weights
from .host import names as host_names
from .inputs import (
    MODELS,
    StackType,
    filename_prefix_input,
    gather_loras,
    lora_name_input,
    quantised_input,
    strength_input,
    trigger_words_output,
)
from .report import tell


class LoadLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadLora",
            display_name="Load LoRA File",
            category=menu.LORA,
            description="Loads a LoRA file as LORA_MODEL, with its metadata, for merging, resizing and saving.",
            inputs=[lora_name_input()],
            outputs=[
                io.LoraModel.Output(display_name="lora_model", tooltip="The LoRA's tensors."),
                trigger_words_output("the LoRA"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str = "") -> str:
        return lora_files.stamp(lora_name)

    @classmethod
    def execute(cls, lora_name: str) -> io.NodeOutput:
        return io.NodeOutput(loras.read_adapter(lora_name), trigger_words([lora_files.info(lora_name)]))


class ApplyLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaApplyLora",
            display_name="Apply LoRA Model",
            category=menu.LORA,
            description="Applies a LORA_MODEL to a model and its text encoder, and reports what matched.",
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                io.LoraModel.Input(
                    "lora_model",
                    optional=True,
                    tooltip="A LoRA from Load LoRA File, Merge LoRAs, Resize LoRA or Extract LoRA. Without one, or "
                    "when the node that makes it is bypassed, the model is not changed.",
                ),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder. Without it only the model is changed."),
                quantised_input(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The changed model."),
                io.Clip.Output(display_name="clip", tooltip="The changed text encoder; empty when none was connected."),
                io.String.Output(display_name="report", tooltip="Matched weights per block, and what matched nothing."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        lora_model: dict | None = None,
        strength_model: float = 1.0,
        strength_clip: float = 1.0,
        clip: Any | None = None,
        on_quantised_weights: str = beside.AUTOMATIC,
    ) -> io.NodeOutput:
        if lora_model is None:
            return io.NodeOutput(model, clip, markdown(format_report([])))
        target = loras.Target(model, clip, on_quantised_weights)
        entry = StackEntry(loras.as_lora_model(lora_model).name, strength_model, strength_clip)
        report = target.apply(entry, lora_model)
        return io.NodeOutput(target.model, target.clip, markdown(format_report([report])))


class SaveLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveLora",
            display_name="Save LoRA",
            category=menu.LORA,
            description="Writes a LORA_MODEL as a safetensors file in the output folder, reads it back and compares every "
            "layer before it reports success.",
            inputs=[
                io.LoraModel.Input("lora_model", tooltip="The LoRA to save."),
                filename_prefix_input("loras/styledelta"),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="float16",
                    tooltip="How numbers are stored. float16 is what most LoRAs use; a value that does not fit is an error.",
                ),
                io.Combo.Input(
                    "naming",
                    options=[AS_IT_IS, *NAMINGS],
                    default=AS_IT_IS,
                    optional=True,
                    tooltip="How layers are named. kohya: read by A1111, Forge, diffusers and ComfyUI. ComfyUI: by ComfyUI's "
                    "own names. diffusers: query, key and value apart. Fused weights are split, and split ones fused, exactly.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRA is for. It proves that ComfyUI reads every name, and settles what the names "
                    "alone leave open.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The text encoder that the LoRA is for. Used with a model only."
                ),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="Where the file was written."),
                io.String.Output(
                    display_name="report", tooltip="What became of every tensor, and the largest difference."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        lora_model: dict,
        filename_prefix: str,
        dtype: str,
        naming: str = AS_IT_IS,
        model: Any | None = None,
        clip: Any | None = None,
    ) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        names, prove = host_names.model_names(model, clip), loras.prover(model, clip)
        given = loras.as_lora_model(lora_model)
        report = save_lora(given, path, dtype, loras.apply_written, naming, run.progress(), names, prove)
        report = markdown(report)
        return io.NodeOutput(path, report, ui=ui.PreviewText(report))


class LoraReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoraReport",
            display_name="LoRA Report",
            category=menu.LORA,
            description="Shows what a LoRA does: singular values, energy per block, ranks, parameters and size.",
            inputs=[
                io.LoraModel.Input("lora_model", tooltip="The LoRA to inspect."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRA is for. The report then compares their numbers of parameters.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="Singular values and energy per block."),
                io.String.Output(display_name="report", tooltip="The figures as text."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, lora_model: dict, model: Any | None = None) -> io.NodeOutput:
        parameters = None if model is None else weights.parameter_count(model)
        told = tell(*lora_report(loras.as_lora_model(lora_model), parameters))
        return io.NodeOutput(told.plot, told.text, ui=told.ui)


class CompareLoras(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaCompareLoras",
            display_name="Compare LoRAs",
            category=menu.LORA,
            description="Shows, before you stack LoRAs, whether they get along: how far their directions coincide "
            "in each block, and whether they add up or cancel.",
            inputs=[
                StackType.Input(
                    "lora_stack",
                    optional=True,
                    tooltip="LoRAs with strengths and block weights. A negative strength reverses its LoRA, and "
                    "layers at strength 0 are left out.",
                ),
                *(
                    io.LoraModel.Input(
                        f"lora_{number}", optional=True, tooltip="Another LoRA to compare, at strength 1."
                    )
                    for number in range(1, MODELS + 1)
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRAs are for. It shows which names mean the same weight.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The text encoder that the LoRAs are for. Used with a model only."
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="plot",
                    tooltip="For every two LoRAs and each block: outputs shared and inputs shared, 0 to 1, and the cosine, -1 to 1.",
                ),
                io.String.Output(
                    display_name="report", tooltip="Which LoRAs fight, where and why, and what to do; then all figures."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, lora_stack: list | None = None, model: Any | None = None, clip: Any | None = None, **models: Any
    ) -> io.NodeOutput:
        names = host_names.model_names(model, clip)
        comparison = compare_loras(gather_loras(lora_stack, models), names, run.progress())
        told = tell(comparison.report, comparison.charts)
        return io.NodeOutput(told.plot, told.text, ui=told.ui)


NODES = [LoadLora, ApplyLora, SaveLora, LoraReport, CompareLoras]
