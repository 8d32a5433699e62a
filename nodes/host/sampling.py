"""Latents as a MODEL takes them, and single evaluations of it through the host's own sampler."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import torch

from ...delta.control.schedule import progress_at
from ...delta.pictures import check_numbers, check_single

# Half way between noise and picture, where the composition stands and style is being decided.
PERCENT = 0.5
# Latent pixels a side where no latent is given.
SIDE = 32


def denoise_once(model: Any, positive: list, latent: dict | None, seed: int = 0) -> torch.Tensor:
    """The latent that the model predicts in one step from half the noise, without guidance, always from the same noise."""
    given = torch.zeros(1, 4, SIDE, SIDE) if latent is None else latent["samples"]
    samples = samples_of(model, {"samples": comfy.sample.fix_empty_latent_channels(model, given)})
    noise = comfy.sample.prepare_noise(samples, seed)
    sigma = float(model.get_model_object("model_sampling").percent_to_sigma(PERCENT))
    # A step of Euler's method to 0 ends at the prediction.
    euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0])
    return comfy.sample.sample_custom(
        model, noise, 1.0, euler, sigmas, positive, positive, samples, disable_pbar=True, seed=seed
    )


def progresses(model: Any | None, sigmas: torch.Tensor) -> list[float]:
    """The progress in 0..1 at the beginning of each step of a schedule of noise levels [steps + 1].

    Raises ValueError without a model, which alone knows what they mean, and for no step.
    """
    if model is None:
        raise ValueError(
            "Sigmas are connected without a model. Connect model too: what a noise level means depends on it."
        )
    if len(sigmas) < 2:
        raise ValueError("The sigmas contain no step. Use a scheduler with at least 1 step.")
    sampling = model.get_model_object("model_sampling")
    return [progress_at(float(sigma), sampling.percent_to_sigma) for sigma in sigmas[:-1]]


def model_name(model: Any) -> str:
    """The kind of a MODEL as the host names it, such as SDXL."""
    return type(model.model.model_config).__name__


def samples_of(model: Any, latent: dict[str, Any], what: str = "latent") -> torch.Tensor:
    """The samples of a LATENT in the form in which a MODEL takes them. what: how errors call it.

    Raises ValueError for a latent of another kind of model, of several streams, or with NaN or infinite values.
    """
    samples, form = latent["samples"], model.get_model_object("latent_format")
    check_single(samples, f"The {what}")
    if form.latent_dimensions == 3 and samples.dim() == 4:
        samples = samples[:, :, None]
    if samples.shape[1] != form.latent_channels or samples.dim() != form.latent_dimensions + 2:
        raise ValueError(
            f"The {what} is {list(samples.shape)}, but {model_name(model)} has latents of {form.latent_channels} channels and "
            f"{form.latent_dimensions + 2} dimensions. Encode it with this model's VAE."
        )
    check_numbers(samples, f"The {what}")
    return samples
