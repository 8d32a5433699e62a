"""The loss of a MODEL as a function of its norm parameters, for training them.

The host's own training adds a wrapper to each weight, or copies the model. Here the parameters are exchanged for the
time of one call only, by `torch.func.functional_call`, because that
- reaches parameters of every module alike, also those that the host never patches (tables beside other modules);
- leaves nothing behind: neither wrappers, nor flags, nor changed weights;
- allows other tensors for all weights: those that were loaded in inference mode, as the host does, cannot take part in a
  backward pass, but their numbers can, through another tensor on the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch

from ...delta.norms.training import Deltas, Draw, Loss
from .sampling import samples_of
from .weights import base_weight

Interrupted = comfy.model_management.InterruptProcessingException
# More than any device has: the host then frees all it can, and loads the whole model.
EVERYTHING = 1e20
# Options of a conditioning that bring a ControlNet, change weights, or bring boxes.
FOREIGN = ("control", "hooks", "gligen")


def parameter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a MODEL by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.model.named_parameters()}


def check_latents(model: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The latents of a LATENT, in the form in which the model takes them.

    Raises ValueError for empty latents, and as `samples_of` does.
    """
    samples = samples_of(model, latent)
    if not samples.any():
        raise ValueError("The latents are empty, all zero. Connect pictures by VAE Encode, not an empty latent.")
    return samples


def check_conditioning(conditioning: list, latents: int) -> list:
    """One entry of CONDITIONING for each latent.

    Raises ValueError for any other number than 1 or one each, and for what runs or changes other weights.
    """
    for context, options in conditioning:
        foreign = [key for key in FOREIGN if key in options]
        if foreign:
            raise ValueError(
                f"The conditioning has {foreign[0]}, with which norms cannot be trained. Connect a prompt alone."
            )
        if context is not None and len(context) > 1:
            raise ValueError(
                f"A conditioning holds {len(context)} prompts as one batch, of which only the first would count. Combine them."
            )
    if len(conditioning) not in (1, latents):
        raise ValueError(
            f"There are {len(conditioning)} conditionings for {latents} latents. Connect one for all, or combine one for each."
        )
    return conditioning * latents if len(conditioning) == 1 else conditioning


def check_weights(model: Any) -> None:
    """Raises ValueError for a model with weights of 8 bits or fewer: gradients, and small changes, get lost in them."""
    for name, weight in model.model.named_parameters():
        if hasattr(weight, "tensor_type"):
            base_weight(model, name)
        if hasattr(weight, "_qdata") or weight.element_size() == 1:
            raise ValueError(f"{name} is quantised, and cannot be trained through. Load the model in 16 or 32 bits.")


def run_with_loss(
    model: Any, samples: torch.Tensor, conditioning: list, work: Callable[[Loss], None], seed: int = 0
) -> None:
    """Load the model and call work(loss).

    samples and conditioning are as the checks give them. The loss of a draw is the mean squared error in what the model
    itself predicts: noise, velocity or picture. The error of the denoised latent, which core's training takes, is that
    times the square of the noise level, so that the highest levels would decide alone.
    """
    check_weights(model)
    # A model that the host streams into the GPU has no weights to train with; it gives a copy that has.
    if hasattr(model, "is_dynamic") and model.is_dynamic():
        model = model.clone(disable_dynamic=True)
    comfy.model_management.load_models_gpu([model], memory_required=EVERYTHING, force_full_load=True)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning})
    sampling = model.get_model_object("model_sampling")
    sigmas = torch.tensor([float(sampling.sigma_max), 0.0])
    guider.sample(torch.zeros_like(samples), samples, _Work(work, conditioning), sigmas, seed=seed)


class _Work(comfy.samplers.Sampler):
    """A sampler that does not sample: it is where the host has everything ready to call the model."""

    def __init__(self, work: Callable[[Loss], None], conditioning: list):
        self.work, self.conditioning = work, conditioning

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, *_, **__) -> torch.Tensor:
        with _gradients():
            self.work(_loss(guider.inner_model, latent_image, self.conditioning, extra_args))
        return latent_image


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients on, and the host's own flag that chooses operations that have them, where it has one."""
    flagged = hasattr(comfy.model_management, "in_training")
    before = flagged and comfy.model_management.in_training
    with torch.inference_mode(False), torch.enable_grad():
        if flagged:
            comfy.model_management.in_training = True
        try:
            yield
        finally:
            if flagged:
                comfy.model_management.in_training = before


class _Denoiser(torch.nn.Module):
    """What the model makes of a noised latent under one conditioning, as a module whose parameters can be exchanged."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, conditioning: list, noised: torch.Tensor, sigma: torch.Tensor, options: dict) -> torch.Tensor:
        return comfy.samplers.calc_cond_batch(self.model, [conditioning], noised, sigma, options)[0]


def _loss(model: Any, latents: torch.Tensor, conditioning: list, extra_args: dict[str, Any]) -> Loss:
    latents, denoiser, sampling = latents.float().clone(), _Denoiser(model), model.model_sampling
    weights = {name: _plain(weight) for name, weight in denoiser.named_parameters()}
    weights |= {name: _plain(buffer) for name, buffer in denoiser.named_buffers()}
    converted = comfy.sampler_helpers.convert_cond(_copied(conditioning))
    # One latent at a time, because what a conditioning gives the model may depend on the latent.
    ready = [
        comfy.samplers.process_conds(
            model, latent, {"positive": [converted[i]]}, latent.device, latent, seed=extra_args["seed"]
        )["positive"]
        for i, latent in enumerate(latents.split(1))
    ]

    def loss(deltas: Deltas, draw: Draw) -> torch.Tensor:
        clean = latents[draw.latent : draw.latent + 1]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(draw.seed)).to(clean)
        sigma = torch.tensor([float(sampling.percent_to_sigma(draw.position))]).to(clean)
        noised = sampling.noise_scaling(sigma, noise, clean, False)
        moved = {f"model.{name}": _moved(weights[f"model.{name}"], delta) for name, delta in deltas.items()}
        arguments = (ready[draw.latent], noised, sigma, extra_args["model_options"])
        denoised = torch.func.functional_call(denoiser, {**weights, **moved}, arguments)
        # The denoised latent is linear in what the model predicts: how much of it a 1 there is.
        scale = sampling.calculate_denoised(sigma, torch.ones_like(clean), torch.zeros_like(clean))
        return ((denoised - clean) / scale).square().mean()

    return loss


def _moved(weight: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    return (weight.float() + delta.to(weight.device)).to(weight.dtype)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a tensor without gradient that a backward pass may keep."""
    if not tensor.is_inference():
        return tensor.detach()
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def _copied(value: Any) -> Any:
    """A conditioning with copies of its tensors, which a backward pass may keep. What else it holds stays the same."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value
