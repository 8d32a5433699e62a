"""The Control-LoRA format: which tensors it holds, what each of them means, and whether a file of it is whole.

A Control-LoRA is a ControlNet of a U-Net as the difference of its encoder from a base model. ComfyUI takes the base's
encoder, adds `X.up` @ `X.down` to the weight of each layer X, and puts whole tensors in place of the base's. Names are those
of ComfyUI's ControlNets without a prefix; `lora_controlnet` marks the file. Neither alpha nor metadata is read. Written from
comfy/controlnet.py (ControlLora) of ComfyUI 0.3.75 and 0.33, and from the files that Stability AI published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensor_files import read_tensors
from ..linear_algebra.factors import LowRank

MARKER = "lora_controlnet"
PREFIX = "control_model."
# Layers that only a ControlNet has: they lead the hint in and the control out, and are stored whole.
OWN_LAYERS = ("input_hint_block.", "zero_convs.", "middle_block_out.")
# Layers that a ControlNet copies from the encoder of its base.
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
# Its inputs depend on the base: those for inpainting read 9 channels, where a ControlNet reads 4. Whole, it fits any.
FIRST = "input_blocks.0.0.weight"
HINT = "input_hint_block.0.weight"
# The model by the width of the text that its cross-attention reads.
FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL refiner"}
UNION = ("task_embedding", "control_add_embedding.", "transformer_layes.", "spatial_ch_projs.")
WITHOUT_BIAS = re.compile(r"\.attn\d\.to_[qkv]$")
# The norms that stand beside a layer with a weight, which a whole file has too.
NORMS_BESIDE = {
    "in_layers.2": ("in_layers.0",),
    "out_layers.3": ("out_layers.0",),
    "proj_in": ("norm",),
    "attn1.to_q": ("norm1", "norm2", "norm3"),
}
ENDINGS = ("up", "down", "weight", "bias")


@dataclass
class ControlLora:
    """A Control-LoRA in memory.

    name: of the file; factors: the update of each layer X by its name, of [out, in] or [out, in, k, k]; whole: every other
    tensor under its full name; metadata: of the file; notes: what is odd about it, for people.
    """

    name: str
    factors: dict[str, LowRank]
    whole: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def context_width(self) -> int | None:
        """How wide the text is that its cross-attention reads."""
        shapes = {f"{name}.weight": part.shape for name, part in self.factors.items()}
        return context_width(shapes | {name: tuple(tensor.shape) for name, tensor in self.whole.items()})


def read_control_lora(path: str | Path) -> ControlLora:
    """A Control-LoRA file. Raises FileNotFoundError, or ValueError with the remedy as `parse_control_lora` does."""
    tensors, metadata = read_tensors(path)
    return parse_control_lora(Path(path).name, tensors, metadata)


def parse_control_lora(
    name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> ControlLora:
    """Sort the tensors of a file, and note what ComfyUI would stumble over or silently replace.

    Raises ValueError for a file that is no Control-LoRA, and for one that cannot work: a layer with half of its factors,
    factors that do not match, missing layers of its own, or parts of a union net.
    """
    if MARKER not in tensors:
        raise ValueError(
            f"{name} is not a Control-LoRA: it lacks the tensor {MARKER}. Choose a Control-LoRA, or make one from a "
            "ControlNet with Extract Control-LoRA."
        )
    refuse_union(name, tensors)
    notes = []
    if any(key.startswith(PREFIX) for key in tensors):
        notes.append(
            f"names begin with {PREFIX}, which ComfyUI cannot load; a file saved from this one has the right names"
        )
    layers: dict[str, dict[str, Tensor]] = {}
    strays = []
    for key, tensor in tensors.items():
        layer, _, ending = key.removeprefix(PREFIX).rpartition(".")
        if ending in ENDINGS and layer.startswith((*OWN_LAYERS, *ENCODER)):
            layers.setdefault(layer, {})[ending] = tensor
        elif key != MARKER:
            strays.append(key)
    if strays:
        notes.append(f"not part of this format, left out: {listed(strays)}")
    found = ControlLora(name, {}, {}, dict(metadata or {}), notes)
    for layer, parts in layers.items():
        if "up" in parts or "down" in parts:
            found.factors[layer] = _factors(name, layer, parts)
        found.whole |= {f"{layer}.{ending}": parts[ending] for ending in ("weight", "bias") if ending in parts}
    _refuse_missing(found)
    notes += _missing_notes(found)
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):
        notes.append("stored as bfloat16, which rounds 8 times as coarsely as float16")
    return found


def refuse_union(name: str, names: Iterable[str]) -> None:
    """Raise ValueError where names of tensors are those of a union net."""
    if any(key.removeprefix(PREFIX).startswith(UNION) for key in names):
        raise ValueError(
            f"{name} is a union ControlNet. A Control-LoRA cannot hold its layers for the types of hints, and "
            "ComfyUI would fail on them. Use the full ControlNet."
        )


def is_own(name: str) -> bool:
    """Whether a tensor belongs to the layers that only a ControlNet has."""
    return name.startswith(OWN_LAYERS)


def is_base_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is a weight that the net has from its base and that factors may change."""
    return name.startswith(ENCODER) and name != FIRST and name.endswith(".weight") and len(shape) > 1


