"""Nodes that train a style into the norms of a model."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..delta.families.norm_sites import find_sites
from ..delta.lora.file import LoraModel
from ..delta.lora.save import save_lora
from ..delta.norms.training import NormTraining, Settings, describe, loss_charts, trained_lora
from . import menu
from .host import folders, loras, run, weights
from .host import training as host_training
from .inputs import chosen_tiers, tier_inputs
from .report import plot, report_ui

INTERRUPTED = "loras/styledelta_norms_interrupted"

log = logging.getLogger(__name__)


class TrainNorms(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaTrainNorms",
            display_name="Train Norms",
            category=menu.NORMS,
            description="Learns a style from pictures by changing only the norm parameters of a model: colour, contrast, tone "
            "and texture, in a file of a few hundred kilobytes.",
            inputs=[
                io.Model.Input("model", tooltip="The model to train on. It stays as it is."),
                io.Latent.Input(
                    "latents",
                    tooltip="The pictures of the style, as one batch, encoded by the model's own VAE. A mask is not used.",
                ),
                io.Conditioning.Input(
                    "conditioning", tooltip="What the pictures show: one prompt for all, or one for each, combined."
                ),
                io.Int.Input(
                    "steps",
                    default=100,
                    min=1,
                    max=100_000,
                    tooltip="How often the norms are moved, 1 to 100000. 100 to 1000 are usual.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.005,
                    min=0.000001,
                    max=0.1,
                    step=0.0001,
                    round=0.000001,
                    tooltip="How far each step moves, 0.000001 to 0.1. Norms take ten times what a LoRA takes; 0.001 to 0.01 are "
                    "usual.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Noised pictures a step, 1 to 64. They go through the model one after the other: more take more time, "
                    "no more memory, and make each step surer.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Chooses the picture and the noise of each step, any whole number from 0. The same seed gives the same result.",
                ),
                *tier_inputs(),
            ],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora_model", tooltip="The changes of the norms, as a LoRA in float32 for Save LoRA."
                ),
                io.String.Output(
                    display_name="report", tooltip="What was trained, and the loss on fixed draws before and after."
                ),
                io.Image.Output(display_name="plot", tooltip="The loss by step, with the step that was kept."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        latents: dict[str, Any],
        conditioning: list,
        steps: int,
        learning_rate: float,
        batch_size: int,
        seed: int,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
    ) -> io.NodeOutput:
        tiers = chosen_tiers(norms, modulation, qk_norms)
        shapes = host_training.parameter_shapes(model)
        sites = find_sites(shapes, weights.module_classes(model))
        chosen = {name: shapes[name] for name in sites.of(tiers)}
        samples = host_training.check_latents(model, latents)
        conditioning = host_training.check_conditioning(conditioning, len(samples))
        training = NormTraining(chosen, len(samples), Settings(steps, learning_rate, batch_size, seed))
        recipe = {"method": "train norms", "family": sites.family, "tiers": tiers}
        step = run.progress(cls.hidden and cls.hidden.unique_id)
        try:
            host_training.run_with_loss(model, samples, conditioning, lambda loss: training.run(loss, step), seed)
        except host_training.Interrupted:
            if training.best is not None:
                _keep(trained_lora(training, shapes, recipe), training.best_step)
            raise
        lora, report, charts = (
            trained_lora(training, shapes, recipe),
            describe(training, sites.described),
            loss_charts(training),
        )
        return io.NodeOutput(lora, report, plot(charts), ui=report_ui(report, charts))


def _keep(best: LoraModel, step: int) -> None:
    """Save what a cancelled training has found, because a node that is cancelled has no outputs."""
    path = folders.output_path(INTERRUPTED)
    save_lora(best, path, "float32", loras.apply_written)
    log.info("Train Norms was cancelled. The best so far, of step %d, is in %s", step, path)


NODES = [TrainNorms]
