"""LoRAs merged into a model's file, weight by weight: the file's names, structure and formats stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ...delta.charts.charts import Charts
from ...delta.extraction.store import run_folder
from ...delta.lora.sources import MergeInput, source_recipe
from ...delta.lora.stack import format_report
from ...delta.model_file.expression import Group, leaves, origin
from ...delta.model_file.formats import MAIN, Format, Plain, encoded, refuse_not_finite, rounding_charts
from ...delta.model_file.report import file_metadata, file_report
from ...delta.model_file.writer import Entry, Made, Part, Written, write_model
from . import folders
from .file_patches import Patch, patched_value, patches_for
from .model_file import ModelFile
from .quantised import LAYERS, StoredTensors, fitted, is_side
from .weights import SMOOTHING

KEEP = "as the base has it"
FORMATS = {KEEP: None, "float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class Saved(NamedTuple):
    """What is told of a written file, and its charts."""

    report: str
    charts: Charts


def merge_parts(file: ModelFile, patches: Mapping[str, Sequence[Patch]], dtype: torch.dtype | None) -> list[Part]:
    """The parts of the new file, in the order of the old one. dtype: of the weights of the model; None as the file has them."""
    users: dict[str, list[str]] = {}
    for weight, expression in file.weights.items():
        for name in leaves(expression):
            users.setdefault(name, []).append(weight)
    taken: set[str] = set()
    parts = []
    for name in file.stored.types:
        if name in taken or (is_side(name) and (dtype is not None or _has_weight(file.stored, name))):
            continue
        names, weights = _group(name, users, file)
        taken.update(names)
        changed = {weight: patches[weight] for weight in weights if weight in patches}
        if changed or (dtype is not None and any(_is_converted(file.stored, each, users) for each in names)):
            parts.append(_changed_part(file, names, weights, changed, dtype))
        else:
            parts += [copied_part(file.stored, [each, *file.stored.sides(each).values()]) for each in names]
    return parts


def same_reading(file: ModelFile) -> Callable[[Path, Written], None]:
    """A check that the host makes the same of the new file as of the old one, name by name."""

    def check(path: Path, written: Written) -> None:
        new = ModelFile(path)
        ours, theirs = ({n: leaves(e) for n, e in each.weights.items()} for each in (new, file))
        if new.kind != file.kind or ours != theirs:
            raise ValueError(
                f"ComfyUI would read the new file as {new.kind} with {len(ours)} weights, and {file.name} as {file.kind} with "
                f"{len(theirs)}. Nothing was kept; report this."
            )

    return check


def copied_part(stored: StoredTensors, names: Sequence[str], new_names: Mapping[str, str] | None = None) -> Part:
    """Tensors as they are stored, under new names where there are some."""
    called = new_names or {}

    def make() -> Made:
        tensors = {}
        for name in names:
            tensors[called.get(name, name)] = tensor = stored.read(name)
            refuse_not_finite(f"{stored.place}: {name}", tensor)
        return Made(tensors)

    return Part([Entry(called.get(name, name), *stored.types[name]) for name in names], make)


def _has_weight(stored: StoredTensors, side: str) -> bool:
    weight = f"{side.rpartition('.')[0]}.weight"
    return weight in stored.types and side in stored.sides(weight).values()


def _group(name: str, users: Mapping[str, list[str]], file: ModelFile) -> tuple[list[str], list[str]]:
    """The tensors of the file that weights of the model have in common with this one, and those weights."""
    names, weights, left = {name: None}, {}, [name]
    while left:
        for weight in users.get(left.pop(), ()):
            if weight not in weights:
                weights[weight] = None
                new = [each for each in leaves(file.weights[weight]) if each not in names]
                names |= dict.fromkeys(new)
                left += new
    return list(names), list(weights)


def _is_converted(stored: StoredTensors, name: str, users: Mapping[str, list[str]]) -> bool:
    """Whether a tensor's numbers get another type with those of the model: weights of the model, and all that is quantised."""
    is_quantised = bool(stored.sides(name))
    return is_quantised or (name in users and stored.types[name][0].is_floating_point)


