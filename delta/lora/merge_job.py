"""A whole merge or resize: from LORA_MODELs and the user's settings to a LORA_MODEL, a report and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..blocks.paths import norms_by_block, percentages
from ..charts.charts import Bars, Charts
from ..linear_algebra.rank import RankChoice
from ..merging import MergeMethod
from ..progress import Step
from .addresses import ModelNames
from .costs import Job, cost_report
from .file import Bake, LoraModel, merged_metadata, write_layers
from .merge import Merged, merge_loras
from .sources import MergeInput, provenance, read_sources, source_recipe


def merge_job(
    inputs: Sequence[MergeInput],
    method: str,
    parameters: str,
    choice: RankChoice,
    seed: int = 0,
    model: ModelNames | None = None,
    bake: Bake | None = None,
    on_step: Step = lambda done, total: None,
) -> Job:
    """Merge LoRAs. `model` tells which weight a name means, and `bake` computes updates that depend on it.

    Raises ValueError when there is nothing to merge, for unknown parameters, and as `merge_loras` does.
    """
    inputs = [MergeInput(*row) for row in inputs]
    if not inputs:
        raise ValueError("There is no LoRA to merge. Connect a LoRA stack or at least one LORA_MODEL.")
    values = parse_parameters(parameters)
    reads = read_sources(inputs, model, bake)
    notes = []
    for row, read in zip(inputs, reads):
        notes += [f"{row.model.name}: {note}" for note in read.notes]
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
        "sources": [provenance(model)],
    }
    lines = [
        f"{model.name} resized: {choice.describe()}",
        *read.notes,
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
        [head, f"{numbers * 2 / 1e6:.2f} MB at 2 bytes per number", cost_report(list(merged.costs.values()))]
    )
    return Job(model, report, _charts(merged))


def _charts(merged: Merged) -> Charts:
    """Error against the exact sum and energy, by block."""
    title = "Relative error against the exact sum, by block"
    if not merged.costs:
        return [[Bars("Error", title, {"no low-rank layer": 0.0}, "%")]]
    errors = norms_by_block((cost.path, cost.error) for cost in merged.costs.values())
    norms = norms_by_block((cost.path, cost.norm) for cost in merged.costs.values())
    relative = {block: 100 * errors[block] / norm if norm else 0.0 for block, norm in norms.items()}
    return [[Bars("Error", title, relative, "%")], [Bars("Energy", "Energy by block", percentages(norms), "%")]]
