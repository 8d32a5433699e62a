"""What a training is given, checked: a MODEL, latents, and a prompt or captions for them."""

from __future__ import annotations

from typing import Any

import torch

from ...delta.training.captions import captions_of
from .gguf_weights import is_of_gguf
from .sampling import samples_of

# Options of a conditioning that bring a ControlNet, change weights, or bring boxes.
FOREIGN = ("control", "hooks", "gligen")


def parameter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a MODEL by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.model.named_parameters()}


def lora_layers(model: Any) -> set[str]:
    """The weights of a MODEL whose layers a LoRA can be trained for: those of matrices, and of convolutions over two axes."""
    found = set()
    for path, layer in model.model.diffusion_model.named_modules():
        axes = getattr(getattr(layer, "weight", None), "dim", int)()
        is_matrix = isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Linear"
        is_convolution = isinstance(layer, torch.nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        if (is_matrix and axes == 2) or (is_convolution and axes == 4):
            found.add(f"diffusion_model.{path}.weight")
    return found


def check_latents(model: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The latents of a LATENT, in the form in which the model takes them.

    Raises ValueError for empty latents, and as `samples_of` does.
    """
    samples = samples_of(model, latent)
    if not samples.any():
        raise ValueError("The latents are all zero. Connect pictures through VAE Encode, not an empty latent.")
    return samples


def check_conditioning(conditioning: list, latents: int) -> list:
    """One entry of CONDITIONING for each latent.

    Raises ValueError for any other number than 1 or one each, and for what runs or changes other weights.
    """
    for context, options in conditioning:
        foreign = [key for key in FOREIGN if key in options]
        if foreign:
            raise ValueError(
                f"The conditioning has {foreign[0]}, which training does not support. Connect a plain prompt."
            )
        if context is not None and len(context) > 1:
            raise ValueError(
                f"A conditioning holds {len(context)} prompts as one batch, of which only the first would be used. "
                "Combine them instead."
            )
    if len(conditioning) not in (1, latents):
        raise ValueError(
            f"There are {len(conditioning)} conditionings for {latents} latents. Connect one for all, or combine one for each."
        )
    return conditioning * latents if len(conditioning) == 1 else conditioning


def prompts_of(conditioning: list | None, clip: Any | None, captions: str, latents: int) -> list:
    """One entry of CONDITIONING for each latent: those of the conditioning, or the captions by a CLIP.

    Raises ValueError where neither or both are given, for captions without a CLIP, and as `captions_of` and
    `check_conditioning` do.
    """
    if not captions.strip():
        if conditioning is None:
            raise ValueError(
                "Nothing says what the pictures show. Connect conditioning, or connect clip and write captions."
            )
        return check_conditioning(conditioning, latents)
    if conditioning is not None:
        raise ValueError("Both captions and conditioning are given. Disconnect conditioning, or clear captions.")
    if clip is None:
        raise ValueError("There are captions, but no clip to read them with. Connect clip, or clear captions.")
    lines = captions_of(captions, latents)
    read = {line: clip.encode_from_tokens_scheduled(clip.tokenize(line)) for line in dict.fromkeys(lines)}
    return check_conditioning([entry for line in lines for entry in read[line]], latents)


def check_vae(model: Any, vae: Any | None) -> None:
    """Raises ValueError for a VAE that decodes other latents than the model's."""
    form = model.get_model_object("latent_format")
    channels = getattr(vae, "latent_channels", form.latent_channels)
    if channels != form.latent_channels:
        raise ValueError(
            f"The VAE decodes latents of {channels} channels, but the model has {form.latent_channels}. Connect the model's own "
            "VAE, or disconnect vae for no previews."
        )


def check_weights(model: Any) -> None:
    """Raises ValueError for a model with weights of 8 bits or fewer: gradients, and small changes, get lost in them."""
    for name, weight in model.model.named_parameters():
        if is_of_gguf(weight):
            raise ValueError(
                f"{name} is stored as GGUF, which training does not support. Load the model from a safetensors file."
            )
        if hasattr(weight, "_qdata") or weight.element_size() == 1:
            raise ValueError(f"{name} is quantised, which training does not support. Load the model in 16 or 32 bits.")
