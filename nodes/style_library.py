"""A library of small style files on one frozen model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.lora.folder import WHOLE, files_in, folders_of, is_in, pick
from ..delta.lora.stack import StackEntry, format_report
from ..delta.report_text import markdown
from . import menu
from .host import beside, folders, loras
from .inputs import quantised_input, strength_input


def _files() -> list[str]:
    return [name.replace("\\", "/") for name in folders.file_names("loras")]


class StyleLibrary(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaStyleLibrary",
            display_name="Style Library",
            category=menu.NORMS,
            description="Puts one of a folder's style files on a model: LoRAs, norms or both, by name or by number. Files stay in "
            "memory, so that switching costs only the patch.",
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model, the same for all styles."),
                io.Combo.Input(
                    "folder",
                    options=folders_of(_files()),
                    tooltip="A folder in models/loras. Its files, and those of the folders in it, are the styles.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=99999,
                    control_after_generate=True,
                    tooltip="The number of the style, from 0 to 99999, in the order of names. After the last one "
                    "it starts over, so that a batch can walk through them.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="The name of the style's file, with or without extension. When empty, the number is "
                    "used instead.",
                ),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder. Without it only the model is changed."),
                quantised_input(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model in the style."),
                io.Clip.Output(display_name="clip", tooltip="The changed text encoder; empty when none was connected."),
                io.String.Output(display_name="style", tooltip="The name of the style's file."),
                io.Int.Output(display_name="count", tooltip="How many styles the folder has."),
                io.String.Output(display_name="report", tooltip="Matched weights per block, and what matched nothing."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str = WHOLE, **_: object) -> str:
        return " ".join(folders.file_stamp("loras", name) for name in _files() if is_in(name, folder))

    @classmethod
    def execute(
        cls,
        model: Any,
        folder: str,
        index: int,
        name: str,
        strength_model: float,
        strength_clip: float,
        clip: Any | None = None,
        on_quantised_weights: str = beside.AUTOMATIC,
    ) -> io.NodeOutput:
        files = files_in(_files(), folder)
        style = files[pick(files, name, index)]
        target = loras.Target(model, clip, on_quantised_weights)
        report = target.apply(StackEntry(style, strength_model, strength_clip), loras.read_adapter(style))
        return io.NodeOutput(target.model, target.clip, style, len(files), markdown(format_report([report])))


NODES = [StyleLibrary]
