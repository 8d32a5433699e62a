"""Norm parameters from two models as a LORA_MODEL, and reports of how far they moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..blocks.paths import block_of, block_order, weight_path
from ..blocks.rules import BlockWeights
from ..charts.charts import Bars, Charts
from ..extraction.pair import Source
from ..families.norm_sites import TIERS
from ..lora.costs import Job
from ..lora.file import LoraModel, merged_metadata
from ..progress import Step
from .difference import Deltas, NormDelta, extract_norms, mix, to_lora

# Layers that the report names, those that moved most.
NAMED = 5


def extract_norms_job(
    styled: Source,
    base: Source,
    tiers: Sequence[str],
    blocks: BlockWeights,
    rules: str = "",
    on_step: Step = lambda done, total: None,
) -> Job:
    """Norm parameters of one model minus those of another. `rules` are the block weights as text. See `extract_norms`."""
    found = extract_norms(styled, base, tiers, blocks, on_step)
    title = f"{styled.name} minus {base.name}, norms"
    recipe = {
        "method": "extract norms",
        "sources": [{"name": styled.name}, {"name": base.name, "sha256_of_norms": found.fingerprint}],
        "tiers": list(tiers),
        "block_weights": rules,
    }
    model = to_lora(found.deltas, base.shapes, merged_metadata([], recipe), title)
    numbers = sum(tensor.numel() for tensor in model.values())
    lines = [title, f"{numbers} numbers, {numbers * 2 / 1e3:.0f} KB at 2 bytes per number", norm_report(found)]
    return Job(model, "\n".join(lines), norm_charts(found))


def norm_report(found: NormDelta) -> str:
    """What changes and how far: by kind, the parameters that move most, and what was left out."""
    lines = [f"architecture: {found.sites.described}"]
    for tier in TIERS:
        looked_at = [name for name in found.sizes if found.sites.tiers[name] == tier]
        moved = [name for name in looked_at if name in found.deltas]
        if looked_at:
            share = f", moved by {_share(found, moved):.2%} of their size" if moved else ""
            lines.append(f"{tier}: {len(moved)} of {len(looked_at)} parameters change{share}")
    # Gain and bias of a layer together: a bias alone is often close to zero.
    layers: dict[str, list[str]] = {}
    for name in found.deltas:
        layers.setdefault(".".join(weight_path(name)), []).append(name)
    shares = {layer: _share(found, names) for layer, names in layers.items()}
    lines += [f"  most: {layer} {shares[layer]:.1%}" for layer in sorted(shares, key=lambda row: -shares[row])[:NAMED]]
    return "\n".join([*lines, *found.notes])


def norm_charts(found: NormDelta) -> Charts:
    """How far the parameters of each block moved, one chart for each kind."""
    charts = []
    for tier in TIERS:
        blocks: dict[str, list[str]] = {}
        for name in found.deltas:
            if found.sites.tiers[name] == tier:
                blocks.setdefault(block_of(weight_path(name)), []).append(name)
        shares = {block: 100 * _share(found, blocks[block]) for block in sorted(blocks, key=block_order)}
        if shares:
            charts.append([Bars(tier, f"How far {tier} moved, by block", shares, "% of their size")])
    return charts or [[Bars("norms", "How far norms moved, by block", {"nothing moved": 0.0}, "%")]]


def _share(found: NormDelta, names: Sequence[str]) -> float:
    """||difference|| / ||base|| over these parameters; where all were zeros, the norm of the difference."""
    moved = math.hypot(*(float(torch.linalg.vector_norm(found.deltas[name])) for name in names))
    return moved / (math.hypot(*(found.sizes[name] for name in names)) or 1.0)


def share_lines(share: float) -> list[str]:
    """The explained share in words, with what it is good for."""
    advice = (
        "most of the style is in them"
        if share > 0.6
        else "part of the style is in them"
        if share > 0.2
        else "hardly anything of the style is in them: extract a LoRA instead"
    )
    return [f"explained share: {share:.0%} of the way from the base's output to the styled model's, so {advice}"]


class MixJob(NamedTuple):
    """deltas: the mix by the model's names; job: the mix as a LoRA, the report and its charts."""

    deltas: Deltas
    job: Job


def mix_norms_job(
    styles: Sequence[NormDelta],
    sources: Sequence[LoraModel],
    weights: Sequence[float],
    normalise: bool,
    shapes: Mapping[str, Sequence[int]],
) -> MixJob:
    """Norm styles of one model, mixed. sources: the LoRAs that they are from; shapes: of all weights of the model.

    Raises ValueError as `difference.mix` does.
    """
    mixed = mix([style.deltas for style in styles], weights, normalise)
    names = [source.name for source in sources]
    recipe = recipe_of_mix(list(zip(names, weights)), normalise)
    lora = to_lora(mixed, shapes, merged_metadata(sources, recipe), " + ".join(names))
    whole = styles[0]._replace(
        deltas=mixed,
        sizes={name: size for style in styles for name, size in style.sizes.items()},
        notes=[f"{name}: {note}" for name, style in zip(names, styles) for note in style.notes],
    )
    lines = [
        f"{weight:g} {name}: {len(style.deltas)} parameters" for weight, name, style in zip(weights, names, styles)
    ]
    return MixJob(mixed, Job(lora, "\n".join([*lines, norm_report(whole)]), norm_charts(whole)))


def recipe_of_mix(sources: Sequence[tuple[str, float]], normalise: bool) -> Mapping[str, Any]:
    """The recipe of a mix of named styles with their weights."""
    rows = [{"name": name, "strength_model": weight} for name, weight in sources]
    return {"method": "mix norms", "sources": rows, "normalise": normalise}
