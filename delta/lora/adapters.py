"""Every kind of adapter as a low-rank update of its weight, exactly where that is possible.

An adapter is given as the tensors of one layer by their endings (`lora_up.weight`, `hada_w1_a`, ...). The formulas are
those by which ComfyUI applies the same tensors. LoRA (arXiv 2106.09685); LoCon, LoHa and LoKr (LyCORIS, arXiv
2309.14859).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..linear_algebra.factors import LowRank

# Names of the factors of a LoRA: (up, down, mid), most common first.
LORA_NAMES = (
    ("lora_up.weight", "lora_down.weight", "lora_mid.weight"),
    ("lora_B.weight", "lora_A.weight", None),
    ("lora.up.weight", "lora.down.weight", None),
    ("lora_linear_layer.up.weight", "lora_linear_layer.down.weight", None),
    ("lora_B", "lora_A", None),
    ("_lora.up.weight", "_lora.down.weight", None),
)
# PEFT's names with that of the adapter, which may hold dots: `layer.lora_A.default_0.default.weight`.
NAMED_ADAPTER = re.compile(r"(?P<layer>.+)\.lora_(?P<half>[AB])\.(?P<adapter>.+)\.weight")
LOHA_NAMES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
LOKR_NAMES = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
# The first row of a fused LoKr that this layer takes: ComfyUI's splitting of Krea 2's `to_qkv` leaves the factors whole.
ROW_OFFSET = "row_offset"
# Adapters whose update depends on the weight that they are applied to.
BASE_DEPENDENT = {
    "dora_scale": "DoRA",
    "a1.weight": "GLoRA",
    "oft_blocks": "OFT or BOFT",
    "oft_diag": "OFT",
}
# PEFT's OFT, version 2. ComfyUI 0.3.75 and 0.33 have no adapter that reads it.
OFT_V2 = "oft_R.weight"
GLORA_NAMES = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
BIASES = ("diff_b", "b_norm")
PLAIN = ("diff", "diff_b", "w_norm", "b_norm", "set_weight")
OTHER = ("alpha", "reshape_weight", "dora_scale", "oft_blocks", "oft_diag", "rescale", OFT_V2)
ENDINGS = tuple(
    sorted(
        {name for names in LORA_NAMES for name in names if name}
        | {*LOHA_NAMES, *LOKR_NAMES, ROW_OFFSET, *GLORA_NAMES, *PLAIN, *OTHER},
        key=len,
        reverse=True,
    )
)


class NotServedError(ValueError):
    """The adapter of a layer cannot be turned into an update; others of the same file may."""


class NeedsBaseError(NotServedError):
    """The adapter can only be turned into an update with the weight that it is applied to."""


@dataclass
class Layer:
    """What an adapter does to one layer.

    low_rank: the update of the weight; full: an update of the weight that is stored dense; bias: an update of the bias;
    new_weight: a weight that replaces the old one; new_shape: the weight is first padded with zeros to this shape.
    """

    low_rank: LowRank | None = None
    full: Tensor | None = None
    bias: Tensor | None = None
    new_weight: Tensor | None = None
    new_shape: tuple[int, ...] | None = None
    used: set[str] = field(default_factory=set)

    def dense(self) -> Tensor | None:
        """The whole update of the weight, float32; None where only other things change."""
        if self.low_rank is None:
            return self.full
        dense = self.low_rank.to_dense()
        return dense if self.full is None else self.full + dense.reshape(self.full.shape)


def join_name(layer: str, ending: str) -> str:
    """The tensor name of a layer's ending: what `split_name` takes apart."""
    return layer + ("" if ending.startswith("_") else ".") + ending


def split_name(name: str) -> tuple[str, str] | None:
    """(layer, ending) of a tensor name, or None for a name that no adapter has. PEFT's name of an adapter is dropped."""
    named = NAMED_ADAPTER.fullmatch(name)
    if named is not None:
        return named["layer"], f"lora_{named['half']}.weight"
    for ending in ENDINGS:
        joint = join_name("", ending)
        if name.endswith(joint) and len(name) > len(joint):
            return _of_weight(name.removesuffix(joint), ending)
    return None


