"""LoRA stacks: add a row, write many rows, apply the stack."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..delta.blocks.rules import combined_rules
from ..delta.lora.info import trigger_words
from ..delta.lora.pairs import split_pairs
from ..delta.lora.row_text import read_row_text, stack_text
from ..delta.lora.rows import read_rows
from ..delta.lora.stack import NO_LORA, StackEntry, check_is_stack, format_report, read_stack
from ..delta.report_text import markdown
from . import menu
from .host import beside, folders, lora_files, loras, run
from .inputs import (
    StackType,
    block_weight_inputs,
    lora_name_input,
    quantised_input,
    strength_input,
    trigger_words_output,
    widget_input,
)


class AddLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaAddLora",
            display_name="Add LoRA",
            category=menu.LORA,
            description="Adds one LoRA to a stack. Chain several, then apply them together with Apply LoRA Stack.",
            inputs=[
                lora_name_input(),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
                *block_weight_inputs(),
                StackType.Input("lora_stack", optional=True, tooltip="An earlier stack, from here or another pack."),
                io.String.Input(
                    "name",
                    optional=True,
                    force_input=True,
                    tooltip="The LoRA by a name from the graph, with or without folder and extension, in upper or "
                    "lower case. It overrides the LoRA name above, which is used when this one is empty.",
                ),
            ],
            outputs=[StackType.Output(display_name="lora_stack", tooltip="The stack with this LoRA at its end.")],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str = "", **_: object) -> str:
        return folders.file_stamp("loras", lora_name)

    @classmethod
    def execute(
        cls,
        lora_name: str,
        strength_model: float,
        strength_clip: float,
        preset: str,
        block_weights: str,
        lora_stack: list | None = None,
        name: str | None = None,
    ) -> io.NodeOutput:
        rules = combined_rules(preset, block_weights)
        if (name or "").strip():
            lora_name = lora_files.find(name)
        folders.file_path("loras", lora_name)
        return io.NodeOutput([*check_is_stack(lora_stack), StackEntry(lora_name, strength_model, strength_clip, rules)])


class LoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoraStack",
            display_name="LoRA Stack",
            category=menu.LORA,
            description="A list of LoRAs with strengths and block presets. Apply them together with Apply LoRA Stack.",
            inputs=[
                widget_input(
                    "STYLEDELTA_LORA_ROWS",
                    "rows",
                    "[]",
                    "The LoRAs, applied from top to bottom, with strengths from -100 to 100. Scripts write a JSON list as "
                    "text; the help page shows it.",
                ),
                StackType.Input("lora_stack", optional=True, tooltip="An earlier stack, from here or another pack."),
                io.String.Input(
                    "rows_text",
                    optional=True,
                    force_input=True,
                    tooltip="More rows, after those of the list: tags such as `<lora:ink:0.8>` or "
                    "`<lora:ink:0.8:0.6>` in a prompt, lines such as `ink, 0.8, 0.6`, or a JSON list. "
                    "Names need no folder and no extension.",
                ),
            ],
            outputs=[
                StackType.Output(
                    display_name="lora_stack",
                    tooltip="The stack with the LoRAs that are switched on at its end. Without any it is the earlier stack.",
                ),
                io.String.Output(
                    display_name="text",
                    tooltip="The whole stack as text, such as `<lora:ink:0.8>`, one LoRA per line, for prompts and "
                    "the metadata of pictures. The input for rows reads it back.",
                ),
                trigger_words_output("all LoRAs of the stack"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, rows: str = "", **_: object) -> str:
        try:
            names = [row.entry[0] for row in read_rows(rows)]
        except ValueError:
            # Told when the node runs.
            return ""
        return "\n".join(map(lora_files.stamp, names))

    @classmethod
    def execute(cls, rows: str, lora_stack: list | None = None, rows_text: str | None = None) -> io.NodeOutput:
        added = lora_files.located(read_rows(rows), read_row_text(rows_text or ""))
        stack = [*check_is_stack(lora_stack), *added]
        return io.NodeOutput(stack, stack_text(stack, lora_files.names()), trigger_words(lora_files.infos(stack)))


class ApplyLoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaApplyLoraStack",
            display_name="Apply LoRA Stack",
            category=menu.LORA,
            description="Applies every LoRA of a stack to a model and its text encoder, and reports what matched.",
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                StackType.Input(
                    "lora_stack",
                    optional=True,
                    tooltip="A stack from LoRA Stack, from Add LoRA or from another pack's stacker. Without one, "
                    "or when the nodes that make it are bypassed, the model is not changed.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder. Without it only the model is changed."),
                quantised_input(),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The changed model."),
                io.Clip.Output(display_name="clip", tooltip="The changed text encoder; empty when none was connected."),
                io.String.Output(
                    display_name="report",
                    tooltip="Matched weights per block, and every tensor that matched nothing. Connect Preview as Text.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        lora_stack: list | None = None,
        clip: Any | None = None,
        on_quantised_weights: str = beside.AUTOMATIC,
    ) -> io.NodeOutput:
        entries = read_stack(lora_stack)
        lora_files.check_stack(entries)
        target = loras.Target(model, clip, on_quantised_weights)
        step = run.progress()
        reports = []
        for index, entry in enumerate(entries):
            step(index, len(entries))
            reports.append(target.apply(entry, loras.read_adapter(entry[0])))
        step(len(entries), len(entries))
        return io.NodeOutput(target.model, target.clip, markdown(format_report(reports)))


class SplitHighLow(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaSplitHighLow",
            display_name="Split High and Low Noise",
            category=menu.LORA,
            description="Makes two stacks from one, for the two models of Wan 2.2: a row that names either file of "
            "a pair gives both, found by their names, such as high_noise and low_noise, or HIGH and "
            "LOW.",
            inputs=[
                StackType.Input(
                    "lora_stack",
                    optional=True,
                    tooltip="A stack with one row for each pair, or with rows for both, from here or another pack. Without one "
                    "both stacks are empty.",
                ),
                io.Float.Input(
                    "high_strength",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    tooltip="Multiplies the strengths of the LoRAs for high noise, from -100 to 100. 0 switches them off.",
                ),
                io.Float.Input(
                    "low_strength",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    tooltip="Multiplies the strengths of the LoRAs for low noise, from -100 to 100. 0 switches them off.",
                ),
            ],
            outputs=[
                StackType.Output(
                    display_name="high_noise", tooltip="The LoRAs for the high-noise model, which begins."
                ),
                StackType.Output(display_name="low_noise", tooltip="The LoRAs for the low-noise model, which ends."),
                io.String.Output(
                    display_name="report", tooltip="The files and strengths of each row. Connect Preview as Text."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        return "\n".join(folders.file_names("loras"))

    @classmethod
    def execute(
        cls, lora_stack: list | None = None, high_strength: float = 1.0, low_strength: float = 1.0
    ) -> io.NodeOutput:
        split = split_pairs(lora_stack, folders.file_names("loras"), high_strength, low_strength)
        return io.NodeOutput(split.high, split.low, markdown("\n".join(split.lines) or NO_LORA))


NODES = [AddLora, LoraStack, ApplyLoraStack, SplitHighLow]
