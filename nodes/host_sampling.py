"""Single evaluations of a MODEL through the host's own sampler."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import torch

# Half way between noise and picture, where the composition stands and style is being decided.
PERCENT = 0.5
# Latent pixels a side where no latent is given.
SIDE = 32


def denoise_once(model: Any, positive: list, latent: dict | None, seed: int = 0) -> torch.Tensor:
    """The latent that the model predicts in one step from half the noise, without guidance, always from the same noise."""
    samples = torch.zeros(1, 4, SIDE, SIDE) if latent is None else latent["samples"]
    samples = comfy.sample.fix_empty_latent_channels(model, samples)
    noise = comfy.sample.prepare_noise(samples, seed)
    sigma = float(model.get_model_object("model_sampling").percent_to_sigma(PERCENT))
    # A step of Euler's method to 0 ends at the prediction.
    euler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0])
    return comfy.sample.sample_custom(
        model, noise, 1.0, euler, sigmas, positive, positive, samples, disable_pbar=True, seed=seed
    )