def adapter_of(name: str) -> str | None:
    """What a tensor's name calls its adapter, as PEFT's may; None where it does not."""
    named = NAMED_ADAPTER.fullmatch(name)
    return None if named is None else named["adapter"]


def _of_weight(layer: str, ending: str) -> tuple[str, str]:
    """An update that is named by its bias, as the update of the bias of a layer."""
    if ending == "diff" and layer.endswith(".bias"):
        return layer.removesuffix(".bias"), "diff_b"
    return layer, ending


def why_not_served(name: str, tensors: Mapping[str, Tensor]) -> NotServedError | None:
    """Why a layer cannot be read from its tensors alone; None for one that can be."""
    if OFT_V2 in tensors:
        return NotServedError(
            f"{name} is OFTv2 ({OFT_V2}), which ComfyUI cannot apply either. Convert it to a LoRA with PEFT first."
        )
    kind = next((kind for ending, kind in BASE_DEPENDENT.items() if ending in tensors), None)
    if kind is not None:
        return NeedsBaseError(
            f"{name} is {kind}: its update depends on the weight it is applied to. "
            "Merge LoRAs bakes it in when the model is connected."
        )
    if ROW_OFFSET in tensors and _fused_rows(name, tensors) is None:
        return NeedsBaseError(
            f"{name} is some rows of a fused LoKr, and only the weight it is applied to determines how many. "
            "Merge LoRAs bakes it in when the model is connected."
        )
    return None


def read_layer(name: str, tensors: Mapping[str, Tensor]) -> Layer:
    """The update that the tensors of one layer stand for, computed in float32. `Layer.used` holds every ending used.

    Raises NotServedError as `why_not_served` tells, NeedsBaseError for DoRA, GLoRA, OFT and BOFT among them, and
    ValueError for tensors that lack their other half or whose shapes disagree.
    """
    reason = why_not_served(name, tensors)
    if reason is not None:
        raise reason
    layer = Layer()
    readers = (_read_lora, _read_loha, _read_lokr)
    parts = [part for reader in readers if (part := reader(name, tensors, layer.used)) is not None]
    if len(parts) > 1:
        raise ValueError(f"{name} mixes the factors of several kinds of adapter. Use a file with only one.")
    if parts:
        layer.low_rank = parts[0]
        layer.used |= {"alpha"} & tensors.keys()
    for ending, attribute in (("diff", "full"), ("w_norm", "full"), ("diff_b", "bias"), ("b_norm", "bias")):
        if ending in tensors:
            present = getattr(layer, attribute)
            value = tensors[ending].float()
            setattr(layer, attribute, value if present is None else present + value)
            layer.used.add(ending)
    if "set_weight" in tensors:
        if layer.low_rank is not None or layer.full is not None:
            raise ambiguous(name, "set_weight", ", ".join(sorted(layer.used)))
        layer.new_weight = tensors["set_weight"].float()
        layer.used.add("set_weight")
    if "reshape_weight" in tensors:
        layer.new_shape = tuple(tensors["reshape_weight"].tolist())
        layer.used.add("reshape_weight")
    return layer


def ambiguous(name: str, one: str, other: str) -> ValueError:
    """The error of tensors that describe one change twice."""
    return ValueError(f"{name} has both {one} and {other}; only one can be used. Remove the duplicate from the file.")


def _mismatched(name: str, error: Exception) -> ValueError:
    return ValueError(f"The shapes of {name} disagree: {error}. The file is damaged; use another copy.")


def lora(up: Tensor, down: Tensor, scale: float = 1.0, mid: Tensor | None = None) -> LowRank:
    """A LoRA or LoCon. up: [m, R, 1...]; down: [R, n, k...]; mid (Tucker): [R, R, k...] between them, down is then 1 x 1.

    Raises ValueError when the ranks disagree.
    """
    down = unfolded(down, mid).float()
    if up.flatten(1).shape[1] != down.shape[0]:
        raise ValueError(f"its up factor is {tuple(up.shape)} and its down factor {tuple(down.shape)}")
    return LowRank(up.float().flatten(1) * scale, down.flatten(1), (up.shape[0], *down.shape[1:]))


