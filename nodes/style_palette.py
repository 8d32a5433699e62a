"""Pick and mix a network's styles on a palette."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..delta.style_network.network import StyleNetwork
from ..delta.style_network.palette import NUMBER_EXAMPLE, mix_styles, read_palette
from . import menu
from .host import palette as host_palette
from .inputs import NetworkType, StyleType, widget_input


class StylePalette(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStylePalette",
            display_name="Style Palette",
            category=menu.STYLE_NETWORK,
            description="Mixes up to four of a network's own styles on a pad: choose thumbnails, drag the point, and see "
            "the mix on your picture.",
            inputs=[
                NetworkType.Input("style_network", tooltip="A network with a style table."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-0.5,
                    max=1.5,
                    step=0.05,
                    tooltip="From -0.5 to 1.5. 1 is the mix; 0 is the mean of the network's styles, which is a mild style "
                    "itself; above 1 exaggerates. The strength of Stylize is multiplied with it.",
                ),
                widget_input(
                    "STYLEDELTA_STYLE_PALETTE",
                    "palette",
                    NUMBER_EXAMPLE,
                    "One to 4 styles by number, with weights from -2 to 2 that are divided by their sum. As text: "
                    "a JSON object whose `styles` is a list of objects with `style` and `weight`.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture on which the palette shows the mix, as of the last run. It changes nothing else.",
                ),
            ],
            outputs=[StyleType.Output(display_name="style", tooltip="The mix, for Stylize and the other style nodes.")],
            hidden=[io.Hidden.unique_id],
            # The host is not to answer for one palette with what another of equal inputs gave: each shows its own picture.
            not_idempotent=True,
        )

    @classmethod
    def execute(
        cls, style_network: StyleNetwork, strength: float, palette: str, image: torch.Tensor | None = None
    ) -> io.NodeOutput:
        mix = mix_styles(style_network, read_palette(palette), strength)
        host_palette.remember(str(cls.hidden.unique_id), style_network, image)
        return io.NodeOutput(mix)


NODES = [StylePalette]
