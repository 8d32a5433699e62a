"""MODELs of GGUF: by the node pack ComfyUI-GGUF where the environment names a folder of it, and alike by hand."""

from __future__ import annotations

import asyncio
import importlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import ggml
import gguf
import numpy as np
import torch

PACK = os.environ.get("STYLEDELTA_GGUF_PACK", "")
ABSENT = "STYLEDELTA_GGUF_PACK names no folder of the node pack ComfyUI-GGUF"
# As ComfyUI-GGUF's tools: rows that do not fill whole blocks are stored as rows of this length.
ROW = 256
FEW = 1024


class PackedTensor(torch.Tensor):
    """What a weight of ComfyUI-GGUF is to those who read it: bytes, with the type and shape of the weight."""

    @property
    def shape(self) -> torch.Size:
        return self.tensor_shape


def packed_parameter(weight: torch.Tensor, kind: str) -> torch.nn.Parameter:
    """A weight as ComfyUI-GGUF keeps it."""
    stored, kind = stored_as(weight, kind)
    parameter = torch.nn.Parameter(torch.from_numpy(stored).as_subclass(PackedTensor), requires_grad=False)
    parameter.tensor_type, parameter.tensor_shape = gguf.GGMLQuantizationType[kind], weight.shape
    return parameter


def in_gguf(patcher: Any, kind: str) -> Any:
    """The MODEL with every matrix of whole blocks as ComfyUI-GGUF keeps it."""
    for name, weight in list(patcher.model.named_parameters()):
        if fits(weight, kind):
            parent, _, ending = name.rpartition(".")
            setattr(patcher.model.get_submodule(parent), ending, packed_parameter(weight, kind))
    return patcher


def computing(patcher: Any, kind: str) -> Any:
    """The same as a MODEL that can be sampled: its layers unpack their weights and add the patches each time they run, as
    ComfyUI-GGUF's do, and its patcher hands the patches to them."""
    import comfy.lora
    from comfy.model_patcher import ModelPatcher

    class Patcher(ModelPatcher):
        def patch_weight_to_device(self, key: str, *given: Any, **named: Any) -> Any:
            layer, _, ending = key.rpartition(".")
            found = self.model.get_submodule(layer)
            if ending != "weight" or not hasattr(found, "packed_patches"):
                return super().patch_weight_to_device(key, *given, **named)
            found.packed_patches = list(self.patches.get(key, ()))
            return None

        def unpatch_model(self, *given: Any, **named: Any) -> None:
            for layer in self.model.modules():
                if hasattr(layer, "packed_patches"):
                    layer.packed_patches = []
            super().unpatch_model(*given, **named)

    def forward(layer: torch.nn.Module, name: str, given: torch.Tensor) -> torch.Tensor:
        weight = unpacked(layer.weight, kind)
        weight = comfy.lora.calculate_weight(layer.packed_patches, weight, name) if layer.packed_patches else weight
        return torch.nn.functional.linear(given, weight, layer.bias)

    for name in packed_names(in_gguf(patcher, kind)):
        layer = patcher.model.get_submodule(name.rpartition(".")[0])
        layer.packed_patches, layer.forward = [], partial(forward, layer, name)
    return Patcher.clone(Patcher(patcher.model, patcher.load_device, patcher.offload_device))


def unpacked(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """The numbers of a weight as ComfyUI-GGUF keeps it."""
    stored = weight.detach().as_subclass(torch.Tensor).numpy()
    return ggml.dequantised(stored, kind).reshape(tuple(weight.tensor_shape))


def packed_names(patcher: Any) -> list[str]:
    return [name for name, weight in patcher.model.named_parameters() if weight.dtype == torch.uint8]


def fits(weight: torch.Tensor, kind: str) -> bool:
    """Whether the rows of a weight fill whole blocks."""
    return weight.dim() == 2 and weight.shape[1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0] == 0


def stored_as(weight: torch.Tensor, kind: str, in_rows: bool = False) -> tuple[np.ndarray, str]:
    """(a weight's numbers or bytes, their type), as ComfyUI-GGUF's tools choose them. in_rows: whether other weights than
    those whose rows fill whole blocks are stored in rows that do, as of U-Nets."""
    weight = weight.detach().float()
    if weight.dim() < 2 or weight.numel() <= FEW or not (fits(weight, kind) or (in_rows and weight.numel() % ROW == 0)):
        return weight.numpy(), "F32"
    rows = weight if fits(weight, kind) else weight.reshape(-1, ROW)
    if kind in ("BF16", "F16"):
        return gguf.quantize(rows.numpy(), gguf.GGMLQuantizationType[kind]), kind
    return ggml.quantised(rows, kind), kind


def write_model(path: Path, weights: dict[str, torch.Tensor], kind: str, architecture: str) -> Path:
    """A GGUF file of a model, in the form of ComfyUI-GGUF's tools."""
    in_rows = architecture.startswith("sd")
    tensors = {name: stored_as(weight, kind, in_rows) for name, weight in weights.items()}
    shapes = {
        f"comfy.gguf.orig_shape.{name}": tuple(weight.shape)
        for name, weight in weights.items()
        if tensors[name][1] != "F32" and not fits(weight, kind)
    }
    return ggml.write_gguf(path, tensors, architecture, **shapes)


def load_pack(host: Any) -> None:
    """Have the host load ComfyUI-GGUF, once."""
    if "UnetLoaderGGUF" not in host.nodes.NODE_CLASS_MAPPINGS:
        known = set(host.nodes.NODE_CLASS_MAPPINGS)
        assert asyncio.run(host.nodes.load_custom_node(PACK, known, module_parent="custom_nodes"))


def small_model(host: Any, layout: str, path: Path) -> Any:
    """A file's MODEL of a layout of the tests by the pack's reader, layers and patcher; its loader node knows full sizes
    only."""
    from . import layouts
    from .tiny_models import model_config

    load_pack(host)
    loader = host.node("UnetLoaderGGUF")
    pack = importlib.import_module(loader.__module__)
    description = model_config(layout)
    description.custom_operations = pack.GGMLOps()
    plain = layouts.build(layouts.LAYOUTS[layout], description=model_config(layout))
    model = description.get_model(layouts.checkpoint(description), device=torch.device("cpu"))
    model.load_model_weights(pack.gguf_sd_loader(str(path)), "")
    device = torch.device("cpu")
    return pack.GGUFModelPatcher.clone(type(plain)(model, load_device=device, offload_device=device))