def unfolded(down: Tensor, mid: Tensor | None) -> Tensor:
    """The down factor [R, n, k...] of a LoCon; of one in Tucker's form, whose core is mid, float32."""
    return down if mid is None else torch.einsum("oi...,in->on...", mid.float(), down.float().flatten(1))


def loha(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], shape: tuple[int, ...], scale: float = 1.0) -> LowRank:
    """The elementwise product of two low-rank matrices, of rank the product of their ranks (Khatri-Rao factors)."""
    (up1, down1), (up2, down2) = one, two
    up = (up1[:, :, None] * up2[:, None, :]).flatten(1)
    down = (down1[:, None, :] * down2[None, :, :]).flatten(0, 1)
    return LowRank(up * scale, down, shape)


def lokr(first: Tensor, second: Tensor, scale: float = 1.0, rank: int | None = None) -> LowRank:
    """The Kronecker product of a small matrix [a, b] and a matrix or kernel [c, d, ...].

    Its singular values are the products of those of the two, so that the best rank needs no larger SVD.
    """
    shape = (first.shape[0] * second.shape[0], first.shape[1] * second.shape[1], *second.shape[2:])
    (u1, s1, v1), (u2, s2, v2) = (torch.linalg.svd(m.double(), full_matrices=False) for m in (first, second.flatten(1)))
    values = torch.outer(s1, s2).flatten()
    order = values.argsort(descending=True, stable=True)
    order = order[values[order] > 1e-12 * values.max()][:rank]
    i, j = order // len(s2), order % len(s2)
    root = values[order].sqrt()
    up = (u1[:, None, i] * u2[None, :, j]).flatten(0, 1) * (root * scale)
    down = root[:, None] * (v1[i, :, None] * v2[j, None, :]).flatten(1)
    return LowRank(up.float(), down.float(), shape)


def scale_of(tensors: Mapping[str, Tensor], rank: int | None) -> float:
    """alpha / rank; 1 without an alpha."""
    return float(tensors["alpha"]) / rank if "alpha" in tensors and rank else 1.0


def _read_lora(name: str, tensors: Mapping[str, Tensor], used: set[str]) -> LowRank | None:
    for up_name, down_name, mid_name in LORA_NAMES:
        halves = [half for half in (up_name, down_name) if half in tensors]
        if not halves:
            continue
        if len(halves) == 1:
            raise ValueError(
                f"{name} has {halves[0]} but not its other half. The file is incomplete; use another copy."
            )
        up, down, mid = tensors[up_name], tensors[down_name], tensors.get(mid_name)
        used |= {up_name, down_name} | ({mid_name} & tensors.keys())
        try:
            return lora(up, down, scale_of(tensors, down.shape[0]), mid)
        except (ValueError, RuntimeError) as error:
            raise _mismatched(name, error) from error
    return None


def _read_loha(name: str, tensors: Mapping[str, Tensor], used: set[str]) -> LowRank | None:
    if not any(part in tensors for part in LOHA_NAMES):
        return None
    _require(name, tensors, LOHA_NAMES[:4])
    w1a, w1b, w2a, w2b = (tensors[part].float() for part in LOHA_NAMES[:4])
    used |= set(LOHA_NAMES) & tensors.keys()
    try:
        scale = scale_of(tensors, w1b.shape[0])
        if "hada_t1" not in tensors:
            return loha((w1a, w1b), (w2a, w2b), (w1a.shape[0], w1b.shape[1]), scale)
        halves = [
            (a.T, torch.einsum("ij...,jr->ir...", tensors[core].float(), b))
            for core, a, b in (("hada_t1", w1a, w1b), ("hada_t2", w2a, w2b))
        ]
        shape = (w1a.shape[1], *halves[0][1].shape[1:])
        return loha(*((up, down.flatten(1)) for up, down in halves), shape, scale)
    except (ValueError, RuntimeError) as error:
        raise _mismatched(name, error) from error


