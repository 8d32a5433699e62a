"""Small models of true layouts, made with the host's own classes: every key and every block kind, a few megabytes each.

Widths and depths are reduced; the levels of the U-Nets, their residual blocks and the places of attention are those of
the released models. All numbers depend on the name of the weight and on a seed.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

LAYOUTS = ("sd15", "sdxl", "flux", "wan")
# More layouts, for what no LoRA of every kind is needed.
CLASSES = {
    "sd15": "SD15",
    "sdxl": "SDXL",
    "flux": "Flux",
    "wan": "WAN21_T2V",
    "ltx": "LTXV",
    "lumina": "Lumina2",
    "qwen": "QwenImage",
    "z_image": "ZImage",
    "sd3": "SD3",
}
CONTEXT_DIM = 64
CONTEXT_TOKENS = 8
# The width of a U-Net. At 32, the least, a group of GroupNorm is one channel, and biases before it have no effect.
CHANNELS = 64
POOLED = {"sdxl": 1280, "flux": 48, "sd3": 48}
LATENT_SHAPES = {
    "sd15": (1, 4, 16, 16),
    "sdxl": (1, 4, 16, 16),
    "flux": (1, 16, 8, 8),
    "wan": (1, 16, 2, 8, 8),
    "ltx": (1, 128, 2, 4, 4),
    "lumina": (1, 16, 8, 8),
    "qwen": (1, 16, 1, 8, 8),
    "z_image": (1, 16, 8, 8),
    "sd3": (1, 16, 8, 8),
}
UNET = {
    "use_checkpoint": False,
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "use_spatial_transformer": True,
    "context_dim": CONTEXT_DIM,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "sd15": UNET
    | {
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
    },
    "sdxl": UNET
    | {
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth": [0, 0, 2, 2, 3, 3],
        "transformer_depth_middle": 3,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 3, 3, 3],
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
    "flux": {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "vec_in_dim": POOLED["flux"],
        "context_in_dim": CONTEXT_DIM,
        "hidden_size": 64,
        "mlp_ratio": 4.0,
        "num_heads": 2,
        "depth": 2,
        "depth_single_blocks": 2,
        "axes_dim": [8, 12, 12],
        "theta": 10000,
        "patch_size": 2,
        "qkv_bias": True,
        "guidance_embed": True,
    },
    "wan": {
        "image_model": "wan2.1",
        "model_type": "t2v",
        "in_dim": 16,
        "out_dim": 16,
        "dim": 48,
        "ffn_dim": 128,
        "freq_dim": 256,
        "text_dim": CONTEXT_DIM,
        "num_heads": 2,
        "num_layers": 2,
    },
    "ltx": {
        "image_model": "ltxv",
        "in_channels": 128,
        "cross_attention_dim": 64,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "caption_channels": CONTEXT_DIM,
        "num_layers": 2,
    },
    "lumina": {
        "image_model": "lumina2",
        "patch_size": 2,
        "in_channels": 16,
        "dim": 48,
        "cap_feat_dim": CONTEXT_DIM,
        "n_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 1,
        "qk_norm": True,
        "axes_dims": [8, 8, 8],
        "axes_lens": [300, 512, 512],
    },
    "qwen": {
        "image_model": "qwen_image",
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": 2,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": CONTEXT_DIM,
        "axes_dims_rope": (8, 12, 12),
    },
    # The modulation of Z-Image is 256 wide, so its width cannot be less.
    "z_image": {
        "image_model": "lumina2",
        "patch_size": 2,
        "in_channels": 16,
        "dim": 256,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 4,
        "n_kv_heads": 4,
        "axes_dims": (16, 24, 24),
        "axes_lens": (64, 64, 64),
        "rope_theta": 256.0,
        "qk_norm": True,
        "cap_feat_dim": CONTEXT_DIM,
        "ffn_dim_multiplier": 1.0,
        "z_image_modulation": True,
        "time_scale": 1000.0,
        "pad_tokens_multiple": 32,
    },
    # The width is 64 times the depth.
    "sd3": {
        "in_channels": 16,
        "patch_size": 2,
        "depth": 2,
        "input_size": None,
        "num_patches": None,
        "pos_embed_max_size": 8,
        "adm_in_channels": POOLED["sd3"],
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": CONTEXT_DIM, "out_features": 128},
        },
    },
}


# Names that newer hosts give the layers of FLUX.2 in the same map: second names of weights of Flux.
FLUX2_NAMES = ("to_qkv_mlp_proj", "linear_in", "linear_out")


def is_of_flux2(name: str) -> bool:
    """Whether a diffusers name of a layer, with dots or underscores, is one of FLUX.2's."""
    layer = name.replace(".", "_").removesuffix("_weight").removesuffix("_bias")
    return layer.endswith(FLUX2_NAMES) or ("single_transformer_blocks" in layer and layer.endswith("attn_to_out"))


