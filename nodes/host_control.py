"""Control nets with block weights, a schedule, a mask and a hint of any aspect: a wrapper around the host's own."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import comfy.controlnet
import torch

from ..delta.control_hint import fit_hint
from ..delta.control_mask import FITS, EffectMask, crop_box, read_mask
from ..delta.control_output import picture_factors, scale_control, slot_factors
from ..delta.control_schedule import ControlSchedule, progress_at
from ..delta.control_weights import ControlWeights
from .host_control_nets import check_fits, layout_of


class ControlSettings(NamedTuple):
    """How a net acts. masks: [M, H, W] in 0..1, or None for everywhere; fit: how hint and masks meet another aspect."""

    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    weights: ControlWeights = ControlWeights()
    schedule: ControlSchedule | None = None
    masks: torch.Tensor | None = None
    fit: str = "crop"


class ShapedControl(comfy.controlnet.ControlBase):
    """A control net of the host whose outputs are scaled by block, place, picture and progress of the sampling.

    The net keeps its own hint, VAE and span of steps; it stands alone, and the chain of nets goes through this object.
    """

    def __init__(self, net: Any, settings: ControlSettings):
        super().__init__()
        self.net, self.settings = net, settings
        weights = settings.weights
        # Nets whose blocks are all alike need no layout, so that every kind of net can be used.
        uniform = not weights.rules.strip() and weights.falloff == 1
        self.layout = None if uniform else layout_of(net)
        self.factors = None if uniform else weights.resolve(self.layout)
        self.is_masked_out = settings.masks is not None and not bool(settings.masks.any())
        # For those who look at a chain from outside, as the host does for hooks.
        self.strength, self.timestep_percent_range = settings.strength, (settings.start, settings.end)
        self.cond_hint_original, self.extra_hooks = net.cond_hint_original, net.extra_hooks
        self.hint, self.hint_size = net.cond_hint_original, None
        self.sigma_at, self.mask = None, None

    def pre_run(self, model: Any, percent_to_timestep_function: Any) -> None:
        check_fits(self.net, model)
        super().pre_run(model, percent_to_timestep_function)
        self.net.pre_run(model, percent_to_timestep_function)
        self.sigma_at = percent_to_timestep_function

    def get_control(
        self, x_noisy: torch.Tensor, t: torch.Tensor, cond: dict, batched_number: int, transformer_options: dict
    ) -> dict | None:
        if self.sigma_at is None:
            raise ValueError(
                "The sampler did not prepare the ControlNet, as some samplers of other node packs do not. Use a sampler of ComfyUI."
            )
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        strength = self.strength_at(t)
        if strength == 0 or self.is_masked_out:
            return previous
        self._fit_hint(x_noisy)
        # Some nets bend their strength, and none can bend a negative one.
        self.net.strength = abs(strength)
        control = self.net.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if control is None:
            return previous
        batch, conditionings = len(x_noisy), transformer_options.get("cond_or_uncond", [0] * batched_number)
        pictures = picture_factors(conditionings, batch, self.settings.weights.uncond)
        factors = {} if self.factors is None else slot_factors(control, self.layout, self.factors)
        sign = math.copysign(1.0, strength)
        self.mask = mask_for(self.mask, self.settings, x_noisy)
        scaled = scale_control(control, sign, factors, pictures, self.mask, batch, batched_number)
        return comfy.controlnet.ControlBase().control_merge(scaled, previous, None)

    def strength_at(self, t: torch.Tensor) -> float:
        """The strength for the noise levels of a batch, whose first decides, as in the host."""
        schedule = self.settings.schedule
        if schedule is None:
            return self.settings.strength
        return self.settings.strength * schedule.strength(progress_at(float(t[0]), self.sigma_at))

    def _fit_hint(self, x_noisy: torch.Tensor) -> None:
        """Give the net its hint in the size that it will ask for. Cropping is what it does by itself."""
        pixels = self.net.compression_ratio
        if self.net.vae is not None:
            pixels *= self.net.vae.spacial_compression_encode()
        size = x_noisy.shape[-1] * pixels, x_noisy.shape[-2] * pixels
        if size == self.hint_size:
            return
        if self.settings.fit == "crop":
            crop_box(*self.hint.shape[:1:-1], size[0] / size[1])
        else:
            target = self.net.scale_image_to(*size) if hasattr(self.net, "scale_image_to") else size
            self.net.cond_hint_original = fit_hint(self.hint, *target, self.settings.fit)
        self.hint_size = size

    def cleanup(self) -> None:
        # A Control-LoRA has nothing to clean, and fails, before it has run.
        if self.sigma_at is not None:
            self.net.cleanup()
        self.sigma_at, self.mask = None, None
        super().cleanup()

    def get_models(self) -> list:
        return super().get_models() + self.net.get_models()

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        return self.net.inference_memory_requirements(dtype) + super().inference_memory_requirements(dtype)

    def copy(self) -> ShapedControl:
        return self._with(self.net.copy())

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> ShapedControl:
        if isinstance(self.net, comfy.controlnet.ControlLora):
            raise ValueError(
                "A Control-LoRA runs on one GPU only. Use the full ControlNet, or disconnect the node that adds GPUs."
            )
        clone = self._with(self.net.deepclone_multigpu(load_device))
        if autoregister:
            self.multigpu_clones[load_device] = clone
        return clone

    def _with(self, net: Any) -> ShapedControl:
        """The same around another copy of the net, with the hint as it was given."""
        net.cond_hint_original = self.hint
        return ShapedControl(net, self.settings)


def mask_for(mask: EffectMask | None, settings: ControlSettings, latent: torch.Tensor) -> EffectMask | None:
    """The mask for a latent [B, C, h, w] or [B, C, frames, h, w]: the last one while the size stays; None without a mask."""
    size = (latent.shape[2] if latent.dim() == 5 else 1, *latent.shape[-2:])
    if settings.masks is None or (mask is not None and (mask.frames, mask.height, mask.width) == size):
        return mask
    return EffectMask(settings.masks, settings.fit, size)


def control_settings(
    strength: float,
    start: float,
    end: float,
    fit: str,
    mask: torch.Tensor | None = None,
    weights: ControlWeights | None = None,
    schedule: ControlSchedule | None = None,
) -> ControlSettings:
    """The settings of one net; weights and schedule are 1 where they are None.

    Raises ValueError for a strength that is no number, an empty span of steps, an unknown fit, and a mask that is none.
    """
    if not math.isfinite(strength):
        raise ValueError(f"The strength is {strength}; give a number from -10 to 10.")
    if not 0 <= start < end <= 1:
        raise ValueError(
            f"The control runs from {start:g} to {end:g}, which is no part of the sampling. Give start_percent below "
            "end_percent, both within 0 to 1."
        )
    if fit not in FITS:
        raise ValueError(f"There is no fit `{fit}`. Choose one of: {', '.join(FITS)}.")
    masks = None if mask is None else read_mask(mask)
    if masks is not None and bool((masks == 1).all()):
        # White everywhere must not even round.
        masks = None
    return ControlSettings(strength, start, end, weights or ControlWeights(), schedule, masks, fit)


def apply_control(
    conditionings: list[list], net: Any, hint: torch.Tensor, settings: ControlSettings, vae: Any | None
) -> list[list]:
    """Conditionings with one more control net in their chains, shared where they had the same chain, as the host does.

    hint: [B, 3, H, W]. Raises ValueError for a net that did not load, and for one that needs the VAE and has none.
    """
    if net is None:
        raise ValueError(
            "There is no ControlNet: its file did not load. Load ControlNet tells what kind of file it is."
        )
    if net.latent_format is not None and vae is None:
        raise ValueError(
            "This ControlNet reads its hint through the VAE of the model. Connect the model's VAE to vae (Flux, SD3, Qwen-Image and "
            "HunyuanDiT nets need it; XLabs's and U-Net ones do not)."
        )
    shared: dict[Any, ShapedControl] = {}
    applied = []
    for conditioning in conditionings:
        rows = []
        for embedding, options in conditioning:
            previous = options.get("control")
            if previous not in shared:
                own = net.copy().set_cond_hint(hint, settings.strength, (settings.start, settings.end), vae=vae)
                shared[previous] = ShapedControl(own, settings).set_previous_controlnet(previous)
            rows.append([embedding, {**options, "control": shared[previous], "control_apply_to_uncond": False}])
        applied.append(rows)
    return applied
