"""Extracting a LoRA: fine-tuned minus base."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.extraction.job import extract_job, settings_key
from ..delta.extraction.pair import compare
from ..delta.extraction.store import resumed
from ..delta.files.checkpoint import Checkpoint
from ..delta.linear_algebra.rank import RankChoice
from . import menu
from .host import folders, run, weights
from .host import names as host_names
from .inputs import extraction_settings, noise_and_device_inputs, rank_policy_input
from .report import tell


def _settings_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "rank",
            default=32,
            min=0,
            max=4096,
            tooltip="The highest rank of linear layers, 1 to 4096; 0 keeps everything above rounding. A connected "
            "rank policy replaces it.",
        ),
        io.Int.Input(
            "conv_rank",
            default=0,
            min=0,
            max=4096,
            tooltip="The highest rank of convolutions with a kernel, 1 to 4096; 0 treats them as linear layers.",
        ),
        io.Boolean.Input(
            "biases_and_norms",
            default=True,
            tooltip="Whether changes of biases and norms are kept too, whole. They are small, and count in ComfyUI.",
        ),
        *noise_and_device_inputs(),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.LoraModel.Output(
            display_name="lora_model", tooltip="The LoRA, in float32, with the recipe in its metadata."
        ),
        io.String.Output(
            display_name="report",
            tooltip="Error by block, what was left out and why, signal to noise, the worst layers, size and time.",
        ),
        io.Image.Output(display_name="plot", tooltip="Singular values with the rank kept, and the error by block."),
    ]


class ExtractLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaExtractLora",
            display_name="Extract LoRA",
            category=menu.LORA,
            description="Makes a LoRA from the difference between two loaded models, patches included: what you "
            "see is what is saved.",
            inputs=[
                io.Model.Input("model", tooltip="The fine-tuned model, or a model with LoRAs on it."),
                io.Model.Input("base_model", tooltip="The model to apply the LoRA to."),
                *_settings_inputs(),
                io.Clip.Input("clip", optional=True, tooltip="The fine-tuned text encoder. Needs base_clip."),
                io.Clip.Input("base_clip", optional=True, tooltip="The text encoder to apply the LoRA to."),
                rank_policy_input(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        base_model: Any,
        rank: int,
        conv_rank: int,
        biases_and_norms: bool,
        ignore_noise: bool,
        device: str,
        clip: Any | None = None,
        base_clip: Any | None = None,
        rank_policy: RankChoice | None = None,
    ) -> io.NodeOutput:
        settings = extraction_settings(rank, conv_rank, biases_and_norms, ignore_noise, device, rank_policy)
        pair = weights.loaded_pair(model, base_model, clip, base_clip)
        job = extract_job(pair, settings, on_step=run.progress(cls.hidden and cls.hidden.unique_id))
        job = host_names.proven(job, host_names.prover(base_model, base_clip))
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


class ExtractLoraFiles(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = folders.model_names()
        return io.Schema(
            node_id="StyleDeltaExtractLoraFiles",
            display_name="Extract LoRA from Files",
            category=menu.LORA,
            description="Makes a LoRA from the difference between two model files, weight by weight: neither is "
            "loaded. An interrupted run resumes where it stopped.",
            inputs=[
                io.Combo.Input(
                    "tuned",
                    options=names,
                    tooltip="The fine-tuned model: a safetensors file in models/checkpoints, a safetensors or GGUF file in "
                    "models/diffusion_models, or a folder in models/diffusers.",
                ),
                io.Combo.Input("base", options=names, tooltip="The model that it was fine-tuned from."),
                *_settings_inputs(),
                io.Boolean.Input(
                    "text_encoders",
                    default=True,
                    tooltip="Whether the text encoders that both files have are compared too.",
                ),
                rank_policy_input(),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, tuned: str = "", base: str = "", **_: object) -> str:
        return f"{folders.model_stamp(tuned)} {folders.model_stamp(base)}"

    @classmethod
    def execute(
        cls,
        tuned: str,
        base: str,
        rank: int,
        conv_rank: int,
        biases_and_norms: bool,
        ignore_noise: bool,
        device: str,
        text_encoders: bool,
        rank_policy: RankChoice | None = None,
    ) -> io.NodeOutput:
        settings = extraction_settings(rank, conv_rank, biases_and_norms, ignore_noise, device, rank_policy)
        pair = compare(Checkpoint(folders.model_path(tuned)), Checkpoint(folders.model_path(base)), text_encoders)
        files = {tuned: pair.tuned, base: pair.base}
        sources = [{"name": name, "sha256": file.fingerprint(run.progress())} for name, file in files.items()]
        step = run.progress(cls.hidden and cls.hidden.unique_id)
        key = {"sources": sources, "settings": settings_key(settings)}
        job = resumed(
            folders.unfinished_folder(),
            key,
            pair.notes,
            lambda store: extract_job(pair, settings, sources, store, step),
            lambda job: host_names.proven(job, host_names.prove_by_families),
        )
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


NODES = [ExtractLora, ExtractLoraFiles]
