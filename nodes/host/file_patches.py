"""LoRAs for a model's file: the host's patches of each weight, and the weight that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import comfy.lora
import torch

from ...delta.blocks.paths import weight_path
from ...delta.blocks.rules import parse_block_weights
from ...delta.files import adapter_names
from ...delta.lora.sources import MergeInput
from ...delta.lora.stack import EntryReport, StackEntry
from .loras import errors_logged, why_unfit
from .model_file import ModelFile
from .names import LoraMatch, match_lora
from .weights import Patch, parts


class FilePatches(NamedTuple):
    """Patches by the names of the weights, in the order of the LoRAs; and what became of each LoRA."""

    by_weight: dict[str, list[Patch]]
    reports: list[EntryReport]


def patches_for(file: ModelFile, rows: Sequence[MergeInput]) -> FilePatches:
    """What LoRAs with strengths and block weights do to the weights of a file.

    Raises ValueError for a LoRA that does not fit the model, of which nothing matches, or that changes what the file lacks.
    """
    by_weight: dict[str, list[Patch]] = {}
    reports = [_add(file, row, by_weight) for row in rows]
    if lacking := [name for name in by_weight if name not in file.weights]:
        raise ValueError(
            f"{file.name} lacks {len(lacking)} weights that the LoRAs change, such as {lacking[0]}. Use a whole version of the file."
        )
    if not by_weight:
        raise ValueError(
            "The strengths and block weights switch off all layers of the LoRAs, so the file would not change."
        )
    return FilePatches(by_weight, reports)


def _add(file: ModelFile, row: MergeInput, by_weight: dict[str, list[Patch]]) -> EntryReport:
    blocks, match = parse_block_weights(row.block_weights), match_lora(row.model, file.key_map)
    needs_clip = [] if file.clip_weights else [n for n in match.unmatched if adapter_names.is_text_encoder_name(n)]
    _check_fit(file, row, match, needs_clip)
    patched: dict[bool, list[tuple[str, ...]]] = {True: [], False: []}
    off = []
    for key, patch in match.patches.items():
        name, offset, function = parts(key)
        if name not in file.shapes:
            continue
        path, is_text = weight_path(name), name in file.clip_weights
        strength = (row.strength_clip if is_text else row.strength_model) * blocks.factor(path)
        if strength == 0:
            off.append(path)
            continue
        patched[is_text].append(path)
        by_weight.setdefault(name, []).append((strength, patch, 1.0, offset, function))
    entry = StackEntry(row.model.name, row.strength_model, row.strength_clip, row.block_weights)
    left = [name for name in match.unmatched if name not in set(needs_clip)]
    unused = blocks.unused(patched[False] + patched[True] + off)
    return EntryReport(entry, patched[False], patched[True], off, left, unused, needs_clip)


def _check_fit(file: ModelFile, row: MergeInput, match: LoraMatch, needs_clip: list[str]) -> None:
    problem = why_unfit(row.model, match, file.model_weights | file.clip_weights, needs_clip)
    if not problem and not match.patches:
        problem = "all its tensors are for a text encoder, which the file lacks"
    if problem:
        raise ValueError(
            f"{row.model.name} does not fit {file.name}: {problem}. It has {adapter_names.naming(row.model)}; the file is a "
            f"{file.kind}. Choose a LoRA that was made for this kind of model."
        )


def patched_value(name: str, patches: Sequence[Patch], value: torch.Tensor) -> torch.Tensor:
    """A weight with the host's patches, by the host's own function: float32; the value stays as it is.

    Raises ValueError where the host fails, which it only logs, and where the weight would get another shape.
    """
    with errors_logged() as errors:
        changed = comfy.lora.calculate_weight(list(patches), value.clone(), name)
    if errors:
        raise ValueError(f"ComfyUI cannot apply a LoRA to {name}: {errors[0]}")
    if changed.shape != value.shape:
        raise ValueError(
            f"A LoRA makes {name} {tuple(changed.shape)} instead of {tuple(value.shape)}, which a file with the "
            "base's structure cannot hold. Apply that LoRA with Apply LoRA Stack."
        )
    return changed
