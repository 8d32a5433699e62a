"""Strengths and block weights multiplied into a LoRA, so that any loader applies them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..blocks.paths import block_of, block_order, count_by_block, norms_by_block, percentages
from ..charts.charts import Bars, Charts
from ..linear_algebra.rank import RankChoice
from ..progress import Step
from .addresses import ModelNames
from .costs import BYTES_PER_NUMBER, Job
from .file import Bake, LoraModel, merged_metadata, write_layers
from .merge import Merged, merge_loras
from .sources import MergeInput, SourceLayer, read_sources, source_recipe


def bake_job(
    row: MergeInput,
    model: ModelNames | None = None,
    bake: Bake | None = None,
    on_step: Step = lambda done, total: None,
) -> Job:
    """A LoRA with its strengths and block weights in it: a linear merge of one, without the layers at strength 0.

    `model` tells which weight a name means, and `bake` computes updates that depend on it. Raises
    ValueError when no layer is left, and as `merge_loras` does.
    """
    (read,) = read_sources([row], model, bake)
    layers = list(read.layers.values())
    if not layers:
        raise ValueError(f"{row.model.name} holds no LoRA tensors, so there is nothing to bake. Choose another LoRA.")
    kept = {identity: layer for identity, layer in read.layers.items() if layer.strength}
    if not kept:
        raise ValueError(
            f"The strengths and block weights switch off all {len(layers)} layers of {row.model.name}. Its blocks are "
            f"{count_by_block(layer.path for layer in layers)}; name one of them."
        )
    merged = merge_loras([kept], "linear", {}, RankChoice("full"), on_step=on_step)
    recipe = {"method": "bake", "sources": [source_recipe(row)]}
    tensors = write_layers(merged.layers, torch.float32)
    result = LoraModel(tensors, merged_metadata([row.model], recipe), f"{row.model.name} baked")
    return Job(result, _report(row, layers, result, read.notes), _charts(layers, merged))


def _report(row: MergeInput, layers: Sequence[SourceLayer], model: LoraModel, notes: Sequence[str]) -> str:
    off = [layer.path for layer in layers if not layer.strength]
    size = sum(tensor.numel() for tensor in model.values()) * BYTES_PER_NUMBER
    lines = [
        f"{row.model.name} baked: model {row.strength_model:g}, clip {row.strength_clip:g}"
        + (f", blocks {row.block_weights}" if row.block_weights else ""),
        *notes,
        f"{len(layers) - len(off)} of {len(layers)} layers kept, {size / 1e6:.2f} MB at 2 bytes per number",
    ]
    if off:
        lines.append(f"switched off and left out: {count_by_block(off)}")
    lines.append("factor by block:")
    factors: dict[str, list[float]] = {}
    for layer in layers:
        # Adding 0 takes the sign off a negative strength times 0.
        factors.setdefault(block_of(layer.path), []).append(layer.strength + 0.0)
    for block, values in sorted(factors.items(), key=lambda row: block_order(row[0])):
        spread = f"{values[0]:g}" if min(values) == max(values) else f"{min(values):g} to {max(values):g}"
        lines.append(f"  {block}: {spread}, {len(values)} layers")
    return "\n".join(lines)


def _charts(layers: Sequence[SourceLayer], merged: Merged) -> Charts:
    """How much of its norm each block keeps, above the energy of the result by block; low-rank updates only."""
    if not merged.costs:
        return [[Bars("Energy", "Energy by block", {"no low-rank layer": 0.0}, "%")]]
    norms = [(layer, layer.layer.low_rank.norm()) for layer in layers if layer.layer.low_rank is not None]
    before = norms_by_block((layer.path, norm) for layer, norm in norms)
    after = norms_by_block((layer.path, norm * layer.strength) for layer, norm in norms)
    blocks = sorted(before, key=block_order)
    left = {block: 100 * after[block] / before[block] if before[block] else 0.0 for block in blocks}
    energies = percentages({block: after[block] for block in blocks})
    return [
        [Bars("Strength", "Remaining strength, by block", left, "% of the LoRA's own")],
        [Bars("Energy", "Energy by block", energies, "%")],
    ]
