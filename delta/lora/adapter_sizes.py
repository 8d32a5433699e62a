"""Whether an adapter fits a weight, told from shapes: what hosts find out when they compute it, and then only log."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from .adapters import GLORA_NAMES, LOHA_NAMES, LOKR_NAMES, ROW_OFFSET, kronecker_size

Shape = tuple[int, ...]
Size = tuple[int, int]


def misfit(tensors: Mapping[str, Tensor], shape: Shape) -> str | None:
    """What an adapter changes other than a weight of `shape`; None where it fits.

    tensors: those of its layer, by the endings of kohya's and LyCORIS's files. Raises ValueError for a LoKr that lacks a
    factor.
    """
    padded = tuple(tensors["reshape_weight"].tolist()) if "reshape_weight" in tensors else shape
    if len(padded) != len(shape) or any(new < old for new, old in zip(padded, shape)):
        return f"the LoRA pads it to {padded}"
    if "oft_blocks" in tensors:
        problem = _turned(tensors["oft_blocks"].shape, padded)
    else:
        size = _size(tensors, padded)
        problem = None if size == _matrix(padded) else f"the LoRA's change is {size[0]} x {size[1]}"
        problem = problem or _disagreement(tensors)
    scale = tensors.get("dora_scale")
    if problem is None and scale is not None and not _scales(tuple(scale.shape), padded):
        problem = f"the LoRA's dora_scale is {tuple(scale.shape)}"
    return problem


def _size(tensors: Mapping[str, Tensor], shape: Shape) -> Size:
    """Rows and columns, a kernel's counted in, of the change that the adapter makes of a weight of `shape`."""
    if any(name in tensors for name in GLORA_NAMES):
        return _glora(*(tensors[name] for name in GLORA_NAMES), shape)
    if any(name in tensors for name in LOHA_NAMES):
        return next((size for size in map(partial(_loha, tensors), "12") if size != _matrix(shape)), _matrix(shape))
    if any(name in tensors for name in LOKR_NAMES):
        rows, columns = kronecker_size("The LoRA", tensors)
        # A part of a fused weight takes as many rows as it has.
        is_part = ROW_OFFSET in tensors and int(tensors[ROW_OFFSET]) + shape[0] <= rows
        return (shape[0] if is_part else rows), columns
    up, down, mid = (tensors.get(f"lora_{part}.weight") for part in ("up", "down", "mid"))
    return len(up), down[0].numel() if mid is None else down.shape[1] * mid[0, 0].numel()


def _loha(tensors: Mapping[str, Tensor], number: str) -> Size:
    """The size of one of the two matrices whose elements are multiplied."""
    a, b, core = (tensors.get(name.format(number)) for name in ("hada_w{}_a", "hada_w{}_b", "hada_t{}"))
    return (len(a), b.shape[1]) if core is None else (a.shape[1], b.shape[1] * core[0, 0].numel())


def _disagreement(tensors: Mapping[str, Tensor]) -> str | None:
    """How the two factors of a LoRA disagree about its rank, if so. Hosts fail aloud where those of others do."""
    if "lora_up.weight" not in tensors or "lora_mid.weight" in tensors:
        return None
    up, down = tensors["lora_up.weight"], tensors["lora_down.weight"]
    same = up[0].numel() == len(down)
    return None if same else f"the LoRA's factors are {tuple(up.shape)} and {tuple(down.shape)}"


def _glora(a1: Tensor, a2: Tensor, b1: Tensor, b2: Tensor, shape: Shape) -> Size:
    """The update W a1 a2 + b1 b2, or b2 b1 + W a2 a1 in old files of LyCORIS, which hosts tell apart by the rank."""
    rows, columns = _matrix(shape)
    new = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    if new and (rows, columns) == (len(b1), b2[0].numel()) and len(a1) == a2.shape[1] == shape[1]:
        return rows, columns
    old = b2.shape[1] == len(b1) == len(a1) == a2.shape[1]
    if old and (rows, columns) == (len(b2), b1[0].numel()) and a1[0].numel() == len(a2) == columns:
        return rows, columns
    return (len(b1), a2[0].numel()) if new else (len(b2), len(a2))


def _turned(blocks: Shape, shape: Shape) -> str | None:
    """OFT's blocks [k, b, b] turn k * b rows, and so do BOFT's [m, k, b, b], m times over strides that must divide them."""
    rows = blocks[-3] * blocks[-2]
    strides = 1 if len(blocks) == 3 else 2 ** (blocks[0] - 1) * blocks[-1]
    return None if rows == shape[0] and rows % strides == 0 else f"the LoRA turns {rows} rows"


def _scales(scale: Shape, shape: Shape) -> bool:
    """Whether a DoRA scale can be divided by the norms of all rows or, where it has not as many, of all columns."""
    ones = (1,) * (len(shape) - 2)
    if scale[:1] == shape[:1]:
        norms = (shape[0], *(1 for _ in shape[1:]))
    elif len(shape) > 1:
        norms = (1, shape[1], *ones)
    else:
        return False
    try:
        return torch.broadcast_shapes(scale, norms, shape) == shape
    except RuntimeError:
        return False


def _matrix(shape: Shape) -> Size:
    return shape[0], torch.Size(shape[1:]).numel()
