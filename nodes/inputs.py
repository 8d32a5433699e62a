"""Inputs that several nodes share."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.blocks.rules import PRESETS
from ..delta.extraction.extract import Settings
from ..delta.families.norm_sites import TIERS
from ..delta.linear_algebra.rank import RankChoice
from ..delta.lora.sources import MergeInput
from .host import beside, folders, loras, run

RankType = io.Custom("RANK_POLICY")
StackType = io.Custom("LORA_STACK")
NetworkType = io.Custom("STYLE_NETWORK")
StyleType = io.Custom("STYLE_PARAMS")
MODELS = 4
DEVICES = ("auto", "cpu")
# Room that decomposing the largest weights takes on the device.
WORKING_BYTES = 1_500_000_000


def filename_prefix_input(default: str) -> io.Input:
    """Where in the output folder a file is written."""
    return io.String.Input(
        "filename_prefix",
        default=default,
        tooltip="Folder and beginning of the file name, inside the output folder. A number is added; "
        "no file is ever replaced.",
    )


def widget_input(io_type: str, name: str, default: str, tooltip: str) -> io.Input:
    """A text that the pack's own widget of that type shows and writes.

    The default and `widgetType` tell programs that read the schema that it is a value and no link.
    """
    return io.Custom(io_type).Input(name, tooltip=tooltip, extra_dict={"default": default, "widgetType": io_type})


def lora_name_input() -> io.Input:
    """A choice of the LoRA files."""
    return io.Combo.Input("lora_name", options=folders.file_names("loras"), tooltip="A LoRA file in models/loras.")


def trigger_words_output(whose: str) -> io.Output:
    """What prompts call LoRAs by, as their files and those beside them tell."""
    return io.String.Output(
        display_name="trigger_words",
        tooltip=f"The trigger words of {whose}, for a prompt: from the metadata of the file, or the .txt, .json or .civitai.info beside "
        "it. Empty where none are known.",
    )


def strength_input(name: str, target: str) -> io.Input:
    """A LoRA strength as core's loaders have it."""
    return io.Float.Input(
        name,
        default=1.0,
        min=-100.0,
        max=100.0,
        step=0.01,
        tooltip=f"How strongly the LoRA changes {target}, from -100 to 100. 1 is as trained, 0 leaves it out, "
        "negative subtracts it.",
    )


def quantised_input(what: str = "a LoRA") -> io.Input:
    """What becomes of a change where the model's weights are stored in few bits. what: the change."""
    return io.Combo.Input(
        "on_quantised_weights",
        options=list(beside.MODES),
        default=beside.AUTOMATIC,
        optional=True,
        tooltip=f"For models in fp8, int8, nvfp4 and the like. Baking {what} into such weights rounds much of it "
        "away: automatic leaves them as they are and applies the change beside them in full, slightly "
        "slower per step; bypass does so for all weights; bake adds it to the weights, as ComfyUI does, "
        "which the save and merge nodes of other packs need.",
    )


def amount_input(tooltip: str) -> io.Input:
    """How far something goes towards a style: 0 not at all, 1 all the way. The tooltip says what that means."""
    return io.Float.Input("amount", default=1.0, min=-0.5, max=1.5, step=0.05, tooltip=f"From -0.5 to 1.5. {tooltip}")


def seed_input(tooltip: str) -> io.Input:
    """A seed that stays as it is after a run. tooltip: what it chooses."""
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=False, tooltip=tooltip)


def keep_colours_input() -> io.Input:
    """How much of the picture's own colours a painting has."""
    return io.Float.Input(
        "keep_colours",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.05,
        optional=True,
        tooltip="From 0 to 1: how much of the picture's own colours the painting keeps. At 1 only its light and dark "
        "are painted. Colours that do not exist at that lightness become paler.",
    )


def block_weight_inputs(
    purpose: str = "the LoRA is to act on", report: str = "The report of Apply LoRA Stack"
) -> list[io.Input]:
    """A preset of block weights, and rules of one's own. purpose: what they are for; report: what shows the names."""
    return [
        io.Combo.Input(
            "preset",
            options=list(PRESETS),
            default="all blocks",
            tooltip=f"Which part of the model {purpose}. Block weights below are added to it.",
        ),
        io.String.Input(
            "block_weights",
            default="",
            multiline=True,
            tooltip="Factors by block or module name, such as `input.4=0.5, middle=1, double.*=0.8, attn2=0`. "
            "The last rule that matches a weight decides; `*=0` first switches everything else off. "
            f"{report} shows the block names of the model.",
        ),
    ]