def context_width(shapes: Mapping[str, Sequence[int]]) -> int | None:
    """How wide the text is that cross-attention reads, from the shapes of weights under any prefix; None without any."""
    return next((shape[1] for name, shape in shapes.items() if name.endswith(".attn2.to_k.weight")), None)


def family(width: int | None) -> str:
    """The model whose text is this wide, for people."""
    return FAMILIES.get(width, "U-Net of unknown kind" if width is None else f"U-Net with text {width} wide")


def stores_whole(part: LowRank) -> bool:
    """Whether the whole weight takes no more room than its factors, and is exact besides."""
    rows, columns = part.up.shape[0], part.down.shape[1]
    return part.rank * (rows + columns) >= rows * columns


def write_factors(layer: str, part: LowRank) -> dict[str, Tensor]:
    """The two tensors of a layer: [out, r] and [r, in], or [out, r, 1, 1] and [r, in, k, k] for a convolution."""
    kernel = part.shape[2:]
    up = part.up.reshape(part.shape[0], part.rank, *[1] * len(kernel))
    return {f"{layer}.up": up, f"{layer}.down": part.down.reshape(part.rank, *part.shape[1:])}


def to_tensors(lora: ControlLora) -> dict[str, Tensor]:
    """All tensors of the file, with its mark."""
    tensors = {MARKER: torch.zeros(1)} | lora.whole
    for layer, part in lora.factors.items():
        tensors |= write_factors(layer, part)
    return tensors


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names and how many there are."""
    return f"{len(names)} ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"


def _factors(name: str, layer: str, parts: Mapping[str, Tensor]) -> LowRank:
    if "up" not in parts or "down" not in parts:
        there, missing = ("up", "down") if "up" in parts else ("down", "up")
        raise ValueError(f"{name}: {layer}.{there} is present without {layer}.{missing}. Use another copy of the file.")
    if is_own(f"{layer}."):
        raise ValueError(f"{name}: {layer} has factors, but ComfyUI needs it whole. Extract the file again.")
    up, down = parts["up"], parts["down"]
    if up.dim() < 2 or down.dim() < 2 or up[0].numel() != down.shape[0]:
        raise ValueError(
            f"{name}: {layer}.up {tuple(up.shape)} and {layer}.down {tuple(down.shape)} do not match. Use another "
            "copy of the file."
        )
    return LowRank(up.flatten(1), down.flatten(1), (up.shape[0], *down.shape[1:]))


def _refuse_missing(lora: ControlLora) -> None:
    """Layers of its own without which ComfyUI fails while it samples."""
    blocks = [
        int(match[1]) for name in (*lora.factors, *lora.whole) if (match := re.match(r"input_blocks\.(\d+)\.", name))
    ]
    outputs = [int(match[1]) for name in lora.whole if (match := re.match(r"zero_convs\.(\d+)\.", name))]
    count = max((*blocks, *outputs), default=0) + 1
    layers = [*(f"zero_convs.{number}.0" for number in range(count)), "middle_block_out.0"]
    needed = [HINT, *(f"{layer}.{ending}" for layer in layers for ending in ("weight", "bias"))]
    if missing := [name for name in needed if name not in lora.whole]:
        raise ValueError(
            f"{lora.name} lacks layers that a Control-LoRA must store whole: {listed(missing)}. ComfyUI would fail "
            "while sampling. Extract the file again, or use another copy."
        )


def _missing_notes(lora: ControlLora) -> list[str]:
    """Biases and norms that ComfyUI would take from the base without a word."""
    layers = {name.rpartition(".")[0] for name in lora.whole if name.endswith(".weight")} | set(lora.factors)
    biases = [layer for layer in lora.factors if not WITHOUT_BIAS.search(layer) and f"{layer}.bias" not in lora.whole]
    norms = [
        norm
        for layer in lora.factors
        for ending, beside in NORMS_BESIDE.items()
        if layer.endswith(f".{ending}")
        for norm in (layer.removesuffix(ending) + each for each in beside)
        if norm not in layers
    ]
    notes = [] if FIRST in lora.whole else [f"{FIRST} is not stored whole, so the file fails on inpainting bases"]
    for what, names in (("biases", biases), ("norms", norms)):
        if names:
            notes.append(f"{what} missing, so the base's are used: {listed(names)}")
    return notes
