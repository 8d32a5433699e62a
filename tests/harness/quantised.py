"""Models in the host's quantised formats, made with the host's own quantisers. For use where the host is started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PLAIN = {"fp8 e4m3": torch.float8_e4m3fn, "fp8 e5m2": torch.float8_e5m2}
# Older files: a scale beside each weight in eight bits, and a tensor that says so.
OLD, OLD_MARKER = "scale_weight fp8", "scaled_fp8"
# The host's name of the format, and what its quantiser and its settings beside a weight are given.
LAYOUTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "scaled fp8 e4m3": ("float8_e4m3fn", {}),
    "scaled fp8 e5m2": ("float8_e5m2", {}),
    "int8": ("int8_tensorwise", {}),
    "int8 rotated": ("int8_tensorwise", {"convrot": True, "convrot_groupsize": 64}),
    "mxfp8": ("mxfp8", {}),
    "w4a8": ("asym_w4a8_int8", {"convrot_groupsize": 64}),
    "w4a4": ("convrot_w4a4", {"convrot_groupsize": 64}),
    "nvfp4": ("nvfp4", {}),
}
# Whose weights have half as many columns, so that the host misreads the width of a text by these.
PACKED = ("w4a8", "w4a4", "nvfp4")
MISREAD = ".attn2.to_k."
LEAST_SIDE = 32


def formats() -> list[str]:
    """The formats that this host can read and write."""
    from comfy import quant_ops

    known = quant_ops.QUANT_ALGOS if hasattr(quant_ops.QuantizedTensor, "state_dict") else {}
    return [*PLAIN, OLD, *(name for name, (kind, _) in LAYOUTS.items() if kind in known)]


def quantised(tensors: Mapping[str, Tensor], name: str, within: str = "") -> dict[str, Tensor]:
    """The tensors of a diffusion model's file with its linear weights in a format, as such files store them.

    within: what the names of those begin with, where there are scales beside them.
    """
    if name in PLAIN:
        return {key: value.to(PLAIN[name]) for key, value in tensors.items()}
    result = dict(tensors)
    for key, value in tensors.items():
        if (
            value.ndim == 2
            and key.endswith(".weight")
            and min(value.shape) >= LEAST_SIDE
            and not _is_misread(key, name)
        ):
            del result[key]
            result |= _stored(key, value, name)
    return result


def _is_misread(key: str, name: str) -> bool:
    return key.startswith(("time_embed", "label_emb")) or (name in PACKED and MISREAD in key)


def _stored(key: str, value: Tensor, name: str) -> dict[str, Tensor]:
    if name == OLD:
        scale = value.abs().max() / torch.finfo(torch.float8_e4m3fn).max
        stored = {key: (value / scale).to(torch.float8_e4m3fn), key.removesuffix("weight") + "scale_weight": scale}
        return stored | {OLD_MARKER: torch.zeros(0, dtype=torch.float8_e4m3fn)}
    from comfy import quant_ops

    kind, options = LAYOUTS[name]
    layout = quant_ops.QUANT_ALGOS[kind]["comfy_tensor_layout"]
    scaled = {"scale": "recalculate"} if kind.startswith("float8") or kind == "nvfp4" else {}
    if "convrot" in options:
        scaled["per_channel"] = True
    stored = quant_ops.QuantizedTensor.from_float(value.float().clone(), layout, **scaled, **options)
    settings = json.dumps({"format": kind, **options}).encode()
    return {
        **stored.state_dict(key),
        key.removesuffix("weight") + "comfy_quant": torch.tensor(list(settings), dtype=torch.uint8),
    }


@torch.inference_mode()
def load(tensors: Mapping[str, Tensor], name: str | None, within: str = "") -> Any:
    """A MODEL of a diffusion model's tensors in a format, by the host's loader; in float32 without a format.

    In inference mode, as in the host: newer ones cannot move a quantised model there that was loaded outside.
    """
    import comfy.sd

    options = {"dtype": PLAIN.get(name, torch.float32)} if name is None or name in PLAIN else {}
    stored = dict(tensors) if name is None else quantised(tensors, name, within)
    return comfy.sd.load_diffusion_model_state_dict(stored, model_options=options)


def unet_of(checkpoint: str) -> dict[str, Tensor]:
    """The diffusion model's tensors of a checkpoint file, float32."""
    import comfy.utils

    prefix = "model.diffusion_model."
    read = comfy.utils.load_torch_file(checkpoint)
    return {key.removeprefix(prefix): value.float() for key, value in read.items() if key.startswith(prefix)}


@torch.inference_mode()
def rebuilt(description: Any, tensors: Mapping[str, Tensor], name: str, within: str) -> Any:
    """A MODEL by the host's description of it, with layers of `tensors`, as its diffusion model has them, in a format."""
    import comfy.ops
    from comfy.model_patcher import ModelPatcher

    description.custom_operations = comfy.ops.mixed_precision_ops(compute_dtype=torch.float32)
    model = description.get_model({})
    model.load_model_weights(quantised(tensors, name, within), "")
    cpu = torch.device("cpu")
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def dequantised(model: Any) -> dict[str, Tensor]:
    """The weights of a quantised MODEL's diffusion model as the host reads them, float32."""
    from comfy.model_management import cast_to_device
    from comfy.model_patcher import get_key_weight

    # A clone with baked patches may be in its place.
    loaded(model)
    result = {}
    for name, _ in model.model.diffusion_model.named_parameters():
        if name.rpartition(".")[2] not in ("weight", "bias"):
            continue
        stored, _, convert = get_key_weight(model.model, f"diffusion_model.{name}")
        value = cast_to_device(stored, torch.device("cpu"), torch.float32, copy=True)
        result[name] = (value if convert is None else convert(value, inplace=True)).detach()
    return result


def loaded(model: Any) -> Any:
    """A MODEL on its device, with its patches."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([model])
    return model


def outputs(model: Any, layer: str, given: Tensor) -> Tensor:
    """What a layer of the diffusion model of a MODEL makes of an input, float32."""
    with torch.inference_mode():
        return loaded(model).model.diffusion_model.get_submodule(layer)(given.clone()).float()


def cosine(one: Tensor, other: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.double().flatten(), other.double().flatten(), dim=0).item()
