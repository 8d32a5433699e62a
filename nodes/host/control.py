"""Control nets with block weights, a schedule, a mask and a hint of any aspect: a wrapper around the host's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.controlnet
import torch

from ...delta.control.hint import fit_hint
from ...delta.control.mask import FITS, EffectMask, crop_box
from ...delta.control.output import scale_control, slot_factors
from ...delta.control.schedule import ControlSchedule, progress_at
from ...delta.control.weights import ControlWeights
from ...delta.pictures import read_mask
from .control_fit import NOT_LOADED, check_fits
from .control_nets import layout_of


class ControlSettings(NamedTuple):
    """How a net acts. masks: [M, H, W] in 0..1, or None for everywhere; fit: how hint and masks meet another aspect; gain: a
    factor of what it adds, beside its strength."""

    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    weights: ControlWeights = ControlWeights()
    schedule: ControlSchedule | None = None
    masks: torch.Tensor | None = None
    fit: str = "crop"
    gain: float = 1.0

    def is_masked_out(self) -> bool:
        """Whether the masks leave nothing."""
        return self.masks is not None and not bool(self.masks.any())

    def strength_at(self, sigma: float, sigma_at: Callable[[float], float]) -> float:
        """Strength times schedule at a noise level. sigma_at: the noise level at a progress."""
        if self.schedule is None:
            return self.strength
        return self.strength * self.schedule.strength(progress_at(sigma, sigma_at))


class _OfTheNet:
    """An attribute of the wrapped net, for those who read or set it from outside, as tiled samplers of other packs do."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, control: ShapedControl, owner: type | None = None) -> Any:
        return getattr(control.net, self.name)

    def __set__(self, control: ShapedControl, value: Any) -> None:
        # The host's base class sets its defaults before there is a net.
        if "net" in vars(control):
            setattr(control.net, self.name, value)


class ShapedControl(comfy.controlnet.ControlBase):
    """A control net of the host whose outputs are scaled by block, place and progress of the sampling.

    The net keeps its own hint, VAE and span of steps; it stands alone, and the chain of nets goes through this object.
    """

    cond_hint, compression_ratio, vae, latent_format = _OfTheNet(), _OfTheNet(), _OfTheNet(), _OfTheNet()
    upscale_algorithm, preprocess_image, extra_concat_orig = _OfTheNet(), _OfTheNet(), _OfTheNet()
    manual_cast_dtype = _OfTheNet()

    def __init__(self, net: Any, settings: ControlSettings):
        self.hint: torch.Tensor | None = None
        super().__init__()
        self.net, self.settings = net, settings
        weights = settings.weights
        # Nets whose blocks are all alike need no layout, so that every kind of net can be used.
        uniform = not weights.rules.strip() and weights.falloff == 1
        self.layout = None if uniform else layout_of(net)
        self.factors = None if uniform else weights.resolve(self.layout)
        self.is_masked_out = settings.is_masked_out()
        # For those who look at a chain from outside, as the host does for hooks.
        self.strength, self.timestep_percent_range = settings.strength, (settings.start, settings.end)
        self.cond_hint_original, self.extra_hooks = net.cond_hint_original, net.extra_hooks
        self.sigma_at = None
        # By the size of the latent, which changes within a step where conditionings are for regions.
        self.hints: dict[tuple, torch.Tensor] = {}
        self.masks: dict[tuple, EffectMask] = {}

    @property
    def cond_hint_original(self) -> torch.Tensor | None:
        """The hint as it was given, [B, 3, H, W]."""
        return self.hint

    @cond_hint_original.setter
    def cond_hint_original(self, hint: torch.Tensor | None) -> None:
        self.hint, self.hints = hint, {}
        if "net" in vars(self):
            self.net.cond_hint_original, self.net.cond_hint = hint, None
            # What newer hosts keep of hints that they have prepared, by the size of the latent.
            for name in ("cond_hints", "control_inputs"):
                getattr(self.net, name, {}).clear()

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
                "The sampler did not prepare the ControlNet, as some samplers of other node packs do not. Use a sampler of "
                "ComfyUI."
            )
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(x_noisy, t, cond, batched_number, transformer_options)
        # The first noise level of a batch decides, as in the host.
        strength = self.settings.strength_at(float(t[0]), self.sigma_at)
        if strength == 0 or self.settings.gain == 0 or self.is_masked_out:
            return previous
        self._prepare(x_noisy)
        # Some nets bend their strength, and none can bend a negative one.
        self.net.strength = abs(strength)
        control = self.net.get_control(x_noisy, t, cond, batched_number, transformer_options)
        if control is None:
            return previous
        factors = {} if self.factors is None else slot_factors(control, self.layout, self.factors)
        gain, mask = math.copysign(self.settings.gain, strength), mask_for(self.masks, self.settings, x_noisy)
        scaled = scale_control(control, gain, factors, mask, len(x_noisy), batched_number)
        return comfy.controlnet.ControlBase().control_merge(scaled, previous, None)

    def _prepare(self, x_noisy: torch.Tensor) -> None:
        """Give the net its hint in the size that it will ask for. Cropping is what it does by itself."""
        net = self.net
        pixels = net.compression_ratio * (1 if net.vae is None else net.vae.spacial_compression_encode())
        size = x_noisy.shape[-1] * pixels, x_noisy.shape[-2] * pixels
        if size not in self.hints:
            self.hints[size] = self._fitted_hint(size)
        net.cond_hint_original = self.hints[size]
        # The host's T2I-Adapter keeps what it computed for a batch of another size.
        kept = getattr(net, "control_input", None) is not None and net.cond_hint is not None
        if kept and len(net.cond_hint) not in (1, len(x_noisy)):
            net.control_input = None

    def _fitted_hint(self, size: tuple[int, int]) -> torch.Tensor:
        """The hint for a picture of this width and height; uncropped where the net crops."""
        if self.settings.fit == "crop":
            crop_box(*self.hint.shape[:1:-1], size[0] / size[1])
            return self.hint
        target = self.net.scale_image_to(*size) if hasattr(self.net, "scale_image_to") else size
        return fit_hint(self.hint, *target, self.settings.fit)

    def cleanup(self) -> None:
        # A Control-LoRA has nothing to clean, and fails, before it has run.
        if self.sigma_at is not None:
            self.net.cleanup()
        self.sigma_at, self.hints, self.masks = None, {}, {}
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


