"""Norm parameters as style: extract them from two models, loaded or as files."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.blocks.rules import parse_block_weights
from ..delta.files.checkpoint import Checkpoint
from ..delta.norms.job import extract_norms_job
from . import menu
from .host import folders, run
from .host import names as host_names
from .host import weights as host_weights
from .inputs import (
    chosen_tiers,
    norm_lora_output,
    norm_report_outputs,
    norm_rules_input,
    tier_inputs,
)
from .report import tell


class ExtractNorms(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaExtractNorms",
            display_name="Extract Norms",
            category=menu.NORMS,
            description="Takes the norm parameters of a styled model minus those of its base: a style in a file of "
            "0.4 to 3 MB. It carries colour, contrast and some texture, not lines or subjects.",
            inputs=[
                io.Model.Input("model", tooltip="The styled model, with its LoRAs if it has any."),
                io.Model.Input("base_model", tooltip="The model to put the style on."),
                *tier_inputs(),
                norm_rules_input(),
            ],
            outputs=[norm_lora_output(), *norm_report_outputs()],
        )

    @classmethod
    def execute(
        cls, model: Any, base_model: Any, norms: bool, modulation: bool, qk_norms: bool, block_weights: str
    ) -> io.NodeOutput:
        styled, base = (
            host_weights.LoadedWeights("styled model", model, None),
            host_weights.LoadedWeights("base model", base_model, None),
        )
        tiers, blocks = chosen_tiers(norms, modulation, qk_norms), parse_block_weights(block_weights)
        job = extract_norms_job(styled, base, tiers, blocks, block_weights, run.progress())
        job = host_names.proven(job, host_names.prover(base_model, None))
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


class ExtractNormsFiles(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = folders.model_names()
        return io.Schema(
            node_id="StyleDeltaExtractNormsFiles",
            display_name="Extract Norms from Files",
            category=menu.NORMS,
            description="Like Extract Norms, but from two model files. Only the norm parameters are read, which "
            "takes a second or two for files of any size.",
            inputs=[
                io.Combo.Input(
                    "tuned",
                    options=names,
                    tooltip="The styled model: a safetensors file in models/checkpoints, a safetensors or GGUF file in "
                    "models/diffusion_models, or a folder in models/diffusers.",
                ),
                io.Combo.Input("base", options=names, tooltip="The model that it was tuned from."),
                *tier_inputs(),
                norm_rules_input(),
            ],
            outputs=[norm_lora_output(), *norm_report_outputs()],
        )

    @classmethod
    def fingerprint_inputs(cls, tuned: str = "", base: str = "", **_: object) -> str:
        return f"{folders.model_stamp(tuned)} {folders.model_stamp(base)}"

    @classmethod
    def execute(
        cls, tuned: str, base: str, norms: bool, modulation: bool, qk_norms: bool, block_weights: str
    ) -> io.NodeOutput:
        files = Checkpoint(folders.model_path(tuned)), Checkpoint(folders.model_path(base))
        tiers, blocks = chosen_tiers(norms, modulation, qk_norms), parse_block_weights(block_weights)
        job = extract_norms_job(*files, tiers, blocks, block_weights, run.progress())
        job = host_names.proven(job, host_names.prove_by_families)
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


NODES = [ExtractNorms, ExtractNormsFiles]
