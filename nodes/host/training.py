"""The loss of a MODEL as a function of a style, for training it.

The host's own training adds a wrapper to each weight, or copies the model. Here parameters are exchanged for the time of one
call only, by `torch.func.functional_call`, and LoRAs act on the input of their layers by hooks of that call, because that
- reaches parameters of every module alike, also those that the host never patches (tables beside other modules);
- leaves nothing behind: neither wrappers, nor flags, nor changed weights;
- allows other tensors for all weights: those that were loaded in inference mode, as the host does, cannot take part in a
  backward pass, but their numbers can, through another tensor on the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch

from ...delta.linear_algebra.factors import LowRank
from ...delta.training.style import Style, added
from ...delta.training.training import Draw
from .training_inputs import check_weights

# More than any device has: the host then frees all it can, and loads the whole model.
EVERYTHING = 1e20


def run_with_loss(
    model: Any, samples: torch.Tensor, conditioning: list, work: Callable[[StyleLoss], None], seed: int = 0
) -> None:
    """Load the model and call work(loss).

    samples and conditioning are as the checks of `training_inputs` give them.
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

    def __init__(self, work: Callable[[StyleLoss], None], conditioning: list):
        self.work, self.conditioning = work, conditioning

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image=None, *_, **__) -> torch.Tensor:
        with _gradients():
            self.work(StyleLoss(guider.inner_model, latent_image, self.conditioning, extra_args))
        return latent_image


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients on, and the host's own flag that chooses operations that have them, where it has one."""
    host = vars(comfy.model_management)
    flagged = "in_training" in host
    before = host.get("in_training")
    with torch.inference_mode(False), torch.enable_grad():
        if flagged:
            host["in_training"] = True
        try:
            yield
        finally:
            if flagged:
                host["in_training"] = before


class _Denoiser(torch.nn.Module):
    """What the model makes of a noised latent under one conditioning, as a module whose parameters can be exchanged."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, conditioning: list, noised: torch.Tensor, sigma: torch.Tensor, options: dict) -> torch.Tensor:
        return comfy.samplers.calc_cond_batch(self.model, [conditioning], noised, sigma, options)[0]


class StyleLoss:
    """loss(style, draw): the mean squared error in what the model itself predicts: noise, velocity or picture.

    The error of the denoised latent, which core's training takes, is that times the square of the noise level, so that the
    highest levels would decide alone. weights: all tensors of the model, as the calls use them; latents: [count, ...].
    """

    def __init__(self, model: Any, latents: torch.Tensor, conditioning: list, extra_args: Mapping[str, Any]):
        self.model, self.latents = model, latents.float().clone()
        self.denoiser, self.sampling = _Denoiser(model), model.model_sampling
        self.options = extra_args["model_options"]
        self.weights = {name: _plain(weight) for name, weight in self.denoiser.named_parameters()}
        self.weights |= {name: _plain(buffer) for name, buffer in self.denoiser.named_buffers()}
        converted = comfy.sampler_helpers.convert_cond(_copied(conditioning))
        # One latent at a time, because what a conditioning gives the model may depend on the latent.
        self.ready = [
            comfy.samplers.process_conds(
                model, latent, {"positive": [converted[i]]}, latent.device, latent, seed=extra_args["seed"]
            )["positive"]
            for i, latent in enumerate(self.latents.split(1))
        ]

    def __call__(self, style: Style, draw: Draw) -> torch.Tensor:
        clean = self.latents[draw.latent : draw.latent + 1]
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(draw.seed)).to(clean)
        sigma = torch.tensor([float(self.sampling.percent_to_sigma(draw.position))]).to(clean)
        noised = self.sampling.noise_scaling(sigma, noise, clean, False)
        if torch.is_grad_enabled():
            # On CPUs torch 2.13 crashes in the way back through a group norm whose input has no gradient, in channels_last. A
            # copy, because models change their input in place, which no leaf allows.
            noised = noised.detach().requires_grad_().clone()
        denoised = self.denoised(style, draw.latent, noised, sigma)
        # The denoised latent is linear in what the model predicts: how much of it a 1 there is.
        scale = self.sampling.calculate_denoised(sigma, torch.ones_like(clean), torch.zeros_like(clean))
        return ((denoised - clean) / scale).square().mean()

    def denoised(self, style: Style, latent: int, noised: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """What the model with a style makes of a noised latent [1, ...] at a noise level [1], under the prompt of a latent."""
        moved = {f"model.{name}": _moved(self.weights[f"model.{name}"], delta) for name, delta in style.plain.items()}
        arguments = (self.ready[latent], noised, sigma, self.options)
        with _hooked(self.model, style.factors):
            return torch.func.functional_call(self.denoiser, {**self.weights, **moved}, arguments)


@contextmanager
def _hooked(model: Any, factors: Mapping[str, LowRank]) -> Iterator[None]:
    """The LoRAs act on the layers of the model."""
    with ExitStack() as hooks:
        for name, part in factors.items():
            layer = model.get_submodule(name.removesuffix(".weight"))
            hooks.enter_context(layer.register_forward_hook(_adding(part), with_kwargs=True))
        yield


def _adding(part: LowRank) -> Callable[..., torch.Tensor]:
    def add(layer: torch.nn.Module, given: tuple, named: dict, result: torch.Tensor) -> torch.Tensor:
        features = next(iter((*given, *named.values())))
        return result + added(part, features, layer).to(result.dtype)

    return add


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
