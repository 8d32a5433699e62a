"""Control nets that the host keeps as patches of a model: given a part of the sampling, a schedule and a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

import nodes as host_nodes

from ...delta.control.mask import EffectMask
from .control import ControlSettings, mask_for

APPLY = "QwenImageDiffsynthControlnet"
# Places of a model where the host hands over the tokens of the picture, where it only prepares patches, and inside blocks.
TOKENS, PREPARED = ("double_block", "noise_refiner"), ("post_input",)


class Hint(NamedTuple):
    """What a net reads: its hint and, where it inpaints, the picture to be repaired and the mask of what is painted anew."""

    image: torch.Tensor
    inpaint_image: torch.Tensor | None = None
    inpaint_mask: torch.Tensor | None = None


class _Net(NamedTuple):
    """A kind of net. apply: a MODEL with it, by the host's own node, from (model, model_patch, vae, hint, strength); widths: of
    the tokens of the network and of those that the net is for."""

    name: str
    apply: Callable[[Any, Any, Any, Hint, float], Any]
    widths: Callable[[Any, Any], tuple[int | None, int]]


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
        if not self.acts(arguments["transformer_options"]):
            return arguments
        if self.settings.masks is None:
            return self.patch(arguments)
        tokens, before, latent = arguments["img"], arguments["img"].clone(), arguments["x"]
        # Tokens of a reference may stand before those of the picture.
        first = arguments.get("img_offset", 0)
        result = self.patch(arguments)
        # Some patches change the tokens in place and return none.
        after = result.get("img", tokens)
        chunks = _conditionings(arguments["transformer_options"])
        after[:, first:].copy_(self.mask(latent).blend(before[:, first:], after[:, first:], chunks))
        return result

    def acts(self, options: Mapping[str, Any]) -> bool:
        """Whether the patch does anything at this noise level; it is then told its strength."""
        if options["sigmas"] is not self.sigmas:
            # Once for all blocks of an evaluation: reading a number waits for the GPU.
            self.sigmas = options["sigmas"]
            self.strength = self._strength(float(self.sigmas[0]))
        if self.strength == 0 or self.is_masked_out:
            return False
        self.patch.strength = self.strength
        return True

    def mask(self, latent: torch.Tensor) -> EffectMask:
        return mask_for(self.masks, self.settings, latent)

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


class PreparedPatch(ShapedPatch):
    """A patch that only reads its hint before the blocks, which its other patches inside the blocks then use."""

    latent: torch.Tensor | None = None

    def __call__(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.acts(arguments["transformer_options"]):
            return arguments
        self.latent = arguments["x"]
        return self.patch(arguments)


class MaskedInside:
    """A patch inside a block, whose changes of what goes into attention or MLP are kept to the mask of its net."""

    def __init__(self, patch: Any, prepared: PreparedPatch):
        self.patch, self.prepared = patch, prepared

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # Attention hands over q, k and v, an MLP a dictionary.
        given = dict(args[0]) if isinstance(args[0], dict) else dict(zip("qkv", args))
        options = given.get("transformer_options") or kwargs["extra_options"]
        result = self.patch(*args, **kwargs)
        changed = {name: result[name] for name in given if name in "qkvx" and result[name] is not given[name]}
        return {**result, **{name: self._blend(given[name], after, options) for name, after in changed.items()}}

    def _blend(self, before: torch.Tensor, after: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        """Tokens [B, N, C], or [B, frames, rows, columns, C]."""
        mask, shape = self.prepared.mask(self.prepared.latent), before.shape
        rows = [tokens.reshape(shape[0], -1, shape[-1]) for tokens in (before, after)]
        return mask.blend(*rows, _conditionings(options)).reshape(shape)


def _conditionings(options: Mapping[str, Any]) -> int:
    """How many conditionings share the batch."""
    return len(options.get("cond_or_uncond", [0]))


def apply_patch(model: Any, model_patch: Any, vae: Any, hint: Hint, settings: ControlSettings) -> Any:
    """A MODEL with a control net of the host's MODEL_PATCH kind, applied by the host's own node and then shaped.

    Raises ValueError for patches of other kinds, for a net that is for another model, and for inputs of inpainting that the
    net does not read.
    """
    net = NETS.get(type(model_patch.model).__name__)
    if net is None:
        raise ValueError(_no_control_net(type(model_patch.model).__name__))
    _check_width(model, model_patch, net)
    patched = net.apply(model, model_patch, vae, hint, settings.strength)
    _wrap_new(patched, model, settings)
    return patched


def _no_control_net(kind: str) -> str:
    """What a model patch is that this node does not apply, and which node does."""
    if kind in OTHERS:
        what, node = OTHERS[kind]
        return f"This model patch is {what}. Apply it with ComfyUI's own {node}."
    names = [net.name for net in NETS.values()]
    return f"This model patch is a {kind}, which this node does not support. It supports: {', '.join(names)}."


def _by_node(name: str, *args: Any, **kwargs: Any) -> Any:
    """The MODEL that one of the host's nodes returns."""
    node = host_nodes.NODE_CLASS_MAPPINGS[name]()
    return getattr(node, node.FUNCTION)(*args, **kwargs)[0]


def _refuse_inpainting(hint: Hint, net: str, remedy: str) -> None:
    """Raise ValueError for inputs of inpainting that a net does not read."""
    given = [name for name in ("inpaint_image", "inpaint_mask") if getattr(hint, name) is not None]
    if given:
        raise ValueError(f"A {net} does not read {' and '.join(given)}. {remedy}")