def _read_lokr(name: str, tensors: Mapping[str, Tensor], used: set[str]) -> LowRank | None:
    if not any(part in tensors for part in LOKR_NAMES):
        return None
    used |= {*LOKR_NAMES, ROW_OFFSET} & tensors.keys()
    _require_factors(name, tensors)
    try:
        whole = lokr(*kronecker_factors(name, tensors))
        return whole if ROW_OFFSET not in tensors else _rows(whole, _fused_rows(name, tensors))
    except (ValueError, RuntimeError) as error:
        raise _mismatched(name, error) from error


def kronecker_factors(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, float]:
    """The small matrix [a, b] and the matrix or kernel [c, d, ...] of a LoKr, float32, and the factor of their product.

    Raises ValueError for a LoKr that lacks a factor, RuntimeError for factors that do not match.
    """
    _require_factors(name, tensors)
    # Of the second, where both are factored.
    factored = [part for part in ("lokr_w1", "lokr_w2") if part not in tensors]
    rank = tensors[f"{factored[-1]}_b"].shape[0] if factored else None
    first = tensors["lokr_w1"].float() if "lokr_w1" in tensors else _product(tensors, "lokr_w1")
    second = tensors["lokr_w2"].float() if "lokr_w2" in tensors else _product(tensors, "lokr_w2")
    # As the host does: alpha counts only where one of the two is itself factored.
    return first, second, scale_of(tensors, rank)


def _require_factors(name: str, tensors: Mapping[str, Tensor]) -> None:
    for factor in ("lokr_w1", "lokr_w2"):
        if factor not in tensors:
            _require(name, tensors, (f"{factor}_a", f"{factor}_b"))


def _product(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    a, b = tensors[f"{name}_a"].float(), tensors[f"{name}_b"].float()
    if name == "lokr_w2" and "lokr_t2" in tensors:
        return torch.einsum("ij...,jr,ip->pr...", tensors["lokr_t2"].float(), b, a)
    return a @ b


def _fused_rows(name: str, tensors: Mapping[str, Tensor]) -> slice | None:
    """The rows that a part of a fused LoKr takes, None where they cannot be told.

    By the rule of `convert_fused_qkv_lora` in ComfyUI 0.38, which writes the offset: the query is as high as the input is
    wide, and key and value share the rest.
    """
    rows, columns = kronecker_size(name, tensors)
    start = int(tensors[ROW_OFFSET])
    rest = (rows - columns) // 2
    heights = {0: columns, columns: rest, columns + rest: rest}
    if rest <= 0 or columns + 2 * rest != rows or start not in heights:
        return None
    return slice(start, start + heights[start])


def kronecker_size(name: str, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows and columns, a kernel's counted in, of a LoKr's product. Raises ValueError for one that lacks a factor."""
    rows = columns = 1
    for factor in ("lokr_w1", "lokr_w2"):
        if factor in tensors:
            rows, columns = rows * len(tensors[factor]), columns * tensors[factor][0].numel()
            continue
        _require(name, tensors, (f"{factor}_a", f"{factor}_b"))
        a, b = tensors[f"{factor}_a"], tensors[f"{factor}_b"]
        if factor == "lokr_w2" and "lokr_t2" in tensors:
            rows, columns = rows * a.shape[1], columns * b.shape[1] * tensors["lokr_t2"][0, 0].numel()
        else:
            rows, columns = rows * a.shape[0], columns * b.shape[1]
    return rows, columns


def _rows(update: LowRank, rows: slice) -> LowRank:
    up = update.up[rows]
    return LowRank(up, update.down, (len(up), *update.shape[1:]))


def _require(name: str, tensors: Mapping[str, Tensor], endings: tuple[str, ...]) -> None:
    missing = [ending for ending in endings if ending not in tensors]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}. The file is incomplete; use another copy.")


def same_weight(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    """Whether two shapes are of one weight: some files store a 1 x 1 kernel or a whole kernel as a matrix."""
    return one[0] == two[0] and math.prod(one) == math.prod(two)
