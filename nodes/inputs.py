"""Inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from . import host


def filename_prefix_input(default: str) -> io.Input:
    """Where in the output folder a file is written."""
    return io.String.Input(
        "filename_prefix",
        default=default,
        tooltip="Folder and beginning of the file name, inside the output folder. A number is added; "
        "no file is ever replaced.",
    )


def lora_name_input() -> io.Input:
    """A choice of the LoRA files."""
    return io.Combo.Input("lora_name", options=host.file_names("loras"), tooltip="A LoRA file in models/loras.")


def strength_input(name: str, target: str) -> io.Input:
    """A LoRA strength as core's loaders have it."""
    return io.Float.Input(
        name,
        default=1.0,
        min=-100.0,
        max=100.0,
        step=0.01,
        tooltip=f"How strongly the LoRA changes {target}, from -100 to 100. 1 is as trained, 0 leaves it out, "
        "negative takes it away.",
    )
