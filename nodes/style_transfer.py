"""Networks that paint in the style of any picture: AdaIN, WCT and AesFA, and the styles that they measure."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..delta.feature_networks import transfer_style as styles
from ..delta.feature_networks.own_networks import BUNDLED, load_bundled_network
from ..delta.feature_networks.transfer import (
    TransferNetwork,
    measure_style,
    painting_bytes,
    transfer_style,
)
from ..delta.feature_networks.transfer_files import load_transfer_network, needed_files
from ..delta.feature_networks.transfer_style import TransferStyle
from . import menu
from .host import folders, run
from .inputs import filename_prefix_input, keep_colours_input

TransferNetworkType = io.Custom("TRANSFER_NETWORK")
TransferStyleType = io.Custom("TRANSFER_STYLE")
NO_ENCODER = "none"
# Above this the node says how much memory a picture takes.
LARGE_BYTES = 1_000_000_000


def _network_files() -> list[str]:
    return [name for name in folders.file_names(folders.STYLE_NETWORKS) if not name.endswith((".onnx", ".model"))]


def _network_input(tooltip: str) -> io.Input:
    return TransferNetworkType.Input("transfer_network", tooltip=tooltip)


def _mix_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "weight",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="The share of this style in a mix, from 0 to 10; the weights of all styles are divided by their sum. A single "
            "style needs no weight: leave it at 1.",
        ),
        TransferStyleType.Input(
            "previous", optional=True, tooltip="An earlier style. This style is added to it, which mixes the two."
        ),
    ]


def _style_output() -> io.Output:
    return TransferStyleType.Output(display_name="style", tooltip="The style, or the mix so far, for Transfer Style.")


class LoadTransferNetwork(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadTransferNetwork",
            display_name="Load Transfer Network",
            category=menu.STYLE_NETWORK,
            description="Loads a network that paints in the style of any picture, without training: AdaIN, WCT or AesFA. Which one "
            "it is shows in the files. A small one comes with the pack.",
            inputs=[
                io.Combo.Input(
                    "network",
                    options=[*BUNDLED, *_network_files()],
                    default=next(iter(BUNDLED)),
                    tooltip="AdaIN and WCT of StyleDelta come with the pack. Or a file in models/style_networks: decoder.pth of pytorch-AdaIN; any of the decoders of WCT, such as "
                    "decoder_relu5_1.pth, the others are found beside it; main.pth of AesFA; or an AdaIN network of StyleDelta.",
                ),
                io.Combo.Input(
                    "encoder",
                    options=[NO_ENCODER, *_network_files()],
                    default=NO_ENCODER,
                    tooltip="The VGG-19 that a decoder was trained with, such as vgg_normalised.pth. AesFA and the networks of StyleDelta "
                    "need none.",
                ),
            ],
            outputs=[
                TransferNetworkType.Output(
                    display_name="transfer_network", tooltip="The network, for Measure Style and Transfer Style."
                ),
                io.String.Output(
                    display_name="name", tooltip="What was loaded: the kind, the file and the layers in use."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, network: str = "", encoder: str = NO_ENCODER) -> str:
        if network in BUNDLED:
            return network
        if not folders.has_file(folders.STYLE_NETWORKS, network):
            return ""
        files = needed_files(folders.file_path(folders.STYLE_NETWORKS, network))
        stamps = [folders.stamp_of(str(file)) for file in files]
        return " ".join([*stamps, folders.file_stamp(folders.STYLE_NETWORKS, encoder)])

    @classmethod
    def execute(cls, network: str, encoder: str) -> io.NodeOutput:
        if network in BUNDLED:
            loaded = load_bundled_network(network)
            return io.NodeOutput(loaded, loaded.name)
        path = folders.file_path(folders.STYLE_NETWORKS, network)
        needs = None if encoder == NO_ENCODER else folders.file_path(folders.STYLE_NETWORKS, encoder)
        loaded = load_transfer_network(path, needs)
        return io.NodeOutput(loaded, loaded.name)


class MeasureStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaMeasureStyle",
            display_name="Measure Style",
            category=menu.STYLE_NETWORK,
            description="Measures the style of a picture with a transfer network: the numbers that Transfer Style gives to other "
            "pictures. Chain several to mix styles.",
            inputs=[
                _network_input("The network that is going to paint."),
                io.Image.Input(
                    "image", tooltip="The picture whose style is measured. A batch gives the mean of its styles."
                ),
                io.Int.Input(
                    "style_size",
                    default=512,
                    min=0,
                    max=4096,
                    step=8,
                    tooltip="The longer side, in pixels up to 4096, at which the picture is measured; 0 is its own. Smaller gives finer "
                    "strokes, larger gives coarser ones and takes more memory.",
                ),
                *_mix_inputs(),
            ],
            outputs=[_style_output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        transfer_network: TransferNetwork,
        image: torch.Tensor,
        style_size: int,
        weight: float,
        previous: TransferStyle | None = None,
    ) -> io.NodeOutput:
        image, step = image.cpu(), run.progress(cls.hidden and cls.hidden.unique_id)
        device = _device(painting_bytes(transfer_network, image, style_size), step)
        measured = measure_style(transfer_network, image, "picture", weight, style_size, device, step)
        return io.NodeOutput(styles.extend(previous, measured, transfer_network.fingerprint))


class SaveMeasuredStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSaveMeasuredStyle",
            display_name="Save Measured Style",
            category=menu.STYLE_NETWORK,
            description="Writes a measured style or a mix as one small file in the output folder, to be used again without the "
            "pictures.",
            inputs=[
                TransferStyleType.Input("style", tooltip="The style or mix to save."),
                filename_prefix_input(f"{folders.STYLE_VECTORS}/measured"),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="Where the file was written.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, style: TransferStyle, filename_prefix: str) -> io.NodeOutput:
        path = folders.output_path(filename_prefix)
        styles.save_style(style, path)
        return io.NodeOutput(path, ui=ui.PreviewText(path))


class LoadMeasuredStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoadMeasuredStyle",
            display_name="Load Measured Style",
            category=menu.STYLE_NETWORK,
            description="Loads a style saved by Save Measured Style, without the pictures that it came from.",
            inputs=[
                _network_input("The network that the style was measured with."),
                io.Combo.Input(
                    "file",
                    options=folders.file_names(folders.STYLE_VECTORS),
                    tooltip="A file in models/style_vectors or output/style_vectors. Refresh to see new files.",
                ),
                *_mix_inputs(),
            ],
            outputs=[_style_output()],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str = "", **_: object) -> str:
        return folders.file_stamp(folders.STYLE_VECTORS, file)

    @classmethod
    def execute(
        cls, transfer_network: TransferNetwork, file: str, weight: float, previous: TransferStyle | None = None
    ) -> io.NodeOutput:
        network, shapes = transfer_network.fingerprint, transfer_network.style_shapes
        loaded = styles.load_style(folders.file_path(folders.STYLE_VECTORS, file), network, shapes, weight)
        return io.NodeOutput(styles.extend(previous, loaded, network))


class TransferStyleNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaTransferStyle",
            display_name="Transfer Style",
            category=menu.STYLE_NETWORK,
            description="Paints a picture in a measured style. With a mask and a second style, two styles share the picture; with "
            "a mask alone, the picture stays where the mask is black.",
            inputs=[
                _network_input("The network that the style was measured with."),
                io.Image.Input(
                    "image", tooltip="The picture or pictures to paint, each by itself, from 17 pixels on each side."
                ),
                TransferStyleType.Input(
                    "style",
                    optional=True,
                    tooltip="The style or mix to paint in. Without one, or when the nodes that make it are bypassed, the picture is "
                    "not changed.",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="From 0 to 1. 1 is the style; 0 is what the network makes of the picture without one, a soft copy of it.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="White is painted in the style. Resized to the picture."),
                TransferStyleType.Input("second_style", optional=True, tooltip="The style where the mask is black."),
                keep_colours_input(),
                io.Int.Input(
                    "paint_size",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    optional=True,
                    tooltip="The longer side, in pixels up to 8192, at which the network paints; 0 is the picture's own. Smaller gives "
                    "larger strokes, is faster and takes less memory. The painting is brought back to the picture's size.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The painted picture, of the same size.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        transfer_network: TransferNetwork,
        image: torch.Tensor,
        style: TransferStyle | None = None,
        amount: float = 1.0,
        mask: torch.Tensor | None = None,
        second_style: TransferStyle | None = None,
        keep_colours: float = 0.0,
        paint_size: int = 0,
    ) -> io.NodeOutput:
        if style is None:
            return io.NodeOutput(image)
        image, step = image.cpu(), run.progress(cls.hidden and cls.hidden.unique_id)
        painted = transfer_style(
            transfer_network,
            image,
            style,
            amount,
            mask=None if mask is None else mask.cpu(),
            second=second_style,
            keep_colours=keep_colours,
            paint_size=paint_size,
            device=_device(painting_bytes(transfer_network, image, paint_size), step),
            on_step=step,
        )
        return io.NodeOutput(run.to_output(painted))


def _device(needed: int, progress: run.Progress) -> torch.device:
    """Where to compute, with room made; what takes much memory is told before it is taken."""
    if needed > LARGE_BYTES:
        progress.tell(f"takes about {needed / 1e9:.1f} GB of memory; a smaller size takes less")
    return run.compute_device(needed)


NODES = [LoadTransferNetwork, MeasureStyle, TransferStyleNode, SaveMeasuredStyle, LoadMeasuredStyle]
