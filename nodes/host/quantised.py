"""Stored tensors of a model with what stands beside them, and weights in the host's quantised formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import comfy.ops
import comfy.quant_ops
import torch

from ...delta.files.json_text import json_object
from ...delta.files.stored_weight import SCALES, SIDE_ENDINGS, SIDE_MARKER
from ...delta.model_file.formats import MAIN, Format, Plain, Scaled

EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)
# The formats in which a number times its scale is the weight, which need none of the host's functions.
OWN_FORMATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fn_rowwise")
ALL_SIDES = (*SIDE_ENDINGS, ".weight_correction")
SETTINGS = "comfy_quant"
LAYERS = "_quantization_metadata"


class StoredTensors(NamedTuple):
    """The tensors of a model as they are stored, of which one at a time is read.

    place: what they are of, for errors; types: type and shape by name; read(name); layers: the host's settings of quantised
    layers, by their modules, where they do not stand beside the weights.
    """

    place: str
    types: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
    read: Callable[[str], torch.Tensor]
    layers: Mapping[str, Mapping[str, Any]]

    def sides(self, name: str) -> dict[str, str]:
        """What stands beside a weight: names by endings."""
        module, _, last = name.rpartition(".")
        if last != "weight":
            return {}
        names = {ending[1:]: module + ending for ending in ALL_SIDES}
        return {ending: side for ending, side in names.items() if side in self.types}

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """A weight's tensors by their endings, as `Format` takes them."""
        return {MAIN: self.read(name)} | {ending: self.read(side) for ending, side in self.sides(name).items()}

    def format(self, name: str, shape: tuple[int, ...]) -> Format:
        """How a weight of this shape is stored. Raises ValueError, with the remedy, for what this host cannot read."""
        dtype, sides = self.types[name][0], self.sides(name)
        settings = self._settings(name, sides)
        scale = next((ending for ending in SCALES if ending in sides), None)
        if settings is not None and settings.get("format") not in OWN_FORMATS:
            return HostQuantised(f"{self.place}: {name}", settings, self.tensors(name), shape)
        if dtype in EIGHT_BITS and scale is not None and self.types[sides[scale]][0].is_floating_point:
            found = self.read(sides[scale])
            if found.numel() in (1, shape[0]):
                return Scaled(dtype, scale, found)
        if scale is not None or not dtype.is_floating_point:
            raise ValueError(
                f"{self.place}: {name} is packed ({dtype}) in a way that is not ComfyUI's own. Load the model in ComfyUI and use "
                "Save Patched Model, or use another version of the file."
            )
        return Plain(dtype)

    def _settings(self, name: str, sides: Mapping[str, str]) -> Mapping[str, Any] | None:
        if SETTINGS in sides:
            return json_object(bytes(self.read(sides[SETTINGS]).tolist())) or {}
        module = name.rpartition(".")[0]
        return next(
            (found for layer, found in self.layers.items() if module == layer or module.endswith(f".{layer}")), None
        )


def is_side(name: str) -> bool:
    """Whether a tensor stands beside a weight, or says that there are such."""
    return name.endswith(ALL_SIDES) or name.rpartition(".")[2] == SIDE_MARKER


class HostQuantised:
    """A weight in a format of the host's, decoded and encoded by a layer of the host's that holds it."""

    def __init__(
        self, name: str, settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], shape: tuple[int, ...]
    ):
        """name: for errors. Raises ValueError for a format that this host lacks or cannot read."""
        self.name, self.label, self.settings = name, str(settings.get("format", "unknown")), settings
        self.endings = set(tensors)
        if self.label not in comfy.quant_ops.QUANT_ALGOS:
            raise ValueError(
                f"{name} is stored as {self.label}, which this version of ComfyUI does not know. Use a newer one, or another "
                "version of the file."
            )
        if len(shape) != 2:
            raise ValueError(
                f"{name} is a bank of {self.label} matrices, which is not supported. Use a version in float16."
            )
        self.layer = self._layer(shape, tensors)

    def decode(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        layer = self._layer(tuple(self.layer._orig_shape), tensors)
        return layer.convert_weight(layer.weight).to(torch.float32, copy=True)

    def encode(self, value: torch.Tensor) -> dict[str, torch.Tensor]:
        """The host's own quantiser, rounding to the nearest. Raises ValueError where it has none."""
        try:
            # A seed of 0 stands for no stochastic rounding.
            stored = self.layer.set_weight(value.clone(), seed=0, return_weight=True)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{self.name}: ComfyUI cannot quantise to {self.label} ({error}). Choose a float type as the format."
            ) from error
        return {ending: tensor.detach() for ending, tensor in stored.state_dict(MAIN).items()}

    def _layer(self, shape: tuple[int, ...], tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        ops = comfy.ops.mixed_precision_ops(compute_dtype=torch.float32)
        layer = ops.Linear(shape[1], shape[0], bias=False, device=torch.device("cpu"))
        text = json.dumps(dict(self.settings)).encode()
        # Copies, because the host keeps what it is given.
        given = {ending: tensor.clone() for ending, tensor in tensors.items()} | {
            SETTINGS: torch.tensor(list(text), dtype=torch.uint8)
        }
        layer.load_state_dict(given, strict=False)
        return layer


def fitted(tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor as the file has it: the bytes of a scale under another type, or a single number in another shape."""
    if tensor.dtype != dtype:
        tensor = tensor.view(dtype) if tensor.dtype.itemsize == dtype.itemsize else tensor.to(dtype)
    return tensor.reshape(shape) if tensor.numel() == torch.Size(shape).numel() else tensor
