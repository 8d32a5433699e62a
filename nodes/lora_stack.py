"""LoRA stacks: add a row, write many rows, apply the stack."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..delta.blocks.rules import combined_rules, parse_block_weights
from ..delta.files import adapter_names
from ..delta.lora.rows import read_rows
from ..delta.lora.stack import EntryReport, StackEntry, format_report, read_stack
from .host import folders, loras, patches, run, weights
from .inputs import LoraRowsType, StackType, block_weight_inputs, lora_name_input, strength_input

CATEGORY = "StyleDelta/LoRA"


class AddLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaAddLora",
            display_name="Add LoRA",
            category=CATEGORY,
            description="Adds one LoRA to a stack. Chain several, then apply them together with Apply LoRA Stack.",
            inputs=[
                lora_name_input(),
                strength_input("strength_model", "the diffusion model"),
                strength_input("strength_clip", "the text encoder"),
                *block_weight_inputs(),
                StackType.Input("lora_stack", optional=True, tooltip="An earlier stack, from here or another pack."),
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
    ) -> io.NodeOutput:
        rules = combined_rules(preset, block_weights)
        folders.file_path("loras", lora_name)
        return io.NodeOutput([*(lora_stack or []), StackEntry(lora_name, strength_model, strength_clip, rules)])


class LoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaLoraStack",
            display_name="LoRA Stack",
            category=CATEGORY,
            description="A list of LoRAs with strengths and block presets. Apply them together with Apply LoRA Stack.",
            inputs=[
                LoraRowsType.Input(
                    "rows",
                    tooltip="The LoRAs, applied from top to bottom, with strengths from -100 to 100. Scripts write a JSON list as "
                    "text; the help page shows it.",
                ),
                StackType.Input("lora_stack", optional=True, tooltip="An earlier stack, from here or another pack."),
            ],
            outputs=[
                StackType.Output(
                    display_name="lora_stack",
                    tooltip="The stack with the LoRAs that are switched on at its end. Without any it is the earlier stack.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, rows: str = "", **_: object) -> str:
        try:
            names = [row.entry[0] for row in read_rows(rows)]
        except ValueError:
            # Told when the node runs.
            return ""
        return "\n".join(folders.file_stamp("loras", name) for name in names)

    @classmethod
    def execute(cls, rows: str, lora_stack: list | None = None) -> io.NodeOutput:
        added = read_rows(rows)
        for row in added:
            try:
                folders.file_path("loras", row.entry[0])
            except FileNotFoundError as error:
                raise FileNotFoundError(f"Row {row.number} of the LoRA stack: {error}") from error
        return io.NodeOutput([*(lora_stack or []), *(row.entry for row in added)])


class ApplyLoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleDeltaApplyLoraStack",
            display_name="Apply LoRA Stack",
            category=CATEGORY,
            description="Applies every LoRA of a stack to a model and its text encoder, and reports what matched.",
            inputs=[
                io.Model.Input("model", tooltip="The diffusion model."),
                StackType.Input(
                    "lora_stack", tooltip="A stack from LoRA Stack, from Add LoRA or from another pack's stacker."
                ),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder. Without it only the model is changed."),
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
    def execute(cls, model: Any, lora_stack: list, clip: Any | None = None) -> io.NodeOutput:
        entries = read_stack(lora_stack)
        target = Target(model, clip)
        step = run.progress()
        reports = []
        for index, entry in enumerate(entries):
            step(index, len(entries))
            reports.append(target.apply(entry, loras.read_adapter(entry[0])))
        step(len(entries), len(entries))
        return io.NodeOutput(target.model, target.clip, format_report(reports))


class Target:
    """Clones of a model and a text encoder, to which LoRAs are applied."""

    def __init__(self, model: Any, clip: Any | None):
        self.model, self.clip = model.clone(), None if clip is None else clip.clone()
        self.key_map = loras.lora_key_map(model, clip)
        self.model_weights = weights.model_weights(model)
        self.clip_weights = {} if clip is None else weights.model_weights(clip)

    def apply(self, entry: StackEntry, tensors: dict[str, torch.Tensor]) -> EntryReport:
        """Patch with one LoRA. Raises ValueError when it does not fit this model."""
        name, strength_model, strength_clip = entry
        blocks = parse_block_weights(entry.block_weights)
        match = loras.match_lora(tensors, self.key_map)
        needs_clip = []
        if self.clip is None:
            needs_clip = [tensor for tensor in match.unmatched if adapter_names.is_text_encoder_name(tensor)]
        self._check_fit(name, tensors, match, needs_clip)
        on_model = patches.add_weighted_patches(self.model, match.patches, strength_model, blocks, self.model_weights)
        on_clip = patches.add_weighted_patches(self.clip, match.patches, strength_clip, blocks, self.clip_weights)
        switched_off = on_model.switched_off + on_clip.switched_off
        return EntryReport(
            entry,
            on_model.patched,
            on_clip.patched,
            switched_off,
            [tensor for tensor in match.unmatched if tensor not in set(needs_clip)],
            blocks.unused(on_model.patched + on_clip.patched + switched_off),
            needs_clip,
        )

    def _check_fit(self, name: str, tensors: dict, match: loras.LoraMatch, needs_clip: list[str]) -> None:
        problem = loras.first_misfit(match.patches, self.model_weights | self.clip_weights)
        unmatched = set(match.unmatched)
        for_model = [tensor for tensor in tensors if not adapter_names.is_text_encoder_name(tensor)]
        if for_model and unmatched.issuperset(for_model):
            problem = f"none of its {len(for_model)} tensors for the diffusion model matches"
        elif not match.patches and not needs_clip:
            problem = f"none of its {len(tensors)} tensors matches"
        if problem:
            raise ValueError(
                f"{name} does not fit this model: {problem}. It has {adapter_names.naming(tensors)}; the model is a "
                f"{type(self.model.model).__name__}. Choose a LoRA that was made for this kind of model."
            )


NODES = [AddLora, LoraStack, ApplyLoraStack]
