"""Layer swap: named blocks and parts of one model in place of another's."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.blocks.paths import count_by_block, weight_path
from ..delta.blocks.rules import combined_rules, parse_block_weights
from ..delta.families.parts import EVERYTHING, PARTS, weights_of
from ..delta.files.checkpoint import common
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
            description="Puts named blocks of one model in place of another's: the style block of SDXL, the decoder, attention "
            "only, norms only. Nothing is copied until the model is loaded.",
            inputs=[
                io.Model.Input("model", tooltip="The model that is changed."),
                io.Model.Input("other_model", tooltip="A model of the same kind, whose blocks are put in."),
                amount_input("0 is the model, 1 the other model's blocks, between them a mix."),
                io.Combo.Input(
                    "part",
                    options=list(PARTS),
                    default=EVERYTHING,
                    tooltip="What of the chosen blocks is swapped. Norms are not counted as attention or anything else.",
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
        own, other = (
            weights.LoadedWeights("model", model, None),
            weights.LoadedWeights("other model", other_model, None),
        )
        alike = common(other, own)
        blocks = parse_block_weights(combined_rules(preset, block_weights))
        # The same numbers in another shape, as SD 1.5 and SD 2 have, are another kind of layer.
        shared = {name for name in alike.shared if own.shapes[name] == other.shapes[name]}
        wanted = weights_of(part, own.shapes, own.modules)
        paths = {name: weight_path(name) for name in wanted if name in shared}
        if not paths:
            raise ValueError(f"The models have no {part} in common that could be swapped. Choose another part.")
        factors = {name: factor for name, path in paths.items() if (factor := blocks.factor(path))}
        if not factors:
            raise ValueError(
                f"The block weights switch off all {len(paths)} weights. The blocks are {count_by_block(paths.values())}; name "
                "one of them."
            )
        clone = model.clone()
        if amount:
            patches.swap_weights(clone, other_model, {name: amount * factor for name, factor in factors.items()})
        times = f"{amount:g}" if set(factors.values()) == {1.0} else f"{amount:g} times the block weights"
        lines = [f"swapped {len(factors)} weights times {times}: {count_by_block(paths[name] for name in factors)}"]
        lines += [f"the rule {rule} matches nothing" for rule in blocks.unused(list(paths.values()))]
        left = [name for name in wanted if name not in shared]
        if left:
            lines.append(f"left alone, not in both or of other shapes: {len(left)} weights such as {left[0]}")
        return io.NodeOutput(clone, "\n".join(lines))


NODES = [LayerSwap]
