"""Statistics of a reference for latents and pictures: AdaIN and WCT."""

from __future__ import annotations

from functools import partial

import torch
from comfy_api.latest import io

from ..delta.statistics.adain import adain
from ..delta.statistics.transfer import EIGHT_BITS, Method, transfer_colours, transfer_latent
from ..delta.statistics.wct import wct
from . import menu
from .host import run
from .inputs import amount_input

MASK_TOOLTIP = "The content is measured where the mask is white, and changes only there. The mask is resized."


def _amount_input() -> io.Input:
    return amount_input(
        "0 is the content, 1 has the statistics of the reference; above 1 goes beyond it, below 0 moves away from it."
    )


def _latent_inputs() -> list[io.Input]:
    return [
        io.Latent.Input("content", tooltip="The latent that changes: pictures or videos, one or a batch."),
        io.Latent.Input(
            "reference",
            tooltip="The latent whose statistics are used, of any size and number of frames, but from the same "
            "VAE. One, or one for each latent of the content.",
        ),
        _amount_input(),
    ]


def _per_frame_input() -> io.Input:
    return io.Boolean.Input(
        "per_frame",
        default=False,
        tooltip="For videos: match each frame on its own, to the same frame of an equally long reference, "
        "otherwise to the whole reference. When off, all frames share one change, and light may vary from "
        "frame to frame.",
    )


def _mask_input(more: str = "") -> io.Input:
    return io.Mask.Input("mask", optional=True, tooltip=MASK_TOOLTIP + more)


def _latent_mask_input() -> io.Input:
    return _mask_input(" One mask, one for each latent, or for a video any number over its frames.")


def _latent_output() -> io.Output:
    return io.Latent.Output(display_name="latent", tooltip="The changed latent, of the same size.")


def _matched_latent(content: dict, reference: dict, method: Method, amount: float, mask: torch.Tensor | None) -> dict:
    """The content's dict with other samples; everything else that it carries is kept."""
    samples = transfer_latent(content["samples"], reference["samples"], method, amount, mask)
    return {**content, "samples": samples}


class AdaINLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaAdaIN",
            display_name="AdaIN (Latent)",
            category=menu.STATISTICS,
            description="Gives each channel of a latent the mean and standard deviation of that channel in a "
            "reference latent: colour, light and contrast, of the whole picture or around each point.",
            inputs=[
                *_latent_inputs(),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=511,
                    step=1,
                    tooltip="0 matches the picture as a whole. An odd number from 3 to 511 matches a window of "
                    "that many latent pixels (usually 8 or 16 image pixels each) around each point, which "
                    "also transfers the layout of light and colour.",
                ),
                _per_frame_input(),
                _latent_mask_input(),
            ],
            outputs=[_latent_output()],
        )

    @classmethod
    def execute(
        cls,
        content: dict,
        reference: dict,
        amount: float,
        window: int,
        per_frame: bool,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        method = partial(adain, window=window, per_frame=per_frame)
        return io.NodeOutput(_matched_latent(content, reference, method, amount, mask))


class WCTLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaWCT",
            display_name="WCT (Latent)",
            category=menu.STATISTICS,
            description="Gives a latent the mean and the whole covariance of a reference latent: like AdaIN, but "
            "it also matches which channels vary together, so its palette comes closer to the "
            "reference's.",
            inputs=[*_latent_inputs(), _per_frame_input(), _latent_mask_input()],
            outputs=[_latent_output()],
        )

    @classmethod
    def execute(
        cls, content: dict, reference: dict, amount: float, per_frame: bool, mask: torch.Tensor | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(_matched_latent(content, reference, partial(wct, per_frame=per_frame), amount, mask))


def _image_inputs() -> list[io.Input]:
    return [
        io.Image.Input("content", tooltip="The picture or pictures to change, each on its own. Transparency stays."),
        io.Image.Input(
            "reference",
            tooltip="The picture whose colours are used, of any size. One, or one for each picture of the content.",
        ),
        _amount_input(),
        _mask_input(" One mask, or one for each picture."),
    ]


def _image_output() -> io.Output:
    return io.Image.Output(display_name="image", tooltip="The recoloured picture, of the same size.")


class AdaINImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaAdaINImage",
            display_name="AdaIN (Image)",
            category=menu.STATISTICS,
            description="Gives the lightness and both colour axes of a picture the mean and contrast that they "
            "have in a reference picture. Computed in Oklab, where equal steps look equal.",
            inputs=_image_inputs(),
            outputs=[_image_output()],
        )

    @classmethod
    def execute(
        cls, content: torch.Tensor, reference: torch.Tensor, amount: float, mask: torch.Tensor | None = None
    ) -> io.NodeOutput:
        method = partial(adain, floor=EIGHT_BITS)
        return io.NodeOutput(transfer_colours(content, reference, method, amount, mask, run.progress()))


class WCTImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaWCTImage",
            display_name="WCT (Image)",
            category=menu.STATISTICS,
            description="Gives a picture the mean and the whole covariance of the colours of a reference picture, "
            "including which colours go with light and dark. Computed in Oklab, where equal steps look "
            "equal.",
            inputs=_image_inputs(),
            outputs=[_image_output()],
        )

    @classmethod
    def execute(
        cls, content: torch.Tensor, reference: torch.Tensor, amount: float, mask: torch.Tensor | None = None
    ) -> io.NodeOutput:
        method = partial(wct, floor=EIGHT_BITS)
        return io.NodeOutput(transfer_colours(content, reference, method, amount, mask, run.progress()))


NODES = [AdaINLatent, WCTLatent, AdaINImage, WCTImage]
