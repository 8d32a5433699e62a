"""Which models the host's control nets are made for, and whether one fits a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.cldm.cldm
import comfy.cldm.dit_embedder
import comfy.cldm.mmdit
import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.ldm.flux.model
import comfy.ldm.hydit.controlnet
import comfy.ldm.hydit.models
import comfy.ldm.modules.diffusionmodules.mmdit
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.ldm.qwen_image.controlnet
import comfy.ldm.qwen_image.model
import comfy.t2i_adapter.adapter

from ...delta.control_lora.format import FAMILIES

# Older hosts do not have it.
QwenFun = vars(comfy.ldm.qwen_image.controlnet).get("QwenImageFunControlNetModel", ())
Adapters = (comfy.t2i_adapter.adapter.Adapter, comfy.t2i_adapter.adapter.Adapter_light)
UNET = "U-Net"
NOT_LOADED = "There is no ControlNet: its file did not load. Load ControlNet shows what kind of file it is."


class Architecture(NamedTuple):
    """What a model or a net is made of, as far as both must agree: a name, and its width or that of its text."""

    family: str
    width: int
    name: str

    def __str__(self) -> str:
        what = "text" if self.family == UNET else "tokens"
        return f"{self.name} ({what} {self.width} wide)" if self.width else self.name


def architecture_of_net(net: Any) -> Architecture | None:
    """What models a CONTROL_NET is for; None where that is not known."""
    if isinstance(net, comfy.controlnet.ControlLora):
        return _unet(width_of_text(net.control_weights))
    model = getattr(net, "control_model", None)
    if isinstance(model, comfy.cldm.cldm.ControlNet):
        return _unet(width_of_text(dict(model.named_parameters())))
    if isinstance(model, comfy.ldm.flux.controlnet.ControlNetFlux):
        return Architecture("Flux", model.hidden_size, "Flux")
    if isinstance(model, comfy.cldm.mmdit.ControlNet | comfy.cldm.dit_embedder.ControlNetEmbedder):
        return Architecture("SD3", model.hidden_size, "SD3")
    if isinstance(model, QwenFun):
        return Architecture("Qwen-Image", model.control_img_in.weight.shape[0], "Qwen-Image")
    if isinstance(model, comfy.ldm.qwen_image.controlnet.QwenImageControlNetModel):
        return Architecture("Qwen-Image", model.inner_dim, "Qwen-Image")
    if isinstance(model, comfy.ldm.hydit.controlnet.HunYuanControlNet):
        return Architecture("HunyuanDiT", model.hidden_size, "HunyuanDiT")
    return None


def architecture_of_model(model: Any) -> Architecture | None:
    """What a loaded model of the host is; None where no control net that is known here could be for it."""
    network = model.diffusion_model
    if isinstance(network, comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel):
        return _unet(model.model_config.unet_config.get("context_dim"))
    if isinstance(network, comfy.ldm.flux.model.Flux):
        return Architecture("Flux", network.hidden_size, "Flux")
    if isinstance(network, comfy.ldm.modules.diffusionmodules.mmdit.MMDiT):
        return Architecture("SD3", network.hidden_size, "SD3")
    if isinstance(network, comfy.ldm.qwen_image.model.QwenImageTransformer2DModel):
        return Architecture("Qwen-Image", network.inner_dim, "Qwen-Image")
    if isinstance(network, comfy.ldm.hydit.models.HunYuanDiT):
        return Architecture("HunyuanDiT", network.hidden_size, "HunyuanDiT")
    return None


def check_fits(net: Any, model: Any) -> None:
    """Raise ValueError that names both where a CONTROL_NET is for another kind of model."""
    adapter = getattr(net, "t2i_model", None)
    theirs = architecture_of_model(model) or _unlisted(model.diffusion_model)
    if isinstance(adapter, Adapters):
        levels = len(getattr(model.model_config, "unet_config", {}).get("channel_mult", ()))
        if theirs is not None and (theirs.family != UNET or adapter.xl != (levels == 3)):
            ours = "SDXL" if adapter.xl else "SD 1.x"
            raise ValueError(f"The T2I-Adapter is for {ours}, but the model is {theirs}. Load one made for this model.")
        return
    ours = architecture_of_net(net)
    if ours is None or theirs is None or (ours.family, ours.width) == (theirs.family, theirs.width):
        return
    # Nets of transformers are used on relatives of their models too, such as Chroma for Flux.
    if ours.family == UNET or theirs.width:
        raise ValueError(
            f"The ControlNet is for {ours}, but the model is {theirs}. Load a ControlNet made for this model."
        )


def _unlisted(network: Any) -> Architecture | None:
    """One of the host's own networks that is not in the list, by its name; None for those of others, which may wrap one."""
    kind = type(network)
    return Architecture(kind.__name__, 0, kind.__name__) if kind.__module__.startswith("comfy.") else None


def _unet(context_width: int | None) -> Architecture | None:
    return None if context_width is None else Architecture(UNET, context_width, unet_name(context_width))


def unet_name(context_width: int | None) -> str:
    return FAMILIES.get(context_width, UNET)


def width_of_text(weights: dict[str, Any]) -> int | None:
    """How wide the text is that cross-attention reads."""
    for name, weight in weights.items():
        if name.endswith((".attn2.to_k.weight", ".attn2.to_k.down")):
            return weight.shape[1]
    return None
