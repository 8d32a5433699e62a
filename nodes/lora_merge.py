"""Merging and resizing LoRAs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta import merging
from ..delta.blocks.rules import combined_rules
from ..delta.linear_algebra.rank import MODES, RankChoice
from ..delta.lora.bake import bake_job
from ..delta.lora.file import LoraModel
from ..delta.lora.merge_job import merge_job, method_help, resize_job
from ..delta.lora.size_preview import size_preview
from ..delta.lora.sources import MergeInput
from . import menu
from .host import loras, run
from .host import names as host_names
from .inputs import (
    MODELS,
    RankType,
    StackType,
    block_weight_inputs,
    gather_loras,
    rank_choice,
    rank_policy_input,
    seed_input,
    strength_input,
)
from .report import tell


def _rank_input(full: str) -> io.Input:
    return io.Int.Input(
        "rank",
        default=32,
        min=0,
        max=4096,
        tooltip=f"The highest rank of each layer of the result, 1 to 4096; {full}. A connected rank policy replaces it.",
    )


def _outputs() -> list[io.Output]:
    return [
        io.LoraModel.Output(
            display_name="lora_model", tooltip="The result, in float32, with the recipe in its metadata."
        ),
        io.String.Output(
            display_name="report", tooltip="What it cost: error by block against the exact sum, worst layers."
        ),
        io.Image.Output(display_name="plot", tooltip="Error and energy by block."),
    ]


class RankPolicy(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaRankPolicy",
            display_name="Rank Policy",
            category=menu.LORA,
            description="Sets how the rank of each layer is chosen: a fixed rank, a share of the energy, an error, "
            "the bend of the spectrum, or a file size for all layers together.",
            inputs=[
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="energy",
                    tooltip="full: keep all. fixed: value is the rank. energy: value is the share kept, 0 to 1. error: value "
                    "is the relative error allowed, 0 to 1. knee: where the spectrum bends. size: value is megabytes.",
                ),
                io.Float.Input(
                    "value",
                    default=0.95,
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="The rank, the share or error from 0 to 1, or the size from 0 to 100000 MB at 2 bytes "
                    "per number; see mode.",
                ),
                io.Float.Input(
                    "text_encoder_mb",
                    default=0.0,
                    min=0.0,
                    max=100000.0,
                    step=0.1,
                    tooltip="For size: 0 to 100000 MB for the text encoder, apart from value. 0 shares one budget.",
                ),
            ],
            outputs=[
                RankType.Output(display_name="rank_policy", tooltip="For Merge LoRAs, Resize LoRA and Extract LoRA.")
            ],
        )

    @classmethod
    def execute(cls, mode: str, value: float, text_encoder_mb: float) -> io.NodeOutput:
        choice = RankChoice(mode, value, text_encoder_mb)
        choice.per_layer()
        return io.NodeOutput(choice)


class MergeLoras(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        methods = merging.methods()
        return io.Schema(
            node_id="StyleDeltaMergeLoras",
            display_name="Merge LoRAs",
            category=menu.LORA,
            description="Merges LoRAs of any format, rank and alpha into one. The linear method at full rank "
            "equals stacking them; the report says what every other choice costs.",
            inputs=[
                io.Combo.Input(
                    "method",
                    options=list(methods),
                    default="linear",
                    tooltip="How updates of one weight are combined. linear adds them up; the help page explains "
                    "the rest.",
                ),
                io.String.Input(
                    "parameters",
                    default="",
                    tooltip="Parameters of the method as name=number, with commas; empty uses the defaults. "
                    + method_help(methods),
                ),
                _rank_input("0 keeps the full rank, which is exact for a linear merge"),
                seed_input("For methods that draw random numbers, 0 to 4294967295. The same seed gives the same bits."),
                StackType.Input("lora_stack", optional=True, tooltip="LoRAs with strengths and block weights."),
                *(
                    field
                    for number in range(1, MODELS + 1)
                    for field in (
                        io.LoraModel.Input(f"lora_{number}", optional=True, tooltip="Another LoRA to merge."),
                        io.Float.Input(
                            f"strength_{number}",
                            default=1.0,
                            min=-100.0,
                            max=100.0,
                            step=0.01,
                            optional=True,
                            tooltip=f"Strength of lora_{number}, from -100 to 100.",
                        ),
                    )
                ),
                rank_policy_input(),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRAs are for. It shows which names mean the same weight, and "
                    "bakes in adapters that depend on it: DoRA, GLoRA, OFT, BOFT.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The text encoder that the LoRAs are for. Used with a model only."
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        method: str,
        parameters: str,
        rank: int,
        seed: int,
        lora_stack: list | None = None,
        rank_policy: RankChoice | None = None,
        model: Any | None = None,
        clip: Any | None = None,
        **models: Any,
    ) -> io.NodeOutput:
        inputs = gather_loras(lora_stack, models)
        names = host_names.model_names(model, clip)
        bake = loras.baker(model, clip, names.key_map if names else {})
        job = merge_job(inputs, method, parameters, rank_choice(rank, rank_policy), seed, names, bake, run.progress())
        job = host_names.proven(job, loras.prover(model, clip)) if model is not None else job
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


class ResizeLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaResizeLora",
            display_name="Resize LoRA",
            category=menu.LORA,
            description="Lowers the rank of a LoRA exactly: each layer becomes the best one of its new rank.",
            inputs=[
                io.LoraModel.Input("lora_model", tooltip="The LoRA to resize."),
                _rank_input("0 keeps every layer as it is"),
                rank_policy_input(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, lora_model: dict, rank: int, rank_policy: RankChoice | None = None) -> io.NodeOutput:
        model: LoraModel = loras.as_lora_model(lora_model)
        job = resize_job(model, rank_choice(rank, rank_policy), run.progress())
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


class SizePreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSizePreview",
            display_name="LoRA Size Preview",
            category=menu.LORA,
            description="Shows how large a LoRA would be and how much it would lose at lower ranks, before Resize "
            "LoRA makes it smaller.",
            inputs=[io.LoraModel.Input("lora_model", tooltip="The LoRA to make smaller.")],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="Size in MB at 2 bytes per number, relative error and energy kept, for ranks from 1 to "
                    "the file's.",
                ),
                io.Image.Output(
                    display_name="plot", tooltip="Error against size, with one rank in all layers and spread over them."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, lora_model: dict) -> io.NodeOutput:
        preview = size_preview(loras.as_lora_model(lora_model), run.progress())
        told = tell(preview.report, preview.charts)
        return io.NodeOutput(told.text, told.plot, ui=told.ui)


class BakeBlockWeights(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaBakeBlockWeights",
            display_name="Bake Block Weights",
            category=menu.LORA,
            description="Multiplies strengths and block weights into a LoRA, so that every loader of every program applies "
            "them. Layers that are switched off are left out.",
            inputs=[
                io.LoraModel.Input("lora_model", tooltip="The LoRA to change."),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
                *block_weight_inputs(),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that the LoRA is for. Blocks then have the names that the model gives them, and "
                    "adapters that depend on it are baked in: DoRA, GLoRA, OFT, BOFT.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The text encoder that the LoRA is for. Used with a model only."
                ),
            ],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora_model", tooltip="The changed LoRA, in float32, to be used at strength 1."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Factors by block, layers switched off, and rules that match nothing.",
                ),
                io.Image.Output(display_name="plot", tooltip="The remaining strength and the energy, by block."),
            ],
        )

    @classmethod
    def execute(
        cls,
        lora_model: dict,
        strength_model: float,
        strength_clip: float,
        preset: str,
        block_weights: str,
        model: Any | None = None,
        clip: Any | None = None,
    ) -> io.NodeOutput:
        rules = combined_rules(preset, block_weights)
        row = MergeInput(loras.as_lora_model(lora_model), strength_model, strength_clip, rules)
        names = host_names.model_names(model, clip)
        job = bake_job(row, names, loras.baker(model, clip, names.key_map if names else {}), run.progress())
        job = host_names.proven(job, host_names.prover(model, clip)) if model is not None else job
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


NODES = [MergeLoras, ResizeLora, RankPolicy, SizePreview, BakeBlockWeights]
