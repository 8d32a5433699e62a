"""Layer swap: named blocks and parts of one model in place of another's."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.blocks.rules import combined_rules
from ..delta.extraction.swap import plan_swap
from ..delta.families.parts import EVERYTHING, PARTS
from ..delta.report_text import markdown
from . import menu
from .host import patches, weights
from .inputs import amount_input, block_weight_inputs


class LayerSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLayerSwap",
            display_name="Layer Swap",
            category=menu.NORMS,
            description="Replaces named blocks of a model with those of another: the style block of SDXL, the "
            "decoder, attention only, norms only. Nothing is copied until the model is loaded.",
            inputs=[
                io.Model.Input("model", tooltip="The model that is changed."),
                io.Model.Input("other_model", tooltip="A model of the same kind, whose blocks are used."),
                amount_input("0 is the model, 1 the other model's blocks, between them a mix."),
                io.Combo.Input(
                    "part",
                    options=list(PARTS),
                    default=EVERYTHING,
                    tooltip="Which part of the chosen blocks is swapped. Norms do not count as attention or any "
                    "other part.",
                ),
                *block_weight_inputs("is to be swapped", "The report"),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the other's blocks."),
                io.String.Output(display_name="report", tooltip="How many weights of each block were swapped."),
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, other_model: Any, amount: float, part: str, preset: str, block_weights: str
    ) -> io.NodeOutput:
        own = weights.LoadedWeights("model", model, None)
        other = weights.LoadedWeights("other model", other_model, None)
        plan = plan_swap(own, other, own.modules, part, combined_rules(preset, block_weights), amount)
        clone = model.clone()
        if amount:
            patches.swap_weights(clone, other_model, plan.factors)
        return io.NodeOutput(clone, markdown(plan.report))


NODES = [LayerSwap]
