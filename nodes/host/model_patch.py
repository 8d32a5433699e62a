"""Control nets that the host keeps as patches of a model: given a part of the sampling, a schedule and a mask."""

from __future__ import annotations

from typing import Any

import torch

import nodes as host_nodes

from ...delta.control.mask import EffectMask
from .control import ControlSettings, mask_for

APPLY = "QwenImageDiffsynthControlnet"
# Kinds of nets by class: the host's own node applies them all.
NETS = {"QwenImageBlockWiseControlNet": "Qwen-Image DiffSynth ControlNet", "ZImage_Control": "Z-Image Fun ControlNet"}


def is_offered() -> bool:
    """Whether this host has such nets."""
    return APPLY in host_nodes.NODE_CLASS_MAPPINGS


class ShapedPatch:
    """A patch of the host's blocks whose effect is scaled by progress and place.

    The host moves and loads what `to` and `models` tell, as of its own patches.
    """

    def __init__(self, patch: Any, settings: ControlSettings, model: Any):
        self.patch, self.settings, self.model = patch, settings, model
        self.is_masked_out = settings.is_masked_out()
        self.masks: dict[tuple, EffectMask] = {}
        self.sigmas, self.strength = None, 0.0

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        options = arguments["transformer_options"]
        if options["sigmas"] is not self.sigmas:
            # Once for all blocks of an evaluation: reading a number waits for the GPU.
            self.sigmas = options["sigmas"]
            self.strength = self._strength(float(self.sigmas[0]))
        if self.strength == 0 or self.is_masked_out:
            return arguments
        self.patch.strength = self.strength
        if self.settings.masks is None:
            return self.patch(arguments)
        tokens, before, latent = arguments["img"], arguments["img"].clone(), arguments["x"]
        result = self.patch(arguments)
        # Some patches change the tokens in place and return none.
        after = result.get("img", tokens)
        mask = mask_for(self.masks, self.settings, latent)
        after.copy_(mask.blend(before, after, len(options.get("cond_or_uncond", [0]))))
        return result

    def _strength(self, sigma: float) -> float:
        """The strength at a noise level; 0 outside the span of steps, by the host's own comparison.

        What a noise level means is asked for now: a node behind this one may shift it.
        """
        sigma_at = self.model.model_sampling.percent_to_sigma
        if sigma > sigma_at(self.settings.start) or sigma < sigma_at(self.settings.end):
            return 0.0
        return self.settings.strength_at(sigma, sigma_at)

    def __deepcopy__(self, memo: dict) -> ShapedPatch:
        # Older hosts copy all that a MODEL carries whenever it is cloned, which would be the model and the net.
        return self

    def to(self, device_or_dtype: Any) -> ShapedPatch:
        self.patch = self.patch.to(device_or_dtype)
        return self

    def models(self) -> list:
        return self.patch.models()


def apply_patch(
    model: Any,
    model_patch: Any,
    vae: Any,
    image: torch.Tensor,
    settings: ControlSettings,
    inpaint_mask: torch.Tensor | None,
) -> Any:
    """A MODEL with a control net of the host's MODEL_PATCH kind, applied by the host's own node and then shaped.

    Raises ValueError for patches of other kinds, and for a net that is for another model.
    """
    kind = NETS.get(type(model_patch.model).__name__)
    if kind is None:
        raise ValueError(
            f"This model patch is a {type(model_patch.model).__name__}, which is no ControlNet that this node knows. It takes a "
            f"{' or a '.join(NETS.values())}."
        )
    _check_width(model, model_patch, kind)
    if inpaint_mask is not None and kind == NETS["ZImage_Control"]:
        raise ValueError(
            f"inpaint_mask is for Qwen-Image nets. A {kind} needs the picture to inpaint too: use ComfyUI's ZImageFunControlnet, or "
            "disconnect inpaint_mask."
        )
    node = host_nodes.NODE_CLASS_MAPPINGS[APPLY]()
    apply = getattr(node, node.FUNCTION)
    arguments = {"strength": settings.strength, "mask": inpaint_mask}
    patched = apply(model=model, model_patch=model_patch, vae=vae, image=image, **arguments)[0]
    _wrap_new(patched, model, settings)
    return patched


def _wrap_new(patched: Any, model: Any, settings: ControlSettings) -> None:
    """Put the shaped patch in the place of what the host's node has just appended."""
    before = model.model_options["transformer_options"].get("patches", {})
    shaped: dict[int, ShapedPatch] = {}
    patches = patched.model_options["transformer_options"]["patches"]
    for place, listed in patches.items():
        old = len(before.get(place, ()))
        for index in range(old, len(listed)):
            # One patch may stand at several places, and keeps one state.
            shaped.setdefault(id(listed[index]), ShapedPatch(listed[index], settings, patched.model))
            listed[index] = shaped[id(listed[index])]


def _check_width(model: Any, model_patch: Any, kind: str) -> None:
    """Raise ValueError where the tokens of model and net are of other widths."""
    network, net = model.get_model_object("diffusion_model"), model_patch.model
    wanted = net.img_in.out_features if hasattr(net, "img_in") else net.control_all_x_embedder["2-1"].out_features
    width = getattr(network, "inner_dim", None) or getattr(network, "dim", None)
    if width != wanted:
        raise ValueError(
            f"The {kind} is for a model with tokens {wanted} wide, but {type(model.model).__name__} has {width or 'other ones'}. "
            "Connect the model that the net was made for."
        )
