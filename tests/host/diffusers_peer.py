"""What diffusers makes of a LoRA: small models of its own, and the change of every weight when a pipeline fuses it.

The models have the layouts of `tiny_models` and its sizes, but for half the channels in the U-Nets. Import this module
when the host is loaded: torchvision may need the host's preparation before diffusers can be imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

KINDS = ("sd15", "sdxl", "flux")
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SD15 = {"block_out_channels": (32, 64, 128, 128), "cross_attention_dim": 64}
SDXL = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "cross_attention_dim": 64,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FLUX = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 48,
    "guidance_embeds": True,
    "axes_dims_rope": (8, 12, 12),
}


def applied_by_diffusers(kind: str, lora: str | os.PathLike | Mapping[str, Tensor], **config: Any) -> dict[str, Tensor]:
    """The update of every weight that a LoRA file or state dict changes, by diffusers' name of the weight.

    The name begins with that of the pipeline's component. `config` changes the settings of the denoising model.
    """
    pipe = pipeline(kind, **config)
    pipe.load_lora_weights(dict(lora) if isinstance(lora, Mapping) else str(lora))
    pipe.fuse_lora(components=pipe._lora_loadable_modules)
    pipe.unload_lora_weights()
    return {name: weight for name, weight in _weights(pipe).items() if weight.any()}


def layer_shapes(kind: str, **config: Any) -> dict[str, torch.Size]:
    """The shape of every matrix and kernel that LoRAs are made for, by diffusers' name of its layer."""
    with torch.device("meta"):
        weights = _weights(_pipeline(kind, config))
    outside = ("embedding.weight", "text_projection.weight")
    return {
        name.removesuffix(".weight"): weight.shape
        for name, weight in weights.items()
        if weight.dim() > 1 and name.endswith(".weight") and not name.endswith(outside)
    }


def pipeline(kind: str, **config: Any) -> DiffusionPipeline:
    """A pipeline of the layout whose weights are all 0, so that fusing a LoRA leaves the update itself."""
    with torch.device("meta"):
        pipe = _pipeline(kind, config)
    for model in _models(pipe).values():
        model.to_empty(device="cpu")
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.zero_()
    return pipe


def _pipeline(kind: str, config: dict[str, Any]) -> DiffusionPipeline:
    text_encoder = CLIPTextModel(CLIPTextConfig(**CLIP))
    shared = {"vae": None, "text_encoder": text_encoder, "tokenizer": None, "scheduler": PNDMScheduler(steps_offset=1)}
    if kind == "sd15":
        unet = UNet2DConditionModel(**SD15 | config)
        return StableDiffusionPipeline(
            unet=unet, safety_checker=None, feature_extractor=None, requires_safety_checker=False, **shared
        )
    shared |= {"text_encoder_2": None, "tokenizer_2": None}
    if kind == "flux":
        return FluxPipeline(transformer=FluxTransformer2DModel(**FLUX | config), **shared)
    shared["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**CLIP))
    return StableDiffusionXLPipeline(unet=UNet2DConditionModel(**SDXL | config), **shared)


def _models(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def _weights(pipe: DiffusionPipeline) -> dict[str, Tensor]:
    """All parameters; text encoders are named without `text_model`, which they have in some versions only."""
    return {
        f"{part}.{name.removeprefix('text_model.')}": weight.detach()
        for part, model in _models(pipe).items()
        for name, weight in model.named_parameters()
    }


def control_net(
    kind: str, unet_weights: Mapping[str, Tensor], path: str | os.PathLike, **config: Any
) -> ControlNetModel:
    """A ControlNet of a U-Net with these weights, by diffusers' names, with a Control-LoRA file loaded as diffusers documents it."""
    unet = UNet2DConditionModel(**(SD15 if kind == "sd15" else SDXL) | config)
    net = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    theirs = dict(net.named_parameters())
    net.load_state_dict({name: tensor for name, tensor in unet_weights.items() if name in theirs}, strict=False)
    net.load_lora_adapter(str(path), prefix=None)
    return net


def effective_weights(net: ControlNetModel) -> dict[str, Tensor]:
    """Every weight that a net with an adapter computes with, by diffusers' name."""
    found = {}
    for name, module in net.named_modules():
        if isinstance(module, BaseTunerLayer):
            layer = module.get_base_layer()
            found[f"{name}.weight"] = layer.weight + sum(module.get_delta_weight(one) for one in module.active_adapters)
            if layer.bias is not None:
                found[f"{name}.bias"] = layer.bias
        elif isinstance(module, ModulesToSaveWrapper):
            found |= {
                f"{name}.{end}": w for end, w in module.modules_to_save[module.active_adapters[0]].named_parameters()
            }
    inside = ("lora_", "base_layer", "modules_to_save", "original_module")
    found |= {n: w for n, w in net.named_parameters() if not any(part in n for part in inside)}
    return {name: weight.detach() for name, weight in found.items()}
