"""How a weight's numbers are stored: decoded to float32, encoded again, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..blocks.paths import block_of, block_order, norms_by_block, weight_path
from ..charts.charts import Bars, Charts

# The numbers themselves, among the tensors of a weight by their endings.
MAIN = "weight"
WORST = 5


class Format(Protocol):
    """How the tensors of one weight, by their endings with `MAIN` for the numbers, stand for its values."""

    label: str

    def decode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The values, as a copy in float32."""

    def encode(self, value: Tensor) -> dict[str, Tensor]:
        """The nearest numbers to these values. What is not among them stays as it is."""


class Plain:
    """Numbers of a type that are the values."""

    def __init__(self, dtype: torch.dtype):
        self.dtype, self.label = dtype, str(dtype).removeprefix("torch.")

    def decode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[MAIN].to(torch.float32, copy=True)

    def encode(self, value: Tensor) -> dict[str, Tensor]:
        """Raises OverflowError for values that are too large for the type."""
        peak = float(value.abs().max()) if value.numel() else 0.0
        if peak > _largest(self.dtype):
            raise OverflowError(f"holds values up to {peak:.4g}, too large for {self.label}")
        return {MAIN: value.to(self.dtype)}


class Scaled:
    """Numbers of eight bits that are the values divided by a scale: one, or one for each row."""

    def __init__(self, dtype: torch.dtype, ending: str, scale: Tensor):
        """ending: what the scale is called; scale: one of the shape and type that it has."""
        self.dtype, self.ending, self.scale = dtype, ending, scale
        self.label = f"{str(dtype).removeprefix('torch.')} with a scale" + (
            "" if scale.numel() == 1 else " for each row"
        )

    def decode(self, tensors: Mapping[str, Tensor]) -> Tensor:
        value = tensors[MAIN].to(torch.float32, copy=True)
        return value.mul_(_by_row(tensors[self.ending].float(), value))

    def encode(self, value: Tensor) -> dict[str, Tensor]:
        """By the scale that makes the largest value the largest number of the type."""
        most = torch.finfo(self.dtype).max
        peaks = value.abs().amax() if self.scale.numel() == 1 else value.abs().flatten(1).amax(1)
        scale = torch.where(peaks > 0, peaks / most, 1.0).to(self.scale.dtype)
        numbers = (value / _by_row(scale.float(), value)).clamp_(-most, most).to(self.dtype)
        return {MAIN: numbers, self.ending: scale.reshape(self.scale.shape)}


def _largest(dtype: torch.dtype) -> float:
    """What is still rounded to the largest number of a type. Beyond it torch gives infinity, NaN or that number, by version."""
    info = torch.finfo(dtype)
    return info.max + info.eps / 2 * 2.0 ** math.floor(math.log2(info.max))


def _by_row(scale: Tensor, value: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (value.ndim - 1)) if scale.numel() > 1 else scale.reshape(())


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; also of numbers of one byte, for which torch lacks the function."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # NaN goes through both, and no mask of the tensor's size is made.
    return all(
        bool(torch.isfinite(end)) for end in torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)
    )


class Rounding(NamedTuple):
    """Norms of a weight's values, of what storing them changed, and of the update that was merged into them."""

    name: str
    format: str
    value: float
    error: float
    change: float


def encoded(
    name: str, format_: Format, value: Tensor, before: Tensor | None = None
) -> tuple[dict[str, Tensor], Rounding]:
    """A weight's tensors and what its rounding costs. before: the values without the update.

    Raises ValueError that names a weight with NaN or infinite values, or with values that do not fit.
    """
    refuse_not_finite(name, value)
    try:
        tensors = format_.encode(value)
    except OverflowError as error:
        raise ValueError(f"{name} {error}. Save as float32 or bfloat16; nothing was written.") from error
    norms = (float(torch.linalg.vector_norm(x)) for x in (value, format_.decode(tensors) - value))
    change = 0.0 if before is None else float(torch.linalg.vector_norm(value - before))
    return tensors, Rounding(name, format_.label, *norms, change)


def refuse_not_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError for NaN and infinite values."""
    if not is_finite(tensor):
        raise ValueError(f"{name} holds NaN or infinite values. Use another copy of the model or of the LoRA.")


def rounding_lines(rounded: Sequence[Rounding]) -> list[str]:
    """What rounding costs, by format, and the weights that it costs most."""
    lines = []
    for label in sorted({each.format for each in rounded}):
        rows = [each for each in rounded if each.format == label]
        if not any(row.error for row in rows):
            lines.append(f"stored as {label} without rounding: {len(rows)} weights")
            continue
        lines.append(f"rounded to {label}: {len(rows)} weights, relative error {_share(rows, 'value'):.2g}")
        changed = [row for row in rows if row.change]
        if changed:
            lines.append(
                f"  {len(changed)} of them changed; the rounding is {100 * _share(changed, 'change'):.2g} % of the change"
            )
            worst = sorted(changed, key=lambda row: -row.error / row.change)[:WORST]
            lines += [f"  most at {row.name}: {100 * row.error / row.change:.2g} %" for row in worst if row.error]
    return lines


def _share(rows: Sequence[Rounding], of: str) -> float:
    """The norm of all errors by that of all values, or of all changes."""
    whole = sum(getattr(row, of) ** 2 for row in rows)
    return (sum(row.error**2 for row in rows) / whole) ** 0.5 if whole else 0.0


def rounding_charts(rounded: Sequence[Rounding]) -> Charts:
    """Which share of the change each block loses to rounding."""
    rows = [(weight_path(row.name), row) for row in rounded if row.change]
    if not rows:
        return [[Bars("Rounding", "Rounding by block", {"nothing changed": 0.0}, "% of the change")]]
    errors = norms_by_block((path, row.error) for path, row in rows)
    changes = norms_by_block((path, row.change) for path, row in rows)
    blocks = sorted({block_of(path) for path, _ in rows}, key=block_order)
    shares = {block: 100 * errors[block] / changes[block] for block in blocks}
    return [[Bars("Rounding", "Rounding by block", shares, "% of the change")]]
