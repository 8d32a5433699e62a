"""Small models of true layouts, made with the host's own classes: every key and every block kind, a few megabytes each.

Their configurations are in `layouts`; here is what tests do with them: tune them, and sample with some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from . import layouts
from .layouts import CHANNELS, CONTEXT_DIM, normal

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

# The layouts for LoRAs of every kind.
LAYOUTS = ("sd15", "sdxl", "flux", "wan")
CONTEXT_TOKENS = 8
# Copies, so that a test can change one.
CONFIGS = {layout.name: dict(layout.config) for layout in layouts.TABLE}
POOLED = {layout.name: layout.pooled for layout in layouts.TABLE if layout.pooled}
LATENT_SHAPES = {layout.name: layout.latent for layout in layouts.TABLE if layout.latent}


# Names that newer hosts give the layers of FLUX.2 in the same map: second names of weights of Flux.
FLUX2_NAMES = ("to_qkv_mlp_proj", "linear_in", "linear_out")


def is_of_flux2(name: str) -> bool:
    """Whether a diffusers name of a layer, with dots or underscores, is one of FLUX.2's."""
    layer = name.replace(".", "_").removesuffix("_weight").removesuffix("_bias")
    return layer.endswith(FLUX2_NAMES) or ("single_transformer_blocks" in layer and layer.endswith("attn_to_out"))


def tiny_model(layout: str, seed: int = 0, channels: int = CHANNELS) -> ModelPatcher:
    """A model of the layout on the CPU in float32, with all its weights drawn at random. `channels` widens U-Nets."""
    return layouts.build(layouts.LAYOUTS[layout], seed=seed, description=model_config(layout, channels))


def model_config(layout: str, channels: int = CHANNELS) -> Any:
    """The host's description of the tiny model, in float32."""
    return layouts.describe(layouts.LAYOUTS[layout], CONFIGS[layout], channels)


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


def conditioning(layout: str, prompt: str = "positive", seed: int = 0) -> list[list[Any]]:
    """A CONDITIONING for the layout, of numbers that belong to the name of the prompt and the seed."""
    context = normal(f"{prompt}.context", (1, CONTEXT_TOKENS, CONTEXT_DIM), seed)
    pooled = {"pooled_output": normal(f"{prompt}.pooled", (1, POOLED[layout]), seed)} if layout in POOLED else {}
    mask = {"attention_mask": torch.ones(1, CONTEXT_TOKENS, dtype=torch.int64)} if layout == "ltx" else {}
    return [[context, pooled | mask]]


def _update(name: str, shape: torch.Size, rank: int, seed: int) -> torch.Tensor:
    if len(shape) == 1 or rank == 0:
        return normal(name, shape, seed)
    up = normal(f"{name}.up", (shape[0], rank), seed)
    down = normal(f"{name}.down", (rank, shape[1:].numel()), seed)
    return (up @ down).reshape(shape)
