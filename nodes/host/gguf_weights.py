"""The weights of MODELs and CLIPs that the node pack ComfyUI-GGUF has loaded.

They are tensors of a class of their own: of bytes, with `tensor_type`, a member of ggml's enum, and `tensor_shape`, the shape
of the weight; `shape` is that too. Copies keep the class, `clone` and `detach` copy nothing, and state dicts hold stand-ins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from ...delta.files.packed import packed_variance, unpacked

# What ComfyUI-GGUF keeps as numbers.
PLAIN = ("F32", "F16")
# It adds one such name to a state dict, so that the host counts the memory that unpacking takes.
STAND_IN = ".temp.weight"


class PackedWeight(NamedTuple):
    """name: of a weight; stored: its bytes; kind: its type by ggml's name."""

    name: str
    stored: torch.Tensor
    kind: str
    shape: tuple[int, ...]

    def unpack(self, stored: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """The weight, float32, on the device of its bytes.

        stored: its bytes on another device, also as floats, as which the host copies what it is to convert. Raises ValueError
        for a type that cannot be read.
        """
        stored = self.stored if stored is None else stored
        stored, device = stored.to("cpu", torch.uint8).flatten(), stored.device
        try:
            return unpacked(stored, self.kind, self.shape).to(device)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def variance(self) -> float:
        """The mean variance of the rounding in it."""
        return packed_variance(self.stored.to("cpu").flatten(), self.kind)


def is_of_gguf(weight: torch.Tensor) -> bool:
    """Whether ComfyUI-GGUF has loaded a weight, packed or not."""
    return hasattr(weight, "tensor_type")


def packed_weight(name: str, weight: torch.Tensor) -> PackedWeight | None:
    """A weight that is stored in blocks; None for any other."""
    kind = getattr(getattr(weight, "tensor_type", None), "name", None)
    if kind is None or kind in PLAIN or kind == "BF16":
        return None
    return PackedWeight(name, _as_tensor(weight).detach(), kind, tuple(weight.tensor_shape))


def plain_weight(weight: torch.Tensor) -> torch.Tensor:
    """A weight that is not stored in blocks as a tensor of torch's own class, which shares its memory."""
    if not is_of_gguf(weight):
        return weight
    stored = _as_tensor(weight)
    if getattr(weight.tensor_type, "name", None) == "BF16" and stored.dtype == torch.uint8:
        stored = stored.detach().contiguous().view(torch.bfloat16)
    return stored.reshape(tuple(weight.tensor_shape))


def _as_tensor(weight: torch.Tensor) -> torch.Tensor:
    return weight.as_subclass(torch.Tensor)


def true_shapes(model: torch.nn.Module, stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with stand-ins of the true shapes, without memory, for weights that are stored in blocks."""
    packed = {
        name: torch.empty(tuple(weight.tensor_shape), device="meta", dtype=torch.float16)
        for name, weight in model.named_parameters()
        if is_of_gguf(weight) and weight.dtype == torch.uint8
    }
    if not packed:
        return stored
    return {name: weight for name, weight in stored.items() if not name.endswith(STAND_IN)} | packed