def gather_loras(lora_stack: list | None, models: dict[str, Any]) -> list[MergeInput]:
    """The rows of a stack, then the LORA_MODELs of the inputs lora_1, lora_2, ... with strength_1, ... or 1."""
    inputs = [MergeInput(*row) for row in loras.stack_models(lora_stack or [])]
    for number in range(1, MODELS + 1):
        lora = models.get(f"lora_{number}")
        if lora is not None:
            strength = models.get(f"strength_{number}", 1.0)
            inputs.append(MergeInput(loras.as_lora_model(lora), strength, strength))
    return inputs


def rank_policy_input() -> io.Input:
    """How ranks are chosen, instead of one number."""
    return RankType.Input(
        "rank_policy", optional=True, tooltip="How ranks are chosen, from Rank Policy. Replaces rank."
    )


def rank_choice(rank: int, rank_policy: RankChoice | None) -> RankChoice:
    """The connected policy, else the rank; 0 keeps everything."""
    return rank_policy or (RankChoice("fixed", rank) if rank else RankChoice("full"))


def noise_and_device_inputs() -> list[io.Input]:
    """What an extraction does about rounding, and where it computes."""
    return [
        io.Boolean.Input(
            "ignore_noise",
            default=False,
            tooltip="Whether to keep what cannot be distinguished from the rounding of the stored weights. When "
            "off, ranks end there, and a difference that is all rounding is an error.",
        ),
        io.Combo.Input(
            "device",
            options=list(DEVICES),
            default="auto",
            tooltip="Where the decompositions are computed. auto: on the GPU if there is one. cpu: slower, uses no "
            "video memory.",
        ),
    ]


def extraction_settings(
    rank: int, conv_rank: int, biases_and_norms: bool, ignore_noise: bool, device: str, policy: RankChoice | None
) -> Settings:
    """The settings of an extraction, with room made on the device."""
    where = run.compute_device(WORKING_BYTES) if device == "auto" else torch.device("cpu")
    conv = RankChoice("fixed", conv_rank) if conv_rank else None
    return Settings(rank_choice(rank, policy), conv, biases_and_norms, ignore_noise, where)


def tier_inputs() -> list[io.Input]:
    """Which kinds of norm parameters are meant. See `delta.families.norm_sites`."""
    return [
        io.Boolean.Input(
            "norms",
            default=True,
            tooltip="Gain and bias of norms: U-Nets, Lumina 2 and Z-Image have most of theirs here.",
        ),
        io.Boolean.Input(
            "modulation",
            default=True,
            tooltip="The constant part of what the time step adds around norms: Flux, SD3, Wan, Qwen-Image and LTX have theirs "
            "here.",
        ),
        io.Boolean.Input(
            "qk_norms",
            default=False,
            tooltip="Gain of the norms of query and key: how sharp attention is, not style.",
        ),
    ]


def chosen_tiers(norms: bool, modulation: bool, qk_norms: bool) -> tuple[str, ...]:
    """The tiers that are switched on. Raises ValueError for none."""
    chosen = tuple(tier for tier, is_on in zip(TIERS, (norms, modulation, qk_norms)) if is_on)
    if not chosen:
        raise ValueError(f"All kinds of norm parameters are switched off. Switch on one of: {', '.join(TIERS)}.")
    return chosen


def norm_rules_input() -> io.Input:
    """Which norm parameters change, and how far."""
    return io.String.Input(
        "block_weights",
        default="",
        multiline=True,
        tooltip="Factors by block or module name, such as `input=0, middle=0.5, output.3-8=1`. The last rule that matches a "
        "parameter decides; `*=0` first switches everything else off. The plot shows the block names of the model.",
    )


def norm_lora_output() -> io.Output:
    """Differences of norm parameters as a LoRA."""
    return io.LoraModel.Output(
        display_name="lora_model",
        tooltip="The differences, for Save LoRA and LoRA loaders. ComfyUI's own loaders leave out the tables of Wan and LTX.",
    )


def norm_report_outputs() -> list[io.Output]:
    """What a node tells of the norm parameters that it changes."""
    return [
        io.String.Output(
            display_name="report", tooltip="What changes by kind, what moved most, and what was left out."
        ),
        io.Image.Output(display_name="plot", tooltip="How far each block moved."),
    ]
