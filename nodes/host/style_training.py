"""A whole training in the host: with its memory told beforehand, pictures on the node, and the best so far after Cancel."""

from __future__ import annotations

import logging
from typing import Any

import comfy.k_diffusion.sampling
import comfy.model_management
import comfy.samplers
import torch
from PIL import Image

from ...delta.training.memory import BYTES_PER_TRAINED, Memory, kept_features, size
from ...delta.training.style import Style
from ...delta.training.training import Show, StyleTraining
from .run import Interrupted, Progress
from .training import StyleLoss, run_with_loss

# Steps of a preview, by Euler's method, without guidance.
PREVIEW_STEPS, PREVIEW_SCHEDULER = 12, "simple"

log = logging.getLogger(__name__)


def train(
    model: Any,
    samples: torch.Tensor,
    conditioning: list,
    training: StyleTraining,
    progress: Progress,
    vae: Any | None = None,
    preview_every: int = 0,
) -> Memory:
    """Run a training on a MODEL, and tell what memory it took.

    After Cancel the step that was reached is evaluated, and this returns with the training stopped; a second Cancel stops
    that too. Raises the host's exception where nothing better than the model had been found, and OutOfMemoryError, with
    what was needed, where memory ran out.
    """
    weights = model.model_size()
    needed = [Memory(weights, 0, BYTES_PER_TRAINED * training.plan.numbers)]

    def work(loss: StyleLoss) -> None:
        needed[0] = _needed(loss, training, needed[0], progress)
        show = _shower(loss, vae, training.settings.seed, progress) if vae is not None else _nothing
        try:
            training.run(loss, progress, show, preview_every)
        except Interrupted:
            if not _has_best(training, loss, progress):
                raise

    try:
        run_with_loss(model, samples, conditioning, work, training.settings.seed)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise torch.cuda.OutOfMemoryError(_too_little(needed[0], model.load_device)) from error
    return needed[0]


def _needed(loss: StyleLoss, training: StyleTraining, known: Memory, progress: Progress) -> Memory:
    """The memory that is needed, told in the log and on the node before the first step."""
    features = kept_features(lambda: loss(training.style, training.fixed[0]), loss.weights.values())
    memory = known._replace(features=features)
    free = comfy.model_management.get_free_memory(loss.latents.device)
    log.info("Train Style: %s, %s free", memory.line, size(free))
    if features + memory.trained > free:
        log.warning("Train Style: this needs more memory than is free and may fail. Use smaller pictures.")
    progress.tell(f"{memory.line}; {size(free)} free")
    return memory


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _too_little(memory: Memory, device: torch.device) -> str:
    counted = memory.line if memory.features else f"{memory.line}, which were not counted yet"
    free = size(comfy.model_management.get_free_memory(device))
    return (
        f"Training ran out of memory. {counted[0].upper()}{counted[1:]}; {free} are free now. Use smaller pictures, "
        "load the model in 16 bits, or close other programs that use memory."
    )


def _has_best(training: StyleTraining, loss: StyleLoss, progress: Progress) -> bool:
    try:
        return training.stop(loss, progress)
    except Interrupted:
        return training.best is not None


def _nothing(style: Style, step: int) -> None:
    """No preview."""


def _shower(loss: StyleLoss, vae: Any, seed: int, progress: Progress) -> Show:
    def show(style: Style, step: int) -> None:
        with torch.no_grad():
            progress.show(_as_image(vae.decode(preview_latent(loss, style, seed))))

    return show


def preview_latent(loss: StyleLoss, style: Style, seed: int, steps: int = PREVIEW_STEPS) -> torch.Tensor:
    """A latent that the model with a style samples for the first prompt, in the size of the first latent, [1, ...].

    It is always of the same noise, and without guidance. Cancel is obeyed.
    """
    first, sampling = loss.latents[:1], loss.sampling
    sigmas = comfy.samplers.calculate_sigmas(sampling, PREVIEW_SCHEDULER, steps).to(first.device)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed)).to(first)
    noised = sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(first), True)

    def denoised(latent: torch.Tensor, sigma: torch.Tensor, **_: Any) -> torch.Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return loss.denoised(style, 0, latent, sigma)

    with torch.no_grad():
        sampled = comfy.k_diffusion.sampling.sample_euler(denoised, noised, sigmas, disable=True)
        return loss.model.process_latent_out(sampling.inverse_noise_scaling(sigmas[-1], sampled).float())


def _as_image(decoded: torch.Tensor) -> Image.Image:
    """The first picture of what a VAE gives: [batch, height, width, 3], or with frames before the height."""
    picture = decoded[0] if decoded.dim() == 4 else decoded[0, 0]
    return Image.fromarray((255 * picture[..., :3].clamp(0, 1)).round().byte().cpu().numpy())
