"""Fused and split weights: query, key and value in one matrix, or in one each. Both ways are exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank, concat
from .adapters import Layer


def split(layer: Layer, shares: Sequence[int]) -> list[Layer]:
    """The layer of each part of the rows. shares: rows of each part, in units that they have in common.

    The parts of a low-rank update have the same `down`, so that each has the rank of the whole. Raises ValueError
    for rows that cannot be divided so, and for a weight that is padded.
    """
    _refuse_new_shape(layer)
    starts = [sum(shares[:index]) for index in range(len(shares))]
    return [
        _on_rows(layer, partial(_slice, start=start, share=share, total=sum(shares)))
        for start, share in zip(starts, shares)
    ]


def fuse(parts: Sequence[Layer | None], shares: Sequence[int]) -> Layer:
    """The layer of the whole weight; a part that is None changes nothing.

    Low-rank updates stand block-diagonally, so that ranks add up; where the parts have directions of the input in
    common, as those have that were split from one weight, the rank falls to what is needed. Raises ValueError for parts
    whose rows do not fit their shares, for a weight that is padded and for one that is replaced in part.
    """
    present = [part for part in parts if part is not None]
    for part in present:
        _refuse_new_shape(part)
    if any(part.new_weight is not None for part in present):
        raise ValueError("a weight that is replaced cannot be fused with others")
    placed = []
    for index, part in enumerate(parts):
        if part is not None:
            before, after = sum(shares[:index]), sum(shares[index + 1 :])
            placed.append(_on_rows(part, partial(_pad, before=before, share=shares[index], after=after)))
    return add(placed)


def swap_halves(layer: Layer) -> Layer:
    """The layer with the two halves of its rows the other way round."""
    _refuse_new_shape(layer)
    return _on_rows(layer, lambda rows: torch.cat([_slice(rows, 1, 1, 2), _slice(rows, 0, 1, 2)]))


def add(layers: Sequence[Layer]) -> Layer:
    """The sum of updates of one weight, of the lowest rank that holds it. Raises ValueError for replaced weights."""
    if len(layers) == 1:
        return layers[0]
    if any(layer.new_weight is not None for layer in layers):
        raise ValueError("a weight that is replaced cannot be added to another update")
    low_rank = [layer.low_rank for layer in layers if layer.low_rank is not None]
    return Layer(
        low_rank=_sum(low_rank) if low_rank else None,
        full=_total([layer.full for layer in layers]),
        bias=_total([layer.bias for layer in layers]),
    )


def _sum(parts: list[LowRank]) -> LowRank:
    whole = concat(parts)
    least = whole.truncate(whole.rank).low_rank
    return least if least.rank < whole.rank else whole


def _total(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return sum(present[1:], present[0]) if present else None


def _on_rows(layer: Layer, change: Callable[[Tensor], Tensor]) -> Layer:
    """The layer with the rows of everything that it does changed alike."""
    low_rank = layer.low_rank
    if low_rank is not None:
        up = change(low_rank.up)
        # A copy of down: files refuse tensors that share memory.
        low_rank = replace(low_rank, up=up, down=low_rank.down.clone(), shape=(len(up), *low_rank.shape[1:]))
    full, bias, new = (
        value if value is None else change(value) for value in (layer.full, layer.bias, layer.new_weight)
    )
    return Layer(low_rank, full, bias, new)


def _slice(rows: Tensor, start: int, share: int, total: int) -> Tensor:
    unit = _unit(rows, total)
    return rows[start * unit : (start + share) * unit]


def _pad(rows: Tensor, before: int, share: int, after: int) -> Tensor:
    unit = _unit(rows, share)
    pads = [rows.new_zeros(count * unit, *rows.shape[1:]) for count in (before, after)]
    return torch.cat([pads[0], rows, pads[1]])


def _unit(rows: Tensor, pieces: int) -> int:
    """How many rows each of so many equal pieces has."""
    unit, rest = divmod(len(rows), pieces)
    if rest:
        raise ValueError(f"its {len(rows)} rows cannot be divided into {pieces} equal pieces")
    return unit


def _refuse_new_shape(layer: Layer) -> None:
    if layer.new_shape is not None:
        raise ValueError("a weight that is padded cannot be split, fused or reordered")