def _apply_qwen(model: Any, model_patch: Any, vae: Any, hint: Hint, strength: float) -> Any:
    _refuse_inpainting(
        hint._replace(inpaint_mask=None),
        "Qwen-Image DiffSynth ControlNet",
        "An inpainting net takes the picture at image: connect it there, and disconnect inpaint_image.",
    )
    return _by_node(APPLY, model, model_patch, vae, hint.image, strength=strength, mask=hint.inpaint_mask)


def _apply_z_image(model: Any, model_patch: Any, vae: Any, hint: Hint, strength: float) -> Any:
    inpainting = {"inpaint_image": hint.inpaint_image, "mask": hint.inpaint_mask}
    if not getattr(model_patch.model, "additional_in_dim", 0):
        _refuse_inpainting(
            hint,
            "Z-Image Fun ControlNet of version 1",
            "Disconnect them, or load version 2.0 or 2.1, which inpaints too.",
        )
        inpainting = {}
    elif hint.inpaint_mask is not None and hint.inpaint_image is None:
        raise ValueError(
            "A Z-Image Fun ControlNet needs the picture to inpaint as well as the mask. Connect it to "
            "inpaint_image, or disconnect inpaint_mask."
        )
    return _by_node(APPLY, model, model_patch, vae, hint.image, strength=strength, **inpainting)


def _apply_uni3c(model: Any, model_patch: Any, vae: Any, hint: Hint, strength: float) -> Any:
    _refuse_inpainting(hint, "Wan Uni3C ControlNet", "Disconnect them and connect the video to image.")
    return _by_node("WanUni3CControlnetApply", model, model_patch, vae, hint.image, strength, 0.0, 1.0)


def _apply_lllite(model: Any, model_patch: Any, vae: Any, hint: Hint, strength: float) -> Any:
    remedy = "Disconnect it."
    if model_patch.model.cond_in_channels != 4:
        _refuse_inpainting(hint, "Anima LLLite that does not inpaint", remedy)
    _refuse_inpainting(hint._replace(inpaint_mask=None), "Anima LLLite", f"{remedy} Connect the picture to image.")
    return _by_node("AnimaLLLiteApply", model, model_patch, hint.image, strength, 0.0, 1.0, mask=hint.inpaint_mask)


def _inner_dim(network: Any) -> int | None:
    return getattr(network, "inner_dim", None) or getattr(network, "dim", None)


# Kinds of nets by class, and patches that are none, with the node that applies them.
NETS = {
    "QwenImageBlockWiseControlNet": _Net(
        "Qwen-Image DiffSynth ControlNet",
        _apply_qwen,
        lambda network, net: (_inner_dim(network), net.img_in.out_features),
    ),
    "ZImage_Control": _Net(
        "Z-Image Fun ControlNet",
        _apply_z_image,
        lambda network, net: (_inner_dim(network), net.control_all_x_embedder["2-1"].out_features),
    ),
    "WanUni3CControlnet": _Net(
        "Wan Uni3C ControlNet",
        _apply_uni3c,
        lambda network, net: (_inner_dim(network), net.controlnet_blocks[0].norm1.linear.in_features),
    ),
    "AnimaLLLite": _Net(
        "Anima LLLite",
        _apply_lllite,
        # U-Nets have channels too, and no list of blocks.
        lambda network, net: (
            getattr(network, "model_channels", None) if hasattr(network, "blocks") else None,
            net.model_dim,
        ),
    ),
}
OTHERS = {
    "SigLIPMultiFeatProjModel": ("a USO style projector, which takes a style from a picture", "USOStyleReference"),
    "SUPIR": ("a SUPIR model, which restores a picture", "SUPIRApply"),
    "MultiTalkModelPatch": ("a Wan MultiTalk audio model, which moves lips to a sound", "WanInfiniteTalkToVideo"),
    "DurationHead": ("an LTX duration head, which predicts how long a video is to be", "LTXVDurationPredictor"),
    "QwenImage21FunControl": ("a Qwen-Image 2.1 Fun ControlNet, which this node does not support yet", "node for it"),
    "MiniMaxH3FunControl": ("a MiniMax-H3 Fun ControlNet, which this node does not support yet", "node for it"),
}


def _wrap_new(patched: Any, model: Any, settings: ControlSettings) -> None:
    """Put shaped patches in the place of what the host's node has just appended."""
    before = model.model_options["transformer_options"].get("patches", {})
    patches = patched.model_options["transformer_options"]["patches"]
    new = {place: range(len(before.get(place, ())), len(listed)) for place, listed in patches.items()}
    shaped: dict[int, ShapedPatch] = {}
    prepared = None
    for place in (*TOKENS, *PREPARED):
        for index in new.get(place, ()):
            patch = patches[place][index]
            if id(patch) not in shaped:
                # One patch may stand at several places, and keeps one state.
                made = ShapedPatch if place in TOKENS else PreparedPatch
                shaped[id(patch)] = made(patch, settings, patched.model)
            patches[place][index] = shaped[id(patch)]
            prepared = shaped[id(patch)] if place in PREPARED else prepared
    if prepared is None or settings.masks is None:
        return
    for place in new.keys() - {*TOKENS, *PREPARED}:
        for index in new[place]:
            patches[place][index] = MaskedInside(patches[place][index], prepared)


def _check_width(model: Any, model_patch: Any, net: _Net) -> None:
    """Raise ValueError where the tokens of model and net are of other widths."""
    width, wanted = net.widths(model.get_model_object("diffusion_model"), model_patch.model)
    if width != wanted:
        raise ValueError(
            f"The {net.name} is for a model with tokens {wanted} wide, but {type(model.model).__name__} has {width or 'other ones'}. "
            "Connect the model that the net was made for."
        )
