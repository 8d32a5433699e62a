"""Norm parameters as style: swap, mix, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from comfy_api.latest import io

from ..delta.blocks.rules import parse_block_weights
from ..delta.files.checkpoint import common
from ..delta.lora.stack import quantised_lines
from ..delta.norms.difference import NormDelta, choose_norms, explained_share, extract_norms
from ..delta.norms.job import mix_norms_job, norm_charts, norm_report, share_lines
from ..delta.style_network.palette import read_palette, shares
from . import menu
from .host import beside, folders, patches, run, sampling
from .host import loras as host_loras
from .host import weights as host_weights
from .host.plain_changes import plain_changes
from .host.rounding import rounding_of
from .inputs import (
    MODELS,
    amount_input,
    chosen_tiers,
    norm_lora_output,
    norm_report_outputs,
    norm_rules_input,
    quantised_input,
    tier_inputs,
    widget_input,
)
from .report import tell


def _style_inputs() -> list[io.Input]:
    return [
        io.Model.Input(
            "style_model", optional=True, tooltip="A model of the same kind, whose norm parameters are the style."
        ),
        io.LoraModel.Input(
            "lora_model",
            optional=True,
            tooltip="A norm style from Extract Norms, Train Style or Load LoRA File, instead of a model.",
        ),
    ]


def _from_lora(
    lora_model: dict, model: Any, base: host_weights.LoadedWeights, tiers: tuple[str, ...], rules: str = ""
) -> NormDelta:
    """The norm changes of a LORA_MODEL that are switched on."""
    changes = plain_changes(lora_model, model)
    return choose_norms(changes.by_weight, changes.name, base, tiers, parse_block_weights(rules), changes.notes)


class _Changed(NamedTuple):
    """A clone of a model with norms changed, and what the report tells of its quantised weights."""

    model: Any
    lines: list[str]


def _apply(model: Any, deltas: Mapping[str, torch.Tensor], amount: float, mode: str = beside.AUTOMATIC) -> _Changed:
    """Add the differences to a clone of the model. Adding nothing would still round weights of 8 bits anew."""
    beside.check_mode(mode)
    clone = model.clone()
    if amount == 0:
        return _Changed(clone, [])
    changes = {name: ("diff", (delta,)) for name, delta in deltas.items()}
    applied = patches.add_weighted_patches(clone, changes, amount, parse_block_weights(""), changes, mode)
    kept, baked = (
        [found] if (found := rounding_of(model, changes, lambda _: amount, keys)) else []
        for keys in (applied.kept, applied.rounded)
    )
    return _Changed(clone, quantised_lines(kept, baked))


class NormSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaNormSwap",
            display_name="Norm Swap",
            category=menu.NORMS,
            description="Gives a model the norm parameters of another one, or of a norm style. Related models only; files trained "
            "as norms are the best styles, differences of ordinary fine-tunes are partial.",
            inputs=[
                io.Model.Input("model", tooltip="The model that gets the style."),
                amount_input("0 is the model, 1 the style, above 1 exaggerates, below 0 moves away from it."),
                *tier_inputs(),
                norm_rules_input(),
                *_style_inputs(),
                quantised_input("the change"),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model in the style."), *norm_report_outputs()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        amount: float,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
        block_weights: str,
        style_model: Any | None = None,
        lora_model: dict | None = None,
        on_quantised_weights: str = beside.AUTOMATIC,
    ) -> io.NodeOutput:
        if (style_model is None) == (lora_model is None):
            raise ValueError("Norm Swap takes its style from one input. Connect style_model or lora_model, not both.")
        base, tiers = host_weights.LoadedWeights("model", model, None), chosen_tiers(norms, modulation, qk_norms)
        if lora_model is not None:
            found = _from_lora(lora_model, model, base, tiers, block_weights)
        else:
            styled = host_weights.LoadedWeights("style model", style_model, None)
            found = extract_norms(styled, base, tiers, parse_block_weights(block_weights), run.progress())
        changed = _apply(model, found.deltas, amount, on_quantised_weights)
        lines = [f"applied {len(found.deltas)} parameters times {amount:g}", norm_report(found), *changed.lines]
        told = tell("\n".join(lines), norm_charts(found))
        return io.NodeOutput(changed.model, told.text, told.plot, ui=told.ui)


def _mix_outputs() -> list[io.Output]:
    return [
        io.Model.Output(display_name="model", tooltip="The model in the mixed style."),
        norm_lora_output(),
        *norm_report_outputs(),
    ]


class MixNorms(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        styles = [
            item
            for number in range(1, MODELS + 1)
            for item in (
                io.LoraModel.Input(f"lora_{number}", optional=number > 1, tooltip=f"Norm style {number}."),
                io.Float.Input(
                    f"weight_{number}",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    optional=number > 1,
                    tooltip=f"The share of norm style {number}, from -2 to 2.",
                ),
            )
        ]
        return io.Schema(
            node_id="StyleDeltaMixNorms",
            display_name="Mix Norms",
            category=menu.NORMS,
            description="Mixes up to four norm styles by their weights, as conditional instance normalisation interpolates between "
            "its styles, and puts the mix on a model.",
            inputs=[
                io.Model.Input("model", tooltip="The model that gets the mix."),
                io.Boolean.Input(
                    "normalise",
                    default=True,
                    tooltip="Whether all weights are divided by their sum. When off, the differences are added up "
                    "as they are.",
                ),
                *tier_inputs(),
                *styles,
                quantised_input("the change"),
            ],
            outputs=_mix_outputs(),
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        normalise: bool,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
        on_quantised_weights: str = beside.AUTOMATIC,
        **styles: Any,
    ) -> io.NodeOutput:
        numbers = [number for number in range(1, MODELS + 1) if styles.get(f"lora_{number}") is not None]
        loras = [styles[f"lora_{number}"] for number in numbers]
        weights = [styles.get(f"weight_{number}", 1.0) for number in numbers]
        tiers = chosen_tiers(norms, modulation, qk_norms)
        return _mixed(model, loras, weights, normalise, tiers, on_quantised_weights)


def _mixed(
    model: Any,
    loras: Sequence[dict],
    weights: Sequence[float],
    normalise: bool,
    tiers: tuple[str, ...],
    mode: str,
) -> io.NodeOutput:
    """The model in the mix of norm styles, the mix as a LoRA, the report and the plot."""
    base = host_weights.LoadedWeights("model", model, None)
    found = [_from_lora(lora, model, base, tiers) for lora in loras]
    mixed, job = mix_norms_job(
        found, [host_loras.as_lora_model(lora) for lora in loras], weights, normalise, base.shapes
    )
    changed = _apply(model, mixed, 1.0, mode)
    told = tell("\n".join([job.report, *changed.lines]), job.charts)
    return io.NodeOutput(changed.model, job.model, told.text, told.plot, ui=told.ui)


class NormPalette(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaNormPalette",
            display_name="Norm Style Palette",
            category=menu.NORMS,
            description="Mixes up to four norm style files on a pad and puts the mix on a model, as Mix Norms does with norm "
            "styles of other nodes.",
            inputs=[
                io.Model.Input("model", tooltip="The model that gets the mix."),
                amount_input("0 is the model, 1 the mix, above 1 exaggerates, below 0 moves away from it."),
                *tier_inputs(),
                widget_input(
                    "STYLEDELTA_NORM_PALETTE",
                    "palette",
                    '{"styles": []}',
                    "One to 4 norm style files of models/loras by name, with weights from -2 to 2 that are divided by "
                    "their sum. As text: a JSON object whose `styles` is a list of objects with `style` and `weight`.",
                ),
                quantised_input("the change"),
            ],
            outputs=_mix_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, palette: str = "", **_: object) -> str:
        try:
            names = [str(row.style) for row in read_palette(palette, by_name=True)]
        except ValueError:
            return palette
        return " ".join([palette, *(folders.file_stamp("loras", name) for name in names)])

    @classmethod
    def execute(
        cls,
        model: Any,
        amount: float,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
        palette: str,
        on_quantised_weights: str = beside.AUTOMATIC,
    ) -> io.NodeOutput:
        styles = read_palette(palette, by_name=True)
        loras = [host_loras.read_adapter(str(row.style)) for row in styles]
        weights = [share * amount for share in shares(styles)]
        return _mixed(model, loras, weights, False, chosen_tiers(norms, modulation, qk_norms), on_quantised_weights)


class NormReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaNormReport",
            display_name="Norm Report",
            category=menu.NORMS,
            description="Shows which norm parameters a style moves and how far, and what share of a styled model's effect they "
            "explain, before anything is sampled.",
            inputs=[
                io.Model.Input("base_model", tooltip="The model to put the style on."),
                *tier_inputs(),
                norm_rules_input(),
                io.Model.Input("style_model", optional=True, tooltip="The styled model. The share needs it."),
                io.LoraModel.Input(
                    "lora_model",
                    optional=True,
                    tooltip="A norm style to inspect instead of the styled model's norms.",
                ),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="A prompt for the explained share: three evaluations of the model, one denoising step each.",
                ),
                io.Latent.Input(
                    "latent", optional=True, tooltip="The picture of that step. Without it the step starts from noise."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="How far each block moved."),
                io.String.Output(
                    display_name="report",
                    tooltip="Parameters by kind, what moved most, what was left out, and the share.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        base_model: Any,
        norms: bool,
        modulation: bool,
        qk_norms: bool,
        block_weights: str,
        style_model: Any | None = None,
        lora_model: dict | None = None,
        positive: list | None = None,
        latent: dict | None = None,
    ) -> io.NodeOutput:
        if style_model is None and lora_model is None:
            raise ValueError("There is no style to inspect. Connect style_model, lora_model, or both.")
        base, tiers = (
            host_weights.LoadedWeights("base model", base_model, None),
            chosen_tiers(norms, modulation, qk_norms),
        )
        styled = None if style_model is None else host_weights.LoadedWeights("styled model", style_model, None)
        if styled is not None:
            common(styled, base)
        if lora_model is not None:
            found = _from_lora(lora_model, base_model, base, tiers, block_weights)
        else:
            found = extract_norms(styled, base, tiers, parse_block_weights(block_weights), run.progress())
        lines = [norm_report(found)]
        if style_model is None or positive is None:
            lines.append("explained share: connect style_model and positive to measure it")
        else:
            swapped = _apply(base_model, found.deltas, 1.0).model
            step, outputs = run.progress(), []
            for model in (base_model, swapped, style_model):
                outputs.append(sampling.denoise_once(model, positive, latent))
                step(len(outputs), 3)
            lines += share_lines(explained_share(*outputs))
        told = tell("\n".join(lines), norm_charts(found))
        return io.NodeOutput(told.plot, told.text, ui=told.ui)


NODES = [NormSwap, MixNorms, NormPalette, NormReport]
