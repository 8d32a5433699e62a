"""Reference AdaIN: sampling with the statistics of a reference's features, and keeping these as a small file."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..delta.report_text import markdown
from ..delta.statistics.feature_statistics import Component, StatisticsMix, extend, load_statistics, save_statistics
from . import menu
from .host import folders, matching, run, sampling
from .host import reference as host_reference
from .inputs import filename_prefix_input

StatisticsType = io.Custom("FEATURE_STATISTICS")


class ReferenceAdaIN(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaReferenceAdaIN",
            display_name="Reference AdaIN",
            category=menu.STATISTICS,
            description="Samples with the look of a reference: at the norms of the model, each channel takes on "
            "the reference's mean and deviation. The model itself is not changed.",
            inputs=[
                io.Model.Input("model", tooltip="The model to sample with."),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="How far features move towards the reference, from 0 to 1.5. 0 changes nothing, 1 "
                    "takes on its statistics, above 1 exaggerates.",
                ),
                io.Float.Input(
                    "style_fidelity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The share of the amount that the negative conditioning gets, from 0 to 1. At 0 only "
                    "the positive one is matched, so that CFG exaggerates the style; at 1 both are matched "
                    "alike. It has no effect at CFG 1.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the sampling matching starts, from 0 to 1.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where in the sampling matching stops, from 0 to 1.",
                ),
                io.Float.Input(
                    "latent_amount",
                    default=0.0,
                    min=0.0,
                    max=1.5,
                    step=0.05,
                    tooltip="How far the predicted latent's own channels move to those of the reference, after CFG, from 0 to 1.5. "
                    "It carries colour and contrast only; 0 leaves it out.",
                ),
                io.String.Input(
                    "block_weights",
                    default="",
                    multiline=True,
                    tooltip="Factors of the amount by block or module name, such as `input.4=0.5, middle=1, norm2=0`. The last "
                    "rule that matches a norm decides; `*=0` first switches everything else off. Norms beside the noisy picture and the "
                    "predicted noise are left alone unless a rule such as `*=1` or `out=1` matches them.",
                ),
                io.Latent.Input(
                    "reference",
                    optional=True,
                    tooltip="The reference, encoded with the model's VAE, of any size. Several are averaged. Each "
                    "adds one pass of the model to every step.",
                ),
                StatisticsType.Input(
                    "statistics",
                    optional=True,
                    tooltip="Recorded statistics, instead of a reference. They need no extra pass of the model.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Features are matched where it is white, with the statistics of that area. Resized to the picture.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, for sampling."),
                io.String.Output(
                    display_name="report",
                    tooltip="At which norms features are matched, by block, and which are left alone: those of "
                    "query and key, of text, sound and other pictures, and those where the position of the "
                    "picture is unknown.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        amount: float,
        style_fidelity: float,
        start_percent: float,
        end_percent: float,
        latent_amount: float,
        block_weights: str,
        reference: dict[str, Any] | None = None,
        statistics: StatisticsMix | None = None,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if (reference is None) == (statistics is None):
            raise ValueError("Connect either a reference or statistics, not both.")
        if statistics is None:
            source = host_reference.LiveReference(sampling.samples_of(model, reference, "reference latent"))
        else:
            source = host_reference.saved_reference(model, statistics)
        mask = None if mask is None else mask.reshape(-1, *mask.shape[-2:]).cpu()
        settings = matching.Settings(amount, style_fidelity, start_percent, end_percent, latent_amount, mask)
        matched, report = matching.match_to_reference(model, source, settings, block_weights)
        return io.NodeOutput(matched, markdown(report))


class SaveStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveStatistics",
            display_name="Save Statistics",
            category=menu.STATISTICS,
            description="Records the mean and the deviation of a reference's features at every norm of the model and at "
            "several noise levels, and writes them as one file of a few megabytes. The picture is not needed afterwards.",
            inputs=[
                io.Model.Input("model", tooltip="The model that will sample with the statistics later."),
                io.Latent.Input(
                    "reference",
                    tooltip="The reference, encoded with the model's VAE. A batch gives the mean of its statistics.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="What the reference shows, or the later prompt: features depend on it a little.",
                ),
                io.Int.Input(
                    "noise_levels",
                    default=8,
                    min=2,
                    max=64,
                    tooltip="At how many noise levels features are recorded, from 2 to 64, one pass of the model each. Between "
                    "two levels statistics are interpolated; the size of the file grows with them.",
                ),
                filename_prefix_input(f"{folders.FEATURE_STATISTICS}/statistics"),
            ],
            outputs=[
                StatisticsType.Output(display_name="statistics", tooltip="The statistics, for Reference AdaIN."),
                io.String.Output(display_name="path", tooltip="Where the file was written."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, model: Any, reference: dict[str, Any], positive: list, noise_levels: int, filename_prefix: str
    ) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        latent = sampling.samples_of(model, reference, "reference latent")
        recorded = host_reference.record_statistics(model, latent, positive, noise_levels, run.progress())
        save_statistics(recorded, path)
        return io.NodeOutput(extend(None, Component("the reference", recorded)), path, ui=ui.PreviewText(path))


class LoadStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadStatistics",
            display_name="Load Statistics",
            category=menu.STATISTICS,
            description="Loads statistics saved by Save Statistics. Chain several to mix references.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.file_names(folders.FEATURE_STATISTICS),
                    tooltip="A file in models/feature_statistics or output/feature_statistics. Refresh to see new files.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="The share of this reference in the mix, from -2 to 2; all weights are divided by their sum. A single "
                    "one needs no weight: leave it at 1.",
                ),
                StatisticsType.Input(
                    "previous",
                    optional=True,
                    tooltip="Earlier statistics. These are added to them, which mixes the two.",
                ),
            ],
            outputs=[StatisticsType.Output(display_name="statistics", tooltip="The statistics, or the mix so far.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: object) -> str:
        return folders.file_stamp(folders.FEATURE_STATISTICS, file)

    @classmethod
    def execute(cls, file: str, weight: float, previous: StatisticsMix | None = None) -> io.NodeOutput:
        recorded = load_statistics(folders.file_path(folders.FEATURE_STATISTICS, file))
        return io.NodeOutput(extend(previous, Component(file, recorded, weight)))


NODES = [ReferenceAdaIN, SaveStatistics, LoadStatistics]
