"""How far the outputs of one control net are from those of another, block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..charts.charts import Bars, Charts
from ..report_text import text_table
from .weights import ControlLayout

# What a net sends to a model at one step: lists of outputs by the place where they are added.
Outputs = Mapping[str, Sequence[Tensor | None]]


class ControlError(NamedTuple):
    """blocks: relative L2 error of every block over all steps; total: of all outputs together; steps: of each step."""

    blocks: dict[str, float]
    total: float
    steps: list[float]


def compare_outputs(ours: Sequence[Outputs], reference: Sequence[Outputs], layout: ControlLayout) -> ControlError:
    """The outputs of a net against those of the reference, with the same latents, step by step.

    layout: of both nets. Raises ValueError for nets with other outputs, and for a reference that sends nothing.
    """
    squares: dict[str, list[float]] = {block.name: [0.0, 0.0] for block in layout.blocks}
    steps = []
    for one, two in zip(ours, reference, strict=True):
        step = [0.0, 0.0]
        for slot, blocks in layout.slots.items():
            rows = list(zip(_tensors(one, slot), _tensors(two, slot)))
            if len(_tensors(one, slot)) != len(_tensors(two, slot)) or any(a.shape != b.shape for a, b in rows):
                raise ValueError(
                    "The two nets have different outputs. Compare nets of the same kind, such as two for SDXL."
                )
            for block, (a, b) in zip(blocks, rows):
                values = float((a - b).double().square().sum()), float(b.double().square().sum())
                for sums in (squares[block], step):
                    sums[0], sums[1] = sums[0] + values[0], sums[1] + values[1]
        steps.append(_relative(step))
    total = [sum(sums[part] for sums in squares.values()) for part in (0, 1)]
    if not total[1]:
        raise ValueError("The reference net outputs only zeros. Choose another hint, or check the net.")
    return ControlError({name: _relative(sums) for name, sums in squares.items()}, _relative(total), steps)


def error_report(error: ControlError, ours: str, reference: str, progresses: Sequence[float]) -> str:
    """The differences as plain text. progresses: how far each step is, from noise, 0, to picture, 1."""
    by_step = [("progress", "difference"), *((f"{at:.2f}", f"{e:.3g}") for at, e in zip(progresses, error.steps))]
    by_block = [("block", "difference"), *((name, f"{value:.3g}") for name, value in error.blocks.items())]
    head = [f"{ours} against {reference}", "", f"relative difference of all control outputs: {error.total:.3g}"]
    return "\n".join([*head, "", *text_table(by_step), "", *text_table(by_block)])


def error_charts(error: ControlError, ours: str, reference: str) -> Charts:
    """The difference of every block, and of all, in percent."""
    percent = {name: 100 * value for name, value in error.blocks.items()} | {"all": 100 * error.total}
    return [[Bars("Difference", f"Difference of the control outputs, {ours} against {reference}", percent, "%")]]


def _tensors(outputs: Outputs, slot: str) -> list[Tensor]:
    return [tensor.float() for tensor in outputs.get(slot, ()) if torch.is_tensor(tensor)]


def _relative(sums: Sequence[float]) -> float:
    if not sums[1]:
        return math.inf if sums[0] else 0.0
    return math.sqrt(sums[0] / sums[1])
