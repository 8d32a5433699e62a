"""What a LoRA would weigh and lose at lower ranks, before it is resized."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ..charts.charts import Charts, Curves
from ..linear_algebra.factors import small_problems
from ..linear_algebra.rank import Spectrum, allocate
from ..progress import Step
from ..report_text import text_table
from .costs import BYTES_PER_NUMBER
from .file import LoraModel, left_out, read_layers


class Fixed(NamedTuple):
    """What no rank makes smaller, in bytes: biases and norm shifts; dense updates, norm scales and replaced weights."""

    bias: int
    dense: int


class Preview(NamedTuple):
    """One size. rank: the highest of every layer; bytes: of the factors; uniform, spread: the relative error in the
    Frobenius norm, 0..1, with this rank in every layer and with the same bytes spread over the layers."""

    rank: int
    bytes: int
    uniform: float
    spread: float


class SizePreview(NamedTuple):
    """report: plain text; charts: error against size; rows: from the smallest size to the file's."""

    report: str
    charts: Charts
    rows: list[Preview]


def size_preview(model: LoraModel, on_step: Step = lambda done, total: None) -> SizePreview:
    """The sizes and errors that Resize LoRA would give. The spectrum of each layer is computed once.

    Layers that cannot be read without their weight are named in the report and count in no size.

    on_step(done, total) is called after each layer and may raise to cancel. Raises ValueError for a LoRA without
    low-rank layers, and as `read_layers` does.
    """
    spectra, fixed = _read(model, on_step)
    if not any(len(spectrum.values) for spectrum in spectra.values()):
        raise ValueError(f"{model.name} has no low-rank layer, so no rank makes it smaller. Choose another LoRA.")
    rows = [_preview(spectra, rank) for rank in ranks_up_to(max(len(s.values) for s in spectra.values()))]
    return SizePreview(_report(model, spectra, fixed, rows), _charts(model, fixed, rows), rows)


def ranks_up_to(highest: int) -> list[int]:
    """1, 2, 4, 8, ... and the highest."""
    return [*(2**power for power in range((highest - 1).bit_length())), highest]


def _read(model: LoraModel, on_step: Step) -> tuple[dict[str, Spectrum], Fixed]:
    """The spectra of the low-rank layers, and the bytes of everything else.

    A layer with a dense update beside a low-rank one is saved as dense, so that no rank makes it smaller.
    """
    layers = read_layers(model).layers
    spectra: dict[str, Spectrum] = {}
    bias = dense = 0
    with small_problems():
        for done, (name, layer) in enumerate(layers.items(), start=1):
            if layer.low_rank is not None and layer.full is None:
                spectra[name] = Spectrum(layer.low_rank.svd().values, layer.low_rank.shape)
            dense += sum(part.numel() for part in (layer.full, layer.new_weight) if part is not None)
            bias += 0 if layer.bias is None else layer.bias.numel()
            on_step(done, len(layers))
    return spectra, Fixed(bias * BYTES_PER_NUMBER, dense * BYTES_PER_NUMBER)


def _preview(spectra: Mapping[str, Spectrum], rank: int) -> Preview:
    numbers = sum(min(rank, len(s.values)) * s.parameters_per_rank for s in spectra.values())
    size = numbers * BYTES_PER_NUMBER
    total = math.hypot(*(float(torch.linalg.vector_norm(s.values)) for s in spectra.values()))
    cut = math.hypot(*(float(torch.linalg.vector_norm(s.values[rank:])) for s in spectra.values()))
    return Preview(rank, size, cut / total, allocate(spectra, size, BYTES_PER_NUMBER).error / total)


def _report(model: LoraModel, spectra: Mapping[str, Spectrum], fixed: Fixed, rows: Sequence[Preview]) -> str:
    rest = sum(fixed)
    lines = [
        f"{model.name}: {len(spectra)} low-rank layers of rank up to {rows[-1].rank}, "
        f"{(rows[-1].bytes + rest) / 1e6:.2f} MB at 2 bytes per number",
        f"cannot shrink: {rest / 1e6:.2f} MB (bias {fixed.bias / 1e6:.2f} MB, dense and norm {fixed.dense / 1e6:.2f} MB); "
        "in Rank Policy, give the size without it"
        if rest
        else "cannot shrink: nothing, there are no bias, norm or dense updates",
        "relative error and energy kept, with one rank in all layers and with the same size spread over them:",
    ]
    table = [
        (
            f"{(row.bytes + rest) / 1e6:.2f}",
            str(row.rank),
            *(f"{error:.3f} ({1 - error**2:.1%})" for error in (row.uniform, row.spread)),
        )
        for row in rows
    ]
    lines += text_table([("MB", "rank", "error (energy)", "spread: error (energy)"), *table])
    return "\n".join(lines + left_out(model))


def _charts(model: LoraModel, fixed: Fixed, rows: Sequence[Preview]) -> Charts:
    sizes = [(row.bytes + sum(fixed)) / 1e6 for row in rows]
    series = {
        "one rank in all layers": [(size, 100 * row.uniform) for size, row in zip(sizes, rows)],
        "spread over the layers": [(size, 100 * row.spread) for size, row in zip(sizes, rows)],
    }
    title = f"Size and error of {model.name}"
    return [[Curves("Size", title, series, "size (MB at 2 bytes per number)", "relative error (%)")]]
