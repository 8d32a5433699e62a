"""A Control-LoRA of lower ranks, and what a file of one holds."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import torch

from ..blocks.paths import block_of, block_order, weight_path
from ..charts.charts import Bars, Charts, Report
from ..families.registry import DENOISER
from ..files.json_text import json_object
from ..linear_algebra.factors import LowRank, RankPolicy
from ..linear_algebra.rank import RankChoice, Spectrum
from ..lora.costs import BYTES_PER_NUMBER, LayerCost, cost_report
from ..lora.file import RECIPE
from ..progress import Step
from ..report_text import text_table
from .extract import SUMMARY, ControlLoraJob, rank_summary, room_for_factors, size_mb
from .format import OWN_LAYERS, ControlLora, family, listed

# Bars that a picture of ranks has at most; beyond that, ranks are put together in ranges.
MOST_BARS = 16


def resize_control_lora(
    lora: ControlLora,
    choice: RankChoice,
    bytes_per_number: int = BYTES_PER_NUMBER,
    on_step: Step = lambda done, total: None,
) -> ControlLoraJob:
    """Every layer becomes the best one of its new rank, by exact truncation of its factors.

    Layers that keep their rank stay as they are, bit for bit; weights that are stored whole cannot be cut without the base.
    bytes_per_number: of the file that a size in `choice` is meant for. on_step is called after each layer and may raise to
    cancel. Raises ValueError for a file without factors, and for a size that does not even hold what must be whole.
    """
    if not lora.factors:
        raise ValueError(f"{lora.name} has no factors: all its layers are stored whole, so there is nothing to resize.")
    steps = len(lora.factors) * (2 if choice.mode == "size" else 1)
    ranks = _ranks(lora, choice, bytes_per_number, steps, on_step) if choice.mode == "size" else None
    policy = choice.per_layer()
    found = ControlLora(f"{lora.name} resized", {}, lora.whole, dict(lora.metadata), lora.notes)
    costs = []
    for done, (name, part) in enumerate(lora.factors.items(), start=steps - len(lora.factors) + 1):
        kept, cost = _cut(name, part, policy if ranks is None else ranks[name])
        costs.append(cost)
        if kept.rank:
            found.factors[name] = kept
        on_step(done, steps)
    recipe = {"method": "resize Control-LoRA", "rank": asdict(choice), "sources": [{"name": lora.name}]}
    summary = _summary(lora) | {"layers_by_rank": rank_summary(found.factors)}
    # What is lost twice is not known from the file alone.
    summary.pop("relative_residual", None)
    found.metadata |= {RECIPE: json.dumps(recipe), SUMMARY: json.dumps(summary)}
    wholes = _wholes(lora)
    cut_off = len(lora.factors) - len(found.factors)
    lines = [
        f"{lora.name} resized: {choice.describe()}",
        f"size: {size_mb(lora, 2):.2f} MB became {size_mb(found, 2):.2f} MB in float16, {size_mb(found, 4):.2f} MB "
        "in float32",
        *([f"left out, given no rank: {cut_off} layers"] if cut_off else []),
        *([f"stored whole, which cannot be reduced without the base: {listed(wholes)}"] if wholes else []),
        *lora.notes,
        *_unread(lora),
        cost_report(costs),
    ]
    return ControlLoraJob(found, "\n".join(lines), ranks_charts(found))


def control_lora_report(lora: ControlLora, file_bytes: int) -> Report:
    """What a file holds, and how many layers have which rank."""
    metadata = _summary(lora)
    ranks = rank_summary(lora.factors)
    own = [name for name in lora.whole if name.startswith(OWN_LAYERS)]
    vectors = [name for name, tensor in lora.whole.items() if tensor.dim() == 1 and name not in set(own)]
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in lora.whole.values()})
    lines = [
        f"{lora.name}: Control-LoRA for {family(lora.context_width)}, {file_bytes / 1e6:.2f} MB, {', '.join(kinds)}",
        f"{len(lora.factors)} layers as factors"
        + (f" of rank {_span(ranks)}" if ranks else "")
        + f", {len(_wholes(lora))} weights of the base whole, {len(vectors)} biases and norms, {len(own)} tensors of its own",
        *(_provenance(metadata)),
        *(f"note: {note}" for note in [*lora.notes, *_unread(lora)]),
    ]
    if not lora.notes:
        lines.append("nothing is missing")
    lines.append("layers by rank: " + (", ".join(f"{rank}: {count}" for rank, count in ranks.items()) or "none"))
    lines.append("by block:")
    table = [("block", "rank", "layers", "change")]
    for block, parts in _by_block(lora).items():
        norm = math.hypot(*(part.norm() for part in parts))
        table.append((block, _span({part.rank for part in parts}), str(len(parts)), f"{norm:.3g}"))
    lines += text_table(table)
    if wholes := _wholes(lora):
        lines.append(f"whole: {listed(wholes)}")
    return Report("\n".join(lines), ranks_charts(lora))


def ranks_charts(lora: ControlLora) -> Charts:
    """How many layers have which rank."""
    counts = rank_summary(lora.factors)
    if len(counts) > MOST_BARS:
        width = -(-(max(counts) + 1) // MOST_BARS)
        ranges: dict[str, float] = {}
        for rank, count in counts.items():
            first = rank // width * width
            label = f"rank {first} to {first + width - 1}"
            ranges[label] = ranges.get(label, 0) + count
    else:
        ranges = {f"rank {rank}": count for rank, count in counts.items()}
    whole = len(_wholes(lora))
    return [[Bars("Ranks", "Layers by rank", ranges | {"whole": whole}, "layers")]]


def _ranks(lora: ControlLora, choice: RankChoice, bytes_per_number: int, steps: int, on_step: Step) -> dict[str, int]:
    """The rank of every layer for a file of a size."""
    entries = len(lora.whole) + 2 * len(lora.factors)
    room = room_for_factors(choice, sum(t.numel() for t in lora.whole.values()), entries, bytes_per_number)
    spectra = {}
    for done, (name, part) in enumerate(lora.factors.items(), start=1):
        spectra[name] = Spectrum(part.svd().values, part.shape)
        on_step(done, steps)
    return room.ranks(spectra, (), BYTES_PER_NUMBER)


def _cut(name: str, part: LowRank, rank: int | RankPolicy) -> tuple[LowRank, LayerCost]:
    """A layer of lower rank; as it is where nothing is cut off."""
    truncation = part.truncate(rank)
    kept = truncation.low_rank
    if kept.rank == part.rank:
        kept = part
    norm = float(torch.linalg.vector_norm(truncation.singular_values))
    full_rank = min(part.up.shape[0], part.down.shape[1])
    path = weight_path(f"{DENOISER}{name}.weight")
    residual = 0.0 if kept is part else truncation.residual
    return kept, LayerCost(path, kept.rank, norm, residual, 0.0, full_rank)


def _span(ranks: Collection[int]) -> str:
    lowest, highest = min(ranks), max(ranks)
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _wholes(lora: ControlLora) -> list[str]:
    """The weights of the base that are stored whole."""
    return [name for name, tensor in lora.whole.items() if tensor.dim() > 1 and not name.startswith(OWN_LAYERS)]


def _by_block(lora: ControlLora) -> dict[str, list[LowRank]]:
    blocks: dict[str, list[LowRank]] = {}
    for name, part in lora.factors.items():
        blocks.setdefault(block_of(weight_path(f"{DENOISER}{name}.weight")), []).append(part)
    return {block: blocks[block] for block in sorted(blocks, key=block_order)}


def _summary(lora: ControlLora) -> dict[str, Any]:
    """What a file of this pack says of itself; nothing where it cannot be read."""
    return json_object(lora.metadata.get(SUMMARY)) or {}


def _unread(lora: ControlLora) -> list[str]:
    unread = SUMMARY in lora.metadata and json_object(lora.metadata[SUMMARY]) is None
    return [f"metadata that cannot be read, left out: {SUMMARY}"] if unread else []


def _provenance(metadata: Mapping[str, Any]) -> list[str]:
    """What a file of this pack says of its base."""
    lines, base, residual = [], metadata.get("base"), metadata.get("relative_residual")
    if isinstance(base, dict):
        lines.append(f"made from the base {base.get('name', 'unknown')}, SHA-256 {base.get('sha256', 'unknown')}")
    if isinstance(residual, int | float):
        lines.append(f"relative error of the weight change at extraction: {residual:.3g}")
    return lines
