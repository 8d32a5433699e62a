"""A whole extraction: from two models and the user's settings to a LORA_MODEL, a report and its charts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..blocks.paths import block_of, block_order, norms_by_block
from ..charts.charts import Bars, Charts, Spectra
from ..lora.costs import BYTES_PER_NUMBER, Job, LayerCost, cost_report
from ..lora.file import LoraModel, merged_metadata, write_layers
from ..lora.naming import usual_names
from ..progress import Step
from .extract import Difference, Extracted, Settings, Store, extract, layer_signal, noise_rank, path_of
from .pair import Pair

# Blocks whose spectra are drawn: those that change most.
DRAWN = 6
# Below this a difference is half rounding.
NOISY = 1.0


def extract_job(
    pair: Pair,
    settings: Settings,
    provenance: Sequence[Mapping[str, Any]] = (),
    store: Store | None = None,
    on_step: Step = lambda done, total: None,
) -> Job:
    """The difference of two models as a LoRA. See `lora_extract.extract`, also for errors.

    provenance: what the recipe says of the two.
    """
    tuned, base = pair.tuned, pair.base
    start = time.perf_counter()
    found = extract(pair, settings, store, on_step)
    recipe = {
        "method": "extract",
        "sources": list(provenance) or [{"name": tuned.name}, {"name": base.name}],
        **settings_key(settings),
    }
    tensors = write_layers(usual_names(found.layers, base.shapes), torch.float32)
    model = LoraModel(tensors, merged_metadata([], recipe), f"{tuned.name} minus {base.name}")
    lines = [
        f"{tuned.name} minus {base.name}: {settings.choice.describe()}"
        + ("" if settings.conv is None else f", convolutions {settings.conv.describe()}"),
        f"{sum(tensor.numel() for tensor in tensors.values()) * BYTES_PER_NUMBER / 1e6:.2f} MB at 2 bytes "
        f"per number, {time.perf_counter() - start:.1f} s",
        *counts(found),
        *pair.notes,
        *noise_lines(found.differences),
        cost_report(costs(found.differences | found.lost)),
    ]
    return Job(model, "\n".join(lines), difference_charts(found.differences | found.lost))


def settings_key(settings: Settings) -> dict[str, Any]:
    """The settings that decide the result, for recipes and to know a run again."""
    return {
        "rank": asdict(settings.choice),
        "conv_rank": None if settings.conv is None else asdict(settings.conv),
        "biases_and_norms": settings.biases_and_norms,
        "ignore_noise": settings.ignore_noise,
    }


def costs(differences: Mapping[str, Difference]) -> list[LayerCost]:
    return [
        LayerCost(path_of(name), d.low_rank.rank, d.norm, d.residual, 0.0, d.full_rank)
        for name, d in differences.items()
        if d.low_rank is not None
    ]


def counts(found: Extracted) -> list[str]:
    kept = [difference.low_rank is not None for difference in found.differences.values()]
    lines = [
        f"{sum(kept)} weights as factors, {len(kept) - sum(kept)} biases and norms whole, {found.unchanged} unchanged"
    ]
    for reason, count in Counter(found.skipped.values()).items():
        names = [name for name, why in found.skipped.items() if why == reason]
        lines.append(f"left out, {reason}: {count} ({', '.join(names[:3])}{', ...' if count > 3 else ''})")
    return lines


def noise_lines(differences: Mapping[str, Difference]) -> list[str]:
    """What the rounding of the stored weights allows."""
    matrices = {name: d for name, d in differences.items() if d.low_rank is not None and d.deviation}
    if not matrices:
        return []
    signals = {name: layer_signal(difference) for name, difference in matrices.items()}
    ranks = [noise_rank(difference) for difference in matrices.values()]
    lines = [f"signal to rounding noise: {min(signals.values()):.3g} to {max(signals.values()):.3g} by layer"]
    if None not in ranks:
        lines.append(f"these two files support no more than rank {max(ranks)}: the rest is mostly rounding")
    noisy = [name for name, signal in signals.items() if signal < NOISY]
    if noisy:
        worst = min(noisy, key=signals.__getitem__)
        lines.append(
            f"{len(noisy)} layers are more rounding than signal; worst {'.'.join(path_of(worst))} with {signals[worst]:.2g}"
        )
    return lines


def difference_charts(differences: Mapping[str, Difference]) -> Charts:
    """Spectra of the blocks that change most, each by its strongest layer, with the cut; and the error by block."""
    matrices = {name: d for name, d in differences.items() if d.low_rank is not None}
    if not matrices:
        return [[Bars("Error", "Relative error by block", {"no low-rank layer": 0.0}, "%")]]
    norms = norms_by_block((path_of(name), d.norm) for name, d in matrices.items())
    errors = norms_by_block((path_of(name), d.residual) for name, d in matrices.items())
    strongest: dict[str, str] = {}
    for name, d in matrices.items():
        block = block_of(path_of(name))
        if block not in strongest or d.norm > matrices[strongest[block]].norm:
            strongest[block] = name
    drawn = sorted(strongest, key=lambda block: -norms[block])[:DRAWN]
    curves = {f"{block}: {'.'.join(path_of(strongest[block])[-3:])}": matrices[strongest[block]] for block in drawn}
    relative = {block: 100 * errors[block] / norms[block] for block in sorted(norms, key=block_order)}
    return [
        [
            Spectra(
                "Spectra",
                "Singular values of the blocks that change most",
                {label: d.values.tolist() for label, d in curves.items()},
                {label: d.low_rank.rank for label, d in curves.items()},
            )
        ],
        [Bars("Error", "Relative error by block", relative, "%")],
    ]
