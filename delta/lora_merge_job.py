"""A whole merge or resize: from LORA_MODELs and the user's settings to a LORA_MODEL, a report and a picture."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .adapters import Layer
from .blocks.paths import block_of, weight_path
from .blocks.rules import parse_block_weights
from .charts.charts import Bars, Charts
from .linear_algebra.rank import RankChoice
from .lora_file import RECIPE, Bake, LoraModel, merged_metadata, read_layers, write_layers
from .lora_layers import layer_id, layer_path
from .lora_merge import Merged, Source, SourceLayer, Step, cost_report, merge_loras
from .lora_naming import naming_of, rename
from .merging import MergeMethod


class MergeInput(NamedTuple):
    """A LoRA to merge, its strengths, and block rules as text."""

    model: LoraModel
    strength_model: float
    strength_clip: float
    block_weights: str = ""


class SourceRead(NamedTuple):
    """A LoRA as a source: its layers, the names of tensors that no adapter has, and the block rules without effect."""

    layers: Source
    foreign: list[str]
    unused: list[str]


class Job(NamedTuple):
    """model: the result in float32; report: plain text; charts: what it cost, in rows."""

    model: LoraModel
    report: str
    charts: Charts


def merge_job(
    inputs: Sequence[MergeInput],
    method: str,
    parameters: str,
    choice: RankChoice,
    seed: int = 0,
    key_map: Mapping[str, Any] | None = None,
    bake: Bake | None = None,
    on_step: Step = lambda done, total: None,
) -> Job:
    """Merge LoRAs. `key_map` tells which weight of a model a name means, and `bake` computes updates that depend on it.

    Raises ValueError when there is nothing to merge, for unknown parameters, and as `merge_loras` does.
    """
    inputs = [MergeInput(*row) for row in inputs]
    if not inputs:
        raise ValueError("There is no LoRA to merge. Connect a LoRA stack or at least one LORA_MODEL.")
    values = parse_parameters(parameters)
    reads = read_sources(inputs, key_map, bake)
    notes = []
    for row, read in zip(inputs, reads):
        notes += [f"not a LoRA tensor, left out: {row.model.name}: {name}" for name in read.foreign]
        notes += [f"{row.model.name}: the rule {rule} matches nothing" for rule in read.unused]
    merged = merge_loras([read.layers for read in reads], method, values, choice, seed, on_step=on_step)
    recipe = {
        "method": method,
        "parameters": values,
        "rank": asdict(choice),
        "seed": seed,
        "sources": [source_recipe(row) for row in inputs],
    }
    lines = [
        f"{method} of {len(inputs)}: " + ", ".join(row.model.name for row in inputs),
        *_sources(inputs, merged),
        *notes,
    ]
    return _finish(merged, [row.model for row in inputs], recipe, "\n".join(lines), f"merged by {method}")


def resize_job(model: LoraModel, choice: RankChoice, on_step: Step = lambda done, total: None) -> Job:
    """Lower the ranks of a LoRA. Raises ValueError as `merge_job` does."""
    (read,) = read_sources([MergeInput(model, 1.0, 1.0)])
    merged = merge_loras([read.layers], "linear", {}, choice, on_step=on_step)
    recipe = {
        "method": "resize",
        "rank": asdict(choice),
        "sources": [_provenance(model)],
    }
    lines = [
        f"{model.name} resized: {choice.describe()}",
        *(f"not a LoRA tensor, left out: {name}" for name in read.foreign),
    ]
    return _finish(merged, [model], recipe, "\n".join(lines), f"{model.name} resized")


def parse_parameters(text: str) -> dict[str, float]:
    """Read `keep=0.3, drop=0.5`. Raises ValueError that quotes what cannot be read."""
    values = {}
    for item in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        name, _, number = item.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            values[name.strip()] = math.nan
        if not math.isfinite(values[name.strip()]):
            raise ValueError(f"Parameter `{item}` cannot be read. Write name=number, such as `keep=0.3`.")
    return values


def method_help(methods: Mapping[str, MergeMethod]) -> str:
    """The parameters of every method that has some, with their defaults, as one sentence."""
    rows = [
        f"{name}: " + ", ".join(f"{parameter}={default:g}" for parameter, default in method.parameters.items())
        for name, method in methods.items()
        if method.parameters
    ]
    return "; ".join(rows) + "."


def content_hash(model: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and values of all tensors, whatever file they came in."""
    digest = hashlib.sha256()
    for name in sorted(model):
        digest.update(name.encode())
        digest.update(model[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def source_recipe(row: MergeInput) -> dict[str, Any]:
    """What a recipe says of one input."""
    return {
        **_provenance(row.model),
        "strength_model": row.strength_model,
        "strength_clip": row.strength_clip,
        "block_weights": row.block_weights,
    }


def _provenance(model: LoraModel) -> dict[str, Any]:
    """Name and hash of a source, and the recipe that it was made by; None for one that was trained."""
    recipe = json.loads(model.metadata[RECIPE]) if RECIPE in model.metadata else None
    return {"name": model.name, "sha256": content_hash(model), "recipe": recipe}


def read_sources(
    inputs: Sequence[MergeInput], key_map: Mapping[str, Any] | None = None, bake: Bake | None = None
) -> list[SourceRead]:
    """The layers of LoRAs by the weight they change, with strength times block factor. See `merge_job`.

    Raises ValueError for two layers of a file that mean the same weight, and as `read_layers` does.
    """
    reads = [read_layers(row.model, bake) for row in inputs]
    result = []
    for row, read, layers in zip(inputs, reads, _in_one_naming([read.layers for read in reads], key_map or {})):
        source, unused = _source(row, layers, key_map or {})
        result.append(SourceRead(source, read.foreign, unused))
    return result


def _in_one_naming(files: Sequence[Mapping[str, Layer]], key_map: Mapping[str, Any]) -> Sequence[Mapping[str, Layer]]:
    """The layers of several files under the names of the first where they differ, so that what one file has fused meets
    what another has split. Layers that are in no table of names, and files whose new names would mean other weights of
    the model, are left as they are."""
    namings = [naming_of(layers) for layers in files]
    if len(set(namings)) == 1:
        return files
    renamed = [rename(layers, namings[0] or "kohya", keep_unknown=True) for layers in files]
    same = all(_weights(old, key_map) == _weights(new, key_map) for old, new in zip(files, renamed))
    return renamed if same else files


def _weights(names: Iterable[str], key_map: Mapping[str, Any]) -> set[str]:
    keys = (key_map[name] for name in names if name in key_map)
    return {key if isinstance(key, str) else key[0] for key in keys}


def _source(row: MergeInput, named: Mapping[str, Layer], key_map: Mapping[str, Any]) -> tuple[Source, list[str]]:
    """The layers of one LoRA by their weight, with strength times block factor; and the rules without effect."""
    blocks = parse_block_weights(row.block_weights)
    layers: dict[str, SourceLayer] = {}
    for name, layer in named.items():
        identity, path = _identify(name, key_map)
        if identity in layers:
            raise ValueError(
                f"{row.model.name} has both {layers[identity].name} and {name}, which mean the same weight. "
                "Remove the duplicate from the file."
            )
        strength = row.strength_clip if path[0] == "text" else row.strength_model
        layers[identity] = SourceLayer(name, path, layer, strength * blocks.factor(path))
    return layers, blocks.unused([layer.path for layer in layers.values()])


def _identify(name: str, key_map: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What a layer's name stands for, the same for all namings; and its path for block rules and reports."""
    key = key_map.get(name)
    if key is None:
        identity = layer_id(name)
        return identity, layer_path(identity)
    weight = key if isinstance(key, str) else key[0]
    return str(key), weight_path(weight)


def _sources(inputs: Sequence[MergeInput], merged: Merged) -> list[str]:
    lines = [
        f"  {row.model.name}: model {row.strength_model:g}, clip {row.strength_clip:g}"
        + (f", blocks {row.block_weights}" if row.block_weights else "")
        for row in inputs
    ]
    others = len(merged.layers) - len(merged.costs)
    if others:
        lines.append(f"{others} layers without a low-rank update (bias, norm or dense), added up")
    return lines


def _finish(merged: Merged, sources: Sequence[LoraModel], recipe: dict[str, Any], head: str, name: str) -> Job:
    model = LoraModel(write_layers(merged.layers, torch.float32), merged_metadata(sources, recipe), name)
    numbers = sum(tensor.numel() for tensor in model.values())
    report = "\n".join(
        [head, f"{numbers * 2 / 1e6:.2f} MB at 2 bytes a number", cost_report(list(merged.costs.values()))]
    )
    return Job(model, report, _charts(merged))


def _charts(merged: Merged) -> Charts:
    """Error against the exact sum and energy, by block."""
    title = "Relative error against the exact sum, by block"
    if not merged.costs:
        return [[Bars("Error", title, {"no low-rank layer": 0.0}, "%")]]
    errors: dict[str, float] = {}
    norms: dict[str, float] = {}
    for cost in merged.costs.values():
        block = block_of(cost.path)
        errors[block] = math.hypot(errors.get(block, 0.0), cost.error)
        norms[block] = math.hypot(norms.get(block, 0.0), cost.norm)
    total = math.hypot(*norms.values()) or 1.0
    relative = {block: 100 * errors[block] / norm if norm else 0.0 for block, norm in norms.items()}
    energies = {block: 100 * (norm / total) ** 2 for block, norm in norms.items()}
    return [[Bars("Error", title, relative, "%")], [Bars("Energy", "Energy by block", energies, "%")]]
