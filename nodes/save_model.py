"""Models with LoRAs in them as files: of a loaded model, and of a file without loading it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.lora.sources import MergeInput
from . import menu
from .host import folders, loras, merge_file, run, save_model
from .inputs import StackType, filename_prefix_input, strength_input
from .report import tell


def _format_input(keep: str) -> io.Input:
    return io.Combo.Input(
        "format",
        options=list(merge_file.FORMATS),
        default=merge_file.KEEP,
        tooltip=f"How numbers are stored. {merge_file.KEEP}: {keep}. Or all weights of the model as float16, bfloat16 or float32; a "
        "value that does not fit is an error.",
    )


def _outputs() -> list[io.Output]:
    return [
        io.String.Output(display_name="path", tooltip="Where the file was written."),
        io.String.Output(
            display_name="report",
            tooltip="What was merged, that the file was read back, and what rounding cost each layer.",
        ),
        io.Image.Output(display_name="plot", tooltip="What share of the change each block loses to rounding."),
    ]


class SaveModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveModel",
            display_name="Save Patched Model",
            category=menu.LORA,
            description="Writes a model with all its LoRAs and other patches as one safetensors file, reads it back as ComfyUI does "
            "and compares every weight.",
            inputs=[
                io.Model.Input("model", tooltip="The model, with its patches."),
                filename_prefix_input("diffusion_models/styledelta"),
                _format_input(
                    "in the types that the model has in memory, quantised layers with new scales (GGUF is not written: choose a float "
                    "type)"
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder, with its patches. With it the file is a checkpoint.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="The VAE to include in the file."),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model: Any, filename_prefix: str, format: str, clip: Any | None = None, vae: Any | None = None
    ) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        hidden = cls.hidden
        workflow = {} if hidden is None else {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
        step = run.progress(hidden and hidden.unique_id)
        saved = save_model.save_model(save_model.Parts(model, clip, vae), format, path, workflow, step)
        told = tell(saved.report, saved.charts)
        return io.NodeOutput(path, told.text, told.plot, ui=told.ui)


class MergeIntoModelFile(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaMergeIntoModelFile",
            display_name="Merge LoRAs into Model File",
            category=menu.LORA,
            description="Merges LoRAs into a checkpoint or diffusion model, weight by weight: the model is not loaded. Names, "
            "structure, formats and metadata stay the file's. An interrupted run resumes where it stopped.",
            inputs=[
                io.Combo.Input(
                    "base",
                    options=folders.single_model_names(),
                    tooltip="The file: a safetensors file in models/checkpoints or models/diffusion_models. It is "
                    "not changed.",
                ),
                _format_input("in the file's own types, quantised layers with new scales, and all else bit for bit"),
                filename_prefix_input("checkpoints/merged"),
                StackType.Input(
                    "lora_stack",
                    optional=True,
                    tooltip="LoRAs with strengths and block weights, from LoRA Stack or Add LoRA.",
                ),
                io.LoraModel.Input(
                    "lora_model",
                    optional=True,
                    tooltip="One LoRA, merged after those of the stack, at the strengths of this node.",
                ),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, base: str = "", **_: object) -> str:
        return folders.model_stamp(base)

    @classmethod
    def execute(
        cls,
        base: str,
        format: str,
        filename_prefix: str,
        strength_model: float,
        strength_clip: float,
        lora_stack: list | None = None,
        lora_model: dict | None = None,
    ) -> io.NodeOutput:
        rows = [MergeInput(*row) for row in loras.stack_models(lora_stack or [])]
        if lora_model is not None:
            rows.append(MergeInput(loras.as_lora_model(lora_model), strength_model, strength_clip))
        if not rows:
            raise ValueError("No LoRA is connected. Connect lora_stack or lora_model.")
        path = folders.output_path(filename_prefix)
        step = run.progress(cls.hidden and cls.hidden.unique_id)
        saved = merge_file.merge_into_file(base, rows, format, path, step, run.progress())
        told = tell(saved.report, saved.charts)
        return io.NodeOutput(path, told.text, told.plot, ui=told.ui)


NODES = [SaveModel, MergeIntoModelFile]