def tiny_model(layout: str, seed: int = 0, channels: int = CHANNELS) -> ModelPatcher:
    """A model of the layout on the CPU in float32, with all its weights drawn at random. `channels` widens U-Nets."""
    from comfy.model_patcher import ModelPatcher

    config = model_config(layout, channels)
    cpu = torch.device("cpu")
    model = config.get_model({}, device=cpu)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            weight.copy_(_initial(name, weight.shape, seed))
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def model_config(layout: str, channels: int = CHANNELS) -> Any:
    """The host's description of the tiny model, in float32."""
    from comfy import supported_models

    config = getattr(supported_models, CLASSES[layout])(CONFIGS[layout] | _settings(layout, channels))
    config.set_inference_dtype(torch.float32, None)
    return config


def tuned(
    layout: str, seed: int = 0, rank: int = 4, scale: float = 0.1, change: int = 1, channels: int = CHANNELS
) -> ModelPatcher:
    """The tiny model after a pretended fine-tune that moved every weight by `scale` times its norm.

    Matrices and kernels move by an update of that rank, or of full rank where `rank` is 0; biases and norms move freely.
    `change` seeds the update, `seed` the model.
    """
    patcher = tiny_model(layout, seed, channels)
    with torch.no_grad():
        for name, weight in patcher.model.diffusion_model.named_parameters():
            update = _update(f"tuned.{name}", weight.shape, rank, change)
            weight.add_(update * (scale * weight.norm() / update.norm()))
    return patcher


def sample(patcher: ModelPatcher, layout: str, seed: int = 0) -> torch.Tensor:
    """The latent after two steps of the host's sampler, from noise and conditioning that depend on the seed alone."""
    import comfy.model_management
    import comfy.sample

    noise = normal("noise", LATENT_SHAPES[layout], seed)
    positive, negative = (conditioning(layout, prompt, seed) for prompt in ("positive", "negative"))
    latent = torch.zeros_like(noise)
    result = comfy.sample.sample(
        patcher, noise, 2, 2.0, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=seed
    )
    # The host leaves patched weights in the model that it keeps loaded.
    comfy.model_management.unload_all_models()
    return result


def _settings(layout: str, channels: int) -> dict[str, Any]:
    """The width of U-Nets, and what only newer hosts ask of Flux."""
    from comfy.ldm.flux.model import FluxParams

    if "num_res_blocks" in CONFIGS[layout]:
        return {"model_channels": channels}
    fields = {field.name for field in dataclasses.fields(FluxParams)}
    return {"txt_ids_dims": []} if layout == "flux" and "txt_ids_dims" in fields else {}


def conditioning(layout: str, prompt: str = "positive", seed: int = 0) -> list[list[Any]]:
    """A CONDITIONING for the layout, of numbers that belong to the name of the prompt and the seed."""
    context = normal(f"{prompt}.context", (1, CONTEXT_TOKENS, CONTEXT_DIM), seed)
    pooled = {"pooled_output": normal(f"{prompt}.pooled", (1, POOLED[layout]), seed)} if layout in POOLED else {}
    mask = {"attention_mask": torch.ones(1, CONTEXT_TOKENS, dtype=torch.int64)} if layout == "ltx" else {}
    return [[context, pooled | mask]]


def normal(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Standard normal numbers that belong to the name and the seed."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}.{name}".encode()))
    return torch.randn(shape, generator=generator)


def _initial(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """Norms near 1, small biases, and matrices that keep the variance."""
    numbers = normal(name, shape, seed)
    if len(shape) > 1:
        return numbers / shape[1:].numel() ** 0.5
    return 0.1 * numbers if name.endswith(".bias") else 1 + 0.1 * numbers


def _update(name: str, shape: torch.Size, rank: int, seed: int) -> torch.Tensor:
    if len(shape) == 1 or rank == 0:
        return normal(name, shape, seed)
    up = normal(f"{name}.up", (shape[0], rank), seed)
    down = normal(f"{name}.down", (rank, shape[1:].numel()), seed)
    return (up @ down).reshape(shape)
