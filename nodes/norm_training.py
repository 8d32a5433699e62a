"""Train Style: a style of one's own, in the norms, the biases or a LoRA of a model."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.lora.costs import Job
from ..delta.training.plan import HIGHEST_RANK, KINDS, LAYERS, Choice, plan
from ..delta.training.report import describe, loss_charts
from ..delta.training.resume import style_of
from ..delta.training.schedule import AUTOMATIC_WARM_UP, SCHEDULES, Settings
from ..delta.training.style import as_lora
from ..delta.training.training import StyleTraining, trained_lora
from . import menu
from .host import loras, run, style_training, training_inputs, weights
from .host import names as host_names
from .inputs import chosen_tiers, tier_inputs
from .report import tell


def _first_inputs() -> list[io.Input]:
    """Those of the first version, in their order: saved workflows give their values by it."""
    return [
        io.Model.Input("model", tooltip="The model to train on. It is not changed."),
        io.Latent.Input(
            "latents",
            tooltip="The pictures of the style, as one batch, encoded by the model's own VAE. A mask is not used.",
        ),
        io.Conditioning.Input(
            "conditioning",
            optional=True,
            tooltip="What the pictures show: one prompt for all, or one for each, combined. Or leave it open, and connect clip "
            "and write captions.",
        ),
        io.Int.Input(
            "steps",
            default=100,
            min=1,
            max=100_000,
            tooltip="Number of training steps, 1 to 100000. 100 to 1000 are usual.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=0.1,
            step=0.0001,
            round=0.000001,
            tooltip="How far each step moves, 0 to 0.1. 0 is automatic: 0.01 for norms and biases, 0.002 for a "
            "LoRA. With norms and LoRA your own rate applies to the LoRA, and the norms get 5 times as "
            "much.",
        ),
        io.Int.Input(
            "batch_size",
            default=1,
            min=1,
            max=64,
            tooltip="Noised pictures per step, 1 to 64. They go through the model one after the other: more of "
            "them take more time but no more memory, and make each step more reliable.",
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
    ]


def _what_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "train",
            options=list(KINDS),
            default=KINDS[0],
            optional=True,
            tooltip="What learns the style. Norms: colour, contrast and tone, in the smallest file. Biases add "
            "some texture. A LoRA learns line work and shapes too. The switches above choose the norms, "
            "and have no effect on a LoRA alone.",
        ),
        io.Int.Input(
            "rank",
            default=8,
            min=1,
            max=HIGHEST_RANK,
            optional=True,
            tooltip="The rank of the LoRA, 1 to 256: a higher rank makes a larger file and memorises more. Without "
            "a LoRA it has no effect.",
        ),
        io.Combo.Input(
            "lora_layers",
            options=list(LAYERS),
            default=LAYERS[0],
            optional=True,
            tooltip="The layers that the LoRA changes. Convolutions are in U-Nets, and carry their line work and "
            "texture.",
        ),
    ]


def _course_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "schedule",
            options=list(SCHEDULES),
            default=SCHEDULES[0],
            optional=True,
            tooltip="How the learning rate changes. cosine: it falls to zero at the end. automatic: cosine for an "
            "automatic learning rate, constant for one of your own.",
        ),
        io.Int.Input(
            "warm_up",
            default=AUTOMATIC_WARM_UP,
            min=AUTOMATIC_WARM_UP,
            max=100_000,
            optional=True,
            tooltip="Steps over which the learning rate rises from zero, 0 to 100000; -1 is automatic: 5 % of the "
            "steps with cosine, none with constant.",
        ),
        io.Int.Input(
            "preview_every",
            default=50,
            min=0,
            max=100_000,
            optional=True,
            tooltip="Steps between two pictures on the node, 1 to 100000; 0 for none. Each uses the first prompt, "
            "the same noise and 12 steps without guidance. It needs vae.",
        ),
        io.String.Input(
            "captions",
            default="",
            multiline=True,
            optional=True,
            tooltip="What the pictures show, instead of conditioning: one line for all, or one line for each, in their order. It "
            "needs clip.",
        ),
    ]


def _optional_sockets() -> list[io.Input]:
    return [
        io.Clip.Input("clip", optional=True, tooltip="The text encoder that reads the captions."),
        io.Vae.Input("vae", optional=True, tooltip="The model's own VAE, for previews."),
        io.LoraModel.Input(
            "resume_from",
            optional=True,
            tooltip="A result of this node to resume from, or another LoRA that changes only what is trained here.",
        ),
    ]


class TrainNorms(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaTrainNorms",
            display_name="Train Style",
            category=menu.NORMS,
            description="Learns a style from pictures: in the norms of a model, in norms and biases, in a LoRA or in both. "
            "Cancel keeps the best so far.",
            inputs=[*_first_inputs(), *_what_inputs(), *_course_inputs(), *_optional_sockets()],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora_model", tooltip="The style, as a LoRA in float32 for Save LoRA."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What was trained, the loss on fixed draws before and after, and the memory.",
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
        steps: int,
        learning_rate: float,
        batch_size: int,
        seed: int,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
        conditioning: list | None = None,
        train: str = KINDS[0],
        rank: int = 8,
        lora_layers: str = LAYERS[0],
        schedule: str = SCHEDULES[0],
        warm_up: int = AUTOMATIC_WARM_UP,
        preview_every: int = 0,
        captions: str = "",
        clip: Any | None = None,
        vae: Any | None = None,
        resume_from: dict[str, torch.Tensor] | None = None,
    ) -> io.NodeOutput:
        settings = Settings(steps, learning_rate, batch_size, seed, schedule, warm_up)
        choice = Choice(train, (), rank, lora_layers)
        if choice.has_norms:
            choice = choice._replace(tiers=chosen_tiers(norms, modulation, qk_norms))
        samples = training_inputs.check_latents(model, latents)
        prompts = training_inputs.prompts_of(conditioning, clip, captions, len(samples))
        training_inputs.check_vae(model, vae)
        shapes = training_inputs.parameter_shapes(model)
        what = plan(choice, shapes, weights.module_classes(model), training_inputs.lora_layers(model))
        sources = [] if resume_from is None else [loras.as_lora_model(resume_from)]
        start = style_of(sources[0], what, host_names.model_names(model, None)) if sources else None
        training = StyleTraining(what, len(samples), settings, model.load_device, start)
        prove = host_names.prover(model, None)
        # Names that ComfyUI does not read are better told before hours of training.
        host_names.proven(Job(as_lora(training.style.copy(), shapes, {}, "style"), "", []), prove)
        progress = run.progress(cls.hidden and cls.hidden.unique_id)
        memory = style_training.train(model, samples, prompts, training, progress, vae, preview_every)
        recipe = {"method": "train style", **choice._asdict(), "sources": [{"name": source.name} for source in sources]}
        lora = trained_lora(training, shapes, recipe, sources)
        job = host_names.proven(Job(lora, f"{describe(training)}\n{memory.line}", loss_charts(training)), prove)
        told = tell(job.report, job.charts)
        return io.NodeOutput(job.model, told.text, told.plot, ui=told.ui)


NODES = [TrainNorms]