def _changed_part(
    file: ModelFile,
    names: Sequence[str],
    weights: Sequence[str],
    changed: Mapping[str, Sequence[Patch]],
    dtype: torch.dtype | None,
) -> Part:
    stored = file.stored
    for name in names if changed else ():
        refuse_smoothed(stored, name)
    alone = weights[0] if len(names) == len(weights) == 1 and origin(file.weights[weights[0]]) == names[0] else None
    shapes = {name: file.shapes[alone] if alone else stored.types[name][1] for name in names}
    called = {name: alone or next((w for w in weights if name in leaves(file.weights[w])), name) for name in names}
    entries = []
    for name in names:
        entries += _entries(stored, name, shapes[name], dtype)

    def make() -> Made:
        formats = {name: stored.format(name, shapes[name]) for name in names}
        before = {name: formats[name].decode(stored.tensors(name)) for name in names}
        after = before
        if alone:
            after = {names[0]: patched_value(alone, changed[alone], before[names[0]])} if changed else before
        elif changed:
            group = Group({weight: file.weights[weight] for weight in weights}, before)
            for weight, patches in changed.items():
                group.change(
                    weight, lambda value, weight=weight, patches=patches: patched_value(weight, patches, value)
                )
            after = group.values()
        tensors, roundings = {}, []
        for name in names:
            new_format: Format = formats[name] if dtype is None else Plain(dtype)
            made, rounding = encoded(called[name], new_format, after[name], before[name] if changed else None)
            tensors |= named(stored, name, made, keep_sides=dtype is None)
            roundings.append(rounding)
        return Made(tensors, roundings)

    return Part(entries, make)


def refuse_smoothed(stored: StoredTensors, name: str) -> None:
    """Raise ValueError for a weight whose columns are divided by a scale of its input (AWQ), to which no update can be added."""
    if SMOOTHING in stored.sides(name):
        raise ValueError(
            f"{stored.place}: {name} is smoothed by a {SMOOTHING}, so a LoRA cannot be merged into it. Apply it "
            "with Apply LoRA Stack, or use another version of the file."
        )


def _entries(stored: StoredTensors, name: str, shape: tuple[int, ...], dtype: torch.dtype | None) -> list[Entry]:
    if dtype is None:
        return [Entry(each, *stored.types[each]) for each in (name, *stored.sides(name).values())]
    if SMOOTHING in stored.sides(name):
        raise ValueError(
            f"{stored.place}: {name} is smoothed by a {SMOOTHING}, which no float weight has. Choose the base's format."
        )
    return [Entry(name, dtype, shape)]


def named(
    stored: StoredTensors, name: str, made: Mapping[str, torch.Tensor], keep_sides: bool, new_name: str | None = None
) -> dict[str, torch.Tensor]:
    """The tensors of a weight, by their endings, under their names and in the types and shapes that they have in the file."""
    if not keep_sides:
        return {new_name or name: made[MAIN]}
    sides = stored.sides(name)
    if unknown := made.keys() - sides.keys() - {MAIN}:
        raise ValueError(
            f"{stored.place}: {name} lacks {', '.join(sorted(unknown))}. Choose a float type as the format."
        )
    tensors = {name: fitted(made[MAIN], *stored.types[name])}
    for ending, side in sides.items():
        tensors[side] = fitted(made[ending], *stored.types[side]) if ending in made else stored.read(side)
    return tensors


def merge_into_file(
    base: str,
    rows: Sequence[MergeInput],
    format_: str,
    path: str,
    step: Callable[[int, int], None],
    hash_step: Callable[[int, int], None],
) -> Saved:
    """Write the model file `base`, a name of `folders.model_names`, with LoRAs merged into it as a new file.

    format_: one of `FORMATS`. The run goes on where one with the same inputs was interrupted. Raises as `patches_for` and
    `writer.write_model` do.
    """
    dtype = FORMATS[format_]
    file = ModelFile(folders.model_path(base))
    patches = patches_for(file, rows)
    parts = merge_parts(file, patches.by_weight, dtype)
    sources = [{"name": base, "sha256": file.file.fingerprint(hash_step)}, *map(source_recipe, rows)]
    key = {"what": "merged model", "sources": sources, "format": format_}
    metadata = file_metadata(file.file.metadata, "merge into model file", sources, format_)
    if dtype is not None:
        metadata.pop(LAYERS, None)
    folder = run_folder(folders.unfinished_folder(), key)
    written = write_model(path, parts, metadata, step, same_reading(file), folder)
    proof = (
        f"read back bit for bit; ComfyUI recognises it as {file.kind}, like {file.name}, and finds all "
        f"{len(file.weights)} weights"
    )
    notes = [format_report(patches.reports), *_uses(file)]
    return Saved(file_report(path, written, proof, notes), rounding_charts(written.roundings))


def _uses(file: ModelFile) -> list[str]:
    if file.clip_weights:
        return []
    return ["a diffusion model without text encoder: load it from models/diffusion_models"]
