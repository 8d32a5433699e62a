"""What merging and truncating layers cost, and the outcome of a whole job."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..blocks.paths import block_of
from ..charts.charts import Charts
from ..report_text import text_table
from .file import LoraModel


class Job(NamedTuple):
    """model: the result in float32; report: plain text; charts: what it cost, in rows."""

    model: LoraModel
    report: str
    charts: Charts


# What a size in megabytes counts: LoRAs are saved in half precision.
BYTES_PER_NUMBER = 2


class LayerCost(NamedTuple):
    """What merging and truncating one layer cost.

    rank: of the result; norm: Frobenius norm of the exact weighted sum; error: distance of
    the result from it; lost: distance between what an elementwise method gave and its compression to a low rank;
    full_rank: before truncation.
    """

    path: tuple[str, ...]
    rank: int
    norm: float
    error: float
    lost: float
    full_rank: int

    @property
    def relative(self) -> float:
        return self.error / self.norm if self.norm else 0.0


def cost_report(costs: Sequence[LayerCost], worst: int = 5) -> str:
    """Error against the exact update: in all, per block, and the worst layers; as plain text."""
    if not costs:
        return "no low-rank layers"
    lines = [f"overall relative error: {_relative(costs):.3g}"]
    lost, norm = (math.hypot(*(getattr(cost, part) for cost in costs)) for part in ("lost", "norm"))
    if lost:
        lines.append(f"of which lost to low-rank compression: {lost / norm:.3g}")
    lines.append("by block:")
    table = [("block", "error", "rank", "layers")]
    blocks: dict[str, list[LayerCost]] = {}
    for cost in costs:
        blocks.setdefault(block_of(cost.path), []).append(cost)
    for block, rows in blocks.items():
        ranks = sorted({row.rank for row in rows})
        spread = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        table.append((block, f"{_relative(rows):.3g}", spread, str(len(rows))))
    lines += [*text_table(table), "worst layers:"]
    for cost in sorted(costs, key=lambda cost: -cost.relative)[:worst]:
        lines.append(f"  {'.'.join(cost.path)}: error {cost.relative:.3g}, rank {cost.rank} of {cost.full_rank}")
    return "\n".join(lines)


def _relative(costs: Sequence[LayerCost]) -> float:
    norm = math.hypot(*(cost.norm for cost in costs))
    return math.hypot(*(cost.error for cost in costs)) / norm if norm else 0.0