def mask_for(masks: dict[tuple, EffectMask], settings: ControlSettings, latent: torch.Tensor) -> EffectMask | None:
    """The mask for a latent [B, C, h, w] or [B, C, frames, h, w], kept in `masks` by its size; None without a mask."""
    if settings.masks is None:
        return None
    size = (latent.shape[2] if latent.dim() == 5 else 1, *latent.shape[-2:])
    if size not in masks:
        masks[size] = EffectMask(settings.masks, settings.fit, size)
    return masks[size]


def is_off(strength: float, start: float, end: float) -> bool:
    """Whether a control does nothing: without strength, and over a span without length, as in the host."""
    return strength == 0 or 0 <= start == end <= 1


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
            f"The control runs from {start:g} to {end:g}, which is not a valid range. Set start_percent below "
            "end_percent, both between 0 and 1."
        )
    if fit not in FITS:
        raise ValueError(f"There is no fit `{fit}`. Choose one of: {', '.join(FITS)}.")
    masks = None if mask is None else read_mask(mask)
    if masks is not None and bool((masks == 1).all()):
        # White everywhere must not even round.
        masks = None
    return ControlSettings(strength, start, end, weights or ControlWeights(), schedule, masks, fit)


def apply_control(
    positive: list, negative: list, net: Any, hint: torch.Tensor, settings: ControlSettings, vae: Any | None
) -> list[list]:
    """Both conditionings with one more control net in their chains, shared where they had the same chain, as the host does.

    hint: [B, 3, H, W]. Raises ValueError for a net that did not load, one that needs the VAE and has none, and one that
    inpaints.
    """
    if net is None:
        raise ValueError(NOT_LOADED)
    if net.latent_format is not None and vae is None:
        raise ValueError(
            "This ControlNet reads its hint through the VAE of the model. Connect the model's VAE to vae (Flux, SD3, Qwen-Image and "
            "HunyuanDiT nets need it; XLabs's and U-Net ones do not)."
        )
    if net.concat_mask:
        raise ValueError(
            "This ControlNet is made for inpainting and needs to know what to paint. Apply it with ComfyUI's "
            "ControlNetInpaintingAliMamaApply; its result can be chained with this node."
        )
    shared: dict[Any, ShapedControl] = {}
    applied = []
    for conditioning, gain in zip((positive, negative), (1.0, settings.weights.uncond)):
        rows = []
        for embedding, options in conditioning:
            # By the conditioning itself: guiders differ in which number they give to the negative one.
            place = gain, options.get("control")
            if place not in shared:
                own = net.copy().set_cond_hint(hint, settings.strength, (settings.start, settings.end), vae=vae)
                control = ShapedControl(own, settings._replace(gain=gain))
                shared[place] = control.set_previous_controlnet(options.get("control"))
            rows.append([embedding, {**options, "control": shared[place], "control_apply_to_uncond": False}])
        applied.append(rows)
    return applied
