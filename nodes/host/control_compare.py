"""What control nets send to a model while it samples, and Control-LoRA files as the host loads them."""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.cldm.cldm
import comfy.controlnet
import comfy.sample
import torch

from ...delta.control.hint import read_hint
from ...delta.control.schedule import progress_at
from .control_files import LOAD_ERRORS, in_short
from .control_fit import NOT_LOADED, UNET, architecture_of_model, check_fits
from .sampling import samples_of

# Noise levels at which nets are compared, from noise to picture.
STEPS = 4
SEED = 0
# Tokens of a prompt for CLIP.
TOKENS = 77
# The width of the pooled text that SDXL reads.
POOLED = 1280


def loaded_control_lora(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that the host's own loader keeps of a Control-LoRA. Raises ValueError where it takes it for something else."""
    net = comfy.controlnet.load_controlnet_state_dict(dict(tensors))
    if not isinstance(net, comfy.controlnet.ControlLora):
        raise ValueError("ComfyUI does not load the file as a Control-LoRA. Nothing was kept; report this file.")
    return net.control_weights


def loaded_control_net(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that the host's own loader keeps of a full ControlNet. Raises ValueError where it takes it for something else."""
    try:
        net = comfy.controlnet.load_controlnet_state_dict(dict(tensors))
    except LOAD_ERRORS as error:
        raise ValueError(
            f"ComfyUI cannot load the file: {in_short(error)}. Nothing was kept; choose the base of the file."
        ) from error
    if not isinstance(getattr(net, "control_model", None), comfy.cldm.cldm.ControlNet):
        raise ValueError("ComfyUI does not load the file as a ControlNet. Nothing was kept; report this file.")
    return net.control_model.state_dict()


class Sent(NamedTuple):
    """progress: from noise, 0, to picture, 1; control: lists of outputs by the place where they are added."""

    progress: float
    control: dict[str, list[torch.Tensor | None]]


def control_outputs(net: Any, model: Any, image: torch.Tensor, latent: dict | None) -> list[Sent]:
    """What a CONTROL_NET sends to a U-Net MODEL at a few noise levels, through the host's sampler.

    The model itself is not evaluated, so that every net sees the same latents; text and noise are drawn at random, always the
    same. image: [B, H, W, 3], the hint; latent: without it, empty and of the hint's size. Raises ValueError for a net of
    another kind than the model.
    """
    _check(net, model)
    # Every level of a U-Net halves the sides.
    empty = torch.zeros(1, 4, *(max(8, side // 64 * 8) for side in image.shape[1:3]))
    samples = samples_of(model, {"samples": empty} if latent is None else latent)[:1]
    own = net.copy().set_cond_hint(read_hint(image[:1]), 1.0, (0.0, 1.0))
    sigma_at = model.get_model_object("model_sampling").percent_to_sigma
    seen: list[Sent] = []

    def watch(apply: Any, arguments: dict) -> torch.Tensor:
        control = arguments["c"].get("control") or {}
        copied = {slot: [x if x is None else x.float().cpu() for x in outputs] for slot, outputs in control.items()}
        seen.append(Sent(progress_at(float(arguments["timestep"][0]), sigma_at), copied))
        return torch.zeros_like(arguments["input"])

    watched = model.clone()
    watched.set_model_unet_function_wrapper(watch)
    noise = comfy.sample.prepare_noise(samples, SEED)
    positive = _conditioning(model, own)
    comfy.sample.sample(
        watched, noise, STEPS, 1.0, "euler", "normal", positive, positive, samples, disable_pbar=True, seed=SEED
    )
    return seen


def _check(net: Any, model: Any) -> None:
    kind = architecture_of_model(model.model)
    if kind is None or kind.family != UNET:
        raise ValueError(
            "Control nets can be compared only on models of SD 1.x, SD 2.x and SDXL, for which Control-LoRAs exist. "
            "Connect such a model."
        )
    if net is None:
        raise ValueError(NOT_LOADED)
    check_fits(net, model.model)
    if net.latent_format is not None:
        raise ValueError(
            "This ControlNet reads its hint through a VAE and is not for a U-Net. Connect one for this model."
        )


def _conditioning(model: Any, net: Any) -> list:
    """A prompt of random numbers of the size of CLIP's, with the net."""
    generator = torch.Generator().manual_seed(SEED)
    width = model.model.model_config.unet_config["context_dim"]
    context = torch.randn(1, TOKENS, width, generator=generator)
    pooled = torch.randn(1, POOLED, generator=generator)
    return [[context, {"pooled_output": pooled, "control": net, "control_apply_to_uncond": False}]]
