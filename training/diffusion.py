"""Stable Diffusion 1.5's noise: its schedule, the loss of a prediction, and DDIM (Song et al. 2020, arXiv 2010.02502)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1000
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
KEPT = torch.cumprod(1 - BETAS, 0).float()
# The loss of nearly clean latents counts no more than this much less than that of noise (Hang et al. 2023, arXiv 2303.09556).
HIGHEST_WEIGHT = 8.0


def noised(latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [B, 4, H, W] with noise, the noise, and the timesteps [B], which are spread over all of them."""
    count = len(latents)
    places = (torch.rand(1, generator=generator) + torch.arange(count) / count) % 1
    times = (places * STEPS).long().to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    kept = KEPT.to(latents)[times][:, None, None, None]
    return kept.sqrt() * latents + (1 - kept).sqrt() * noise, noise, times


def loss(predicted: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss and the plain mean squared error of predicted noise."""
    squared = ((predicted - noise) ** 2).mean((1, 2, 3))
    weights = (1 / KEPT.to(squared)[times]).clamp(max=HIGHEST_WEIGHT)
    return (weights * squared).mean(), squared.mean().detach()


@torch.no_grad()
def ddim(predict: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int = 20) -> Tensor:
    """Latents out of noise. predict: noise in latents at timesteps, both with the batch first."""
    latents, times = noise, torch.linspace(STEPS - 1, 0, steps + 1).round().long().tolist()
    for time, next_time in zip(times, times[1:]):
        kept = KEPT[time]
        next_kept = KEPT[next_time] if next_time else torch.tensor(1.0)
        found = predict(latents, torch.full((len(latents),), time, device=latents.device))
        clean = (latents - (1 - kept).sqrt() * found) / kept.sqrt()
        latents = next_kept.sqrt() * clean + (1 - next_kept).sqrt() * found
    return latents


def guided(predict: Callable[..., Tensor], context: Tensor, bias: Tensor, nothing: tuple[Tensor, Tensor], scale: float):
    """A prediction with classifier-free guidance (arXiv 2207.12598). predict: of latents, times, contexts and biases."""
    contexts = torch.cat([context, nothing[0].expand_as(context)])
    biases = torch.cat([bias, nothing[1].expand_as(bias)])

    def predicted(latents: Tensor, times: Tensor) -> Tensor:
        with_text, without = predict(latents.repeat(2, 1, 1, 1), times.repeat(2), contexts, biases).chunk(2)
        return without + scale * (with_text - without)

    return predicted
