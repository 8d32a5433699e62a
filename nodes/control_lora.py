"""Control-LoRAs: extract, report, resize, bake, and compare control nets."""

from __future__ import annotations

import os
from typing import Any

import torch
from comfy_api.latest import io

from ..delta.control.compare import compare_outputs, error_charts, error_report
from ..delta.control_lora.bake import bake_control_lora, write_baked
from ..delta.control_lora.extract import ControlLoraJob, extract_control_lora
from ..delta.control_lora.format import ControlLora, read_control_lora
from ..delta.control_lora.net_file import ControlNetFile
from ..delta.control_lora.resize import control_lora_report, resize_control_lora
from ..delta.control_lora.save import PRECISIONS, save_control_lora
from ..delta.extraction.extract import Settings
from ..delta.extraction.job import settings_key
from ..delta.extraction.store import resumed
from ..delta.files.checkpoint import Checkpoint
from ..delta.linear_algebra.rank import RankChoice
from . import menu
from .host import control_compare, control_files, control_nets, folders, run
from .inputs import extraction_settings, filename_prefix_input, noise_and_device_inputs, rank_choice, rank_policy_input
from .report import tell


def _rank_input(zero: str) -> io.Input:
    return io.Int.Input(
        "rank",
        default=64,
        min=0,
        max=4096,
        tooltip=f"The highest rank of each layer, 1 to 4096; {zero}. A connected rank policy replaces it.",
    )


def _precision_input() -> io.Input:
    return io.Combo.Input(
        "precision",
        options=list(PRECISIONS),
        default="float16",
        tooltip="How numbers are stored. float16 is nearly always enough; a value that does not fit it is an error.",
    )


def _control_lora_input() -> io.Input:
    return io.Combo.Input(
        "control_lora",
        options=folders.file_names(folders.CONTROL_NETS),
        tooltip="A Control-LoRA file in models/controlnet.",
    )


def _connected_input() -> io.Input:
    return io.ControlNet.Input(
        "control_net",
        optional=True,
        tooltip="A Control-LoRA that was loaded or has just been made, used instead of the chosen file.",
    )


def _base_input(tooltip: str) -> io.Input:
    return io.Combo.Input("base", options=folders.model_names(), tooltip=tooltip)


def _file_outputs(report: str) -> list[io.Output]:
    return [
        io.ControlNet.Output(display_name="control_net", tooltip="The new file, loaded."),
        io.String.Output(display_name="path", tooltip="Where the file was written."),
        io.String.Output(display_name="report", tooltip=report),
    ]


def _read(name: str, connected: Any | None = None) -> ControlLora:
    """The connected Control-LoRA, else the file of that name."""
    if connected is not None:
        return control_nets.control_lora_of(connected)
    return read_control_lora(folders.file_path(folders.CONTROL_NETS, name))


def _save(job: ControlLoraJob, filename_prefix: str, precision: str) -> io.NodeOutput:
    path = folders.output_path(filename_prefix)
    compared = save_control_lora(job.lora, path, precision, control_compare.loaded_control_lora)
    report = f"saved {path}, {os.path.getsize(path) / 1e6:.2f} MB\n{compared}\n{job.report}"
    net, _ = control_files.load_net_file(path)
    told = tell(report, job.charts)
    return io.NodeOutput(net, path, told.text, told.plot, ui=told.ui)


class ExtractControlLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaExtractControlLora",
            display_name="Extract Control-LoRA",
            category=menu.CONTROLNET,
            description="Makes a small Control-LoRA from a full ControlNet of SD 1.x, SD 2.x or SDXL: its "
            "difference from the base model, weight by weight. An interrupted run resumes where it "
            "stopped.",
            inputs=[
                io.Combo.Input(
                    "control_net",
                    options=folders.file_names(folders.CONTROL_NETS),
                    tooltip="A full ControlNet file in models/controlnet, under ComfyUI's or diffusers' names.",
                ),
                _base_input(
                    "The model that the net was trained on, or a version of it for inpainting. Not a fine-tune of it."
                ),
                _rank_input("0 keeps everything above rounding"),
                io.Int.Input(
                    "conv_rank",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="The highest rank of convolutions with a kernel, 1 to 4096; 0 treats them as linear layers.",
                ),
                *noise_and_device_inputs(),
                _precision_input(),
                filename_prefix_input("controlnet/control_lora"),
                rank_policy_input(),
            ],
            outputs=[
                *_file_outputs("Error by block, sizes, what was stored whole or left out, and whether the base fits."),
                io.Image.Output(
                    display_name="plot", tooltip="Singular values with the rank kept, and the error by block."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, control_net: str = "", base: str = "", **_: object) -> str:
        return f"{folders.file_stamp(folders.CONTROL_NETS, control_net)} {folders.model_stamp(base)}"

    @classmethod
    def execute(
        cls,
        control_net: str,
        base: str,
        rank: int,
        conv_rank: int,
        ignore_noise: bool,
        device: str,
        precision: str,
        filename_prefix: str,
        rank_policy: RankChoice | None = None,
    ) -> io.NodeOutput:
        settings = extraction_settings(rank, conv_rank, True, ignore_noise, device, rank_policy)
        net = ControlNetFile(folders.file_path(folders.CONTROL_NETS, control_net))
        model = Checkpoint(folders.model_path(base))
        files = {control_net: net, base: model}
        sources = [{"name": name, "sha256": file.fingerprint(run.progress())} for name, file in files.items()]
        size = PRECISIONS[precision].itemsize
        step = run.progress(cls.hidden and cls.hidden.unique_id)
        return resumed(
            folders.unfinished_folder(),
            _key(sources, settings, size),
            net.notes,
            lambda store: extract_control_lora(net, model, settings, size, sources, store, step),
            lambda job: _save(job, filename_prefix, precision),
        )


def _key(sources: list[dict], settings: Settings, bytes_per_number: int) -> dict[str, Any]:
    """All that decides what is computed: of the precision of the file, that is the room that a size leaves."""
    room = {"bytes_per_number": bytes_per_number} if settings.choice.mode == "size" else {}
    return {"what": "Control-LoRA", "sources": sources, "settings": settings_key(settings), **room}


class ControlLoraReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaControlLoraReport",
            display_name="Control-LoRA Report",
            category=menu.CONTROLNET,
            description="Shows what a Control-LoRA file holds: the model it is for, its ranks, what is stored whole, and what is "
            "missing or would fail.",
            inputs=[_control_lora_input()],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The number of layers by rank."),
                io.String.Output(display_name="report", tooltip="The figures as text."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, control_lora: str = "", **_: object) -> str:
        return folders.file_stamp(folders.CONTROL_NETS, control_lora)

    @classmethod
    def execute(cls, control_lora: str) -> io.NodeOutput:
        size = os.path.getsize(folders.file_path(folders.CONTROL_NETS, control_lora))
        told = tell(*control_lora_report(_read(control_lora), size))
        return io.NodeOutput(told.plot, told.text, ui=told.ui)


class ResizeControlLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaResizeControlLora",
            display_name="Resize Control-LoRA",
            category=menu.CONTROLNET,
            description="Lowers the rank of a Control-LoRA exactly, without the base model: each layer becomes the best one of its "
            "new rank.",
            inputs=[
                _control_lora_input(),
                _rank_input("0 keeps every layer as it is"),
                _precision_input(),
                filename_prefix_input("controlnet/control_lora"),
                _connected_input(),
                rank_policy_input(),
            ],
            outputs=[
                *_file_outputs("What it cost: error by block against the file, worst layers, sizes."),
                io.Image.Output(display_name="plot", tooltip="The number of layers by rank."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, control_lora: str = "", **_: object) -> str:
        return folders.file_stamp(folders.CONTROL_NETS, control_lora)

    @classmethod
    def execute(
        cls,
        control_lora: str,
        rank: int,
        precision: str,
        filename_prefix: str,
        control_net: Any | None = None,
        rank_policy: RankChoice | None = None,
    ) -> io.NodeOutput:
        lora, choice = _read(control_lora, control_net), rank_choice(rank, rank_policy)
        job = resize_control_lora(lora, choice, PRECISIONS[precision].itemsize, run.progress())
        return _save(job, filename_prefix, precision)


class BakeControlLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaBakeControlLora",
            display_name="Bake Control-LoRA",
            category=menu.CONTROLNET,
            description="Makes a full ControlNet from a Control-LoRA and a base model. With a fine-tune as the "
            "base, the net is moved to that fine-tune.",
            inputs=[
                _control_lora_input(),
                _base_input("The model that the Control-LoRA was made from, or a fine-tune to move it to."),
                _precision_input(),
                filename_prefix_input("controlnet/baked"),
                _connected_input(),
            ],
            outputs=_file_outputs("What the file is, its size, and that it was read back."),
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, control_lora: str = "", base: str = "", **_: object) -> str:
        return f"{folders.file_stamp(folders.CONTROL_NETS, control_lora)} {folders.model_stamp(base)}"

    @classmethod
    def execute(
        cls, control_lora: str, base: str, precision: str, filename_prefix: str, control_net: Any | None = None
    ) -> io.NodeOutput:
        lora, path = _read(control_lora, control_net), folders.output_path(filename_prefix)
        tensors = bake_control_lora(lora, Checkpoint(folders.model_path(base)), precision, run.progress())
        sources = [{"name": lora.name}, {"name": base}]
        told = tell(write_baked(path, tensors, lora, sources, control_compare.loaded_control_net))
        # Before the new file is loaded, which takes as much memory.
        del tensors
        net, _ = control_files.load_net_file(path)
        return io.NodeOutput(net, path, told.text, ui=told.ui)


class CompareControl(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaCompareControl",
            display_name="Compare Control Nets",
            category=menu.CONTROLNET,
            description="Measures, block by block, how far the outputs of one control net are from those of "
            "another for a model and a hint: what a Control-LoRA really loses.",
            inputs=[
                io.ControlNet.Input("control_net", tooltip="The net to measure, such as a Control-LoRA."),
                io.ControlNet.Input("reference", tooltip="The net to compare it with, such as the full ControlNet."),
                io.Model.Input(
                    "model", tooltip="The model: SD 1.x, SD 2.x or SDXL. It is not run; it only determines the latents."
                ),
                io.Image.Input("image", tooltip="The hint that both nets read. The first one is used."),
                io.Latent.Input(
                    "latent", optional=True, tooltip="A picture to add the noise to. Without it there is only noise."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The relative difference of every block."),
                io.String.Output(display_name="report", tooltip="The differences overall, by step and by block."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, control_net: Any, reference: Any, model: Any, image: torch.Tensor, latent: dict | None = None
    ) -> io.NodeOutput:
        nets = control_net, reference
        ours, theirs = (control_compare.control_outputs(net, model, image, latent) for net in nets)
        layout = control_nets.layout_of(reference)
        error = compare_outputs([sent.control for sent in ours], [sent.control for sent in theirs], layout)
        names = [control_nets.kind_of_net(net) for net in nets]
        report = error_report(error, *names, [sent.progress for sent in theirs])
        told = tell(report, error_charts(error, *names))
        return io.NodeOutput(told.plot, told.text, ui=told.ui)


NODES = [ExtractControlLora, ControlLoraReport, ResizeControlLora, BakeControlLora, CompareControl]
