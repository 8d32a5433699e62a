"""Small control nets of every class that the host has, for the tiny models, and what they send to a model while it samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from . import layouts, tiny_models
from .tiny_models import LATENT_SHAPES, normal

# A kind of net: the tiny model that it is for.
KINDS = {
    "sd15": "sd15",
    "sdxl": "sdxl",
    "control_lora": "sd15",
    "control_lora_sdxl": "sdxl",
    "t2i": "sd15",
    "t2i_sdxl": "sdxl",
    "flux_xlabs": "flux",
    "flux_instantx": "flux",
    "sd3": "sd3",
    "qwen": "qwen",
    "qwen_fun": "qwen",
}
WITH_VAE = ("flux_instantx", "sd3", "qwen", "qwen_fun")
CPU = torch.device("cpu")


def has(kind: str) -> bool:
    """Whether this host knows nets of the kind."""
    import comfy.ldm.qwen_image.controlnet as qwen

    return kind != "qwen_fun" or hasattr(qwen, "QwenImageFunControlNetModel")


def tiny_net(kind: str, seed: int = 5) -> Any:
    """A CONTROL_NET of the kind, in float32, with weights drawn at random."""
    import comfy.controlnet
    import comfy.latent_formats

    if kind.startswith("control_lora"):
        return comfy.controlnet.ControlLora(_control_lora(KINDS[kind], seed))
    if kind.startswith("t2i"):
        adapter = _filled(_adapter(kind), seed)
        return comfy.controlnet.T2IAdapter(adapter, adapter.input_channels, 8, "nearest-exact", device=CPU)
    network = _filled(_network(kind), seed)
    options = {}
    if kind in ("flux_instantx", "sd3"):
        form = comfy.latent_formats.Flux() if kind == "flux_instantx" else comfy.latent_formats.SD3()
        options = {"compression_ratio": 1, "latent_format": form}
    if kind.startswith("qwen"):
        options = {"compression_ratio": 1, "latent_format": comfy.latent_formats.Wan21(), "extra_conds": []}
    if kind.startswith("flux"):
        options["extra_conds"] = ["y", "guidance"]
    made = comfy.controlnet.QwenFunControlNet if kind == "qwen_fun" else comfy.controlnet.ControlNet
    return made(network, load_device=CPU, **options)


def _network(kind: str, **changes: Any) -> torch.nn.Module:
    """The network of a net as the host builds it, with changes of its configuration."""
    import comfy.cldm.cldm
    import comfy.cldm.mmdit
    import comfy.ldm.flux.controlnet
    import comfy.ldm.qwen_image.controlnet as qwen
    import comfy.ops

    common = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32, "device": CPU}
    layout = KINDS[kind]
    config = {k: v for k, v in tiny_models.model_config(layout).unet_config.items() if k not in common} | changes
    if kind in ("sd15", "sdxl"):
        config.pop("out_channels")
        return comfy.cldm.cldm.ControlNet(hint_channels=3, **config, **common)
    if kind.startswith("flux"):
        ours = {"latent_input": True, "control_latent_channels": 16} if kind == "flux_instantx" else {}
        config.pop("in_channels")
        return comfy.ldm.flux.controlnet.ControlNetFlux(in_channels=16, **ours, **config, **common)
    if kind == "sd3":
        return comfy.cldm.mmdit.ControlNet(num_blocks=1, control_latent_channels=16, **config, **common)
    if kind == "qwen":
        config.pop("image_model")
        return qwen.QwenImageControlNetModel(**config, **common)
    heads = {"inner_dim": 64, "num_attention_heads": 2, "attention_head_dim": 32}
    return qwen.QwenImageFunControlNetModel(
        num_control_blocks=2, main_model_double=2, injection_layers=(0, 1), **heads, **common
    )


def _adapter(kind: str) -> torch.nn.Module:
    import comfy.t2i_adapter.adapter

    channels = [tiny_models.CHANNELS * factor for factor in (1, 2, 4, 4)]
    is_xl = kind == "t2i_sdxl"
    cin = 3 * (16 if is_xl else 8) ** 2
    return comfy.t2i_adapter.adapter.Adapter(
        cin=cin, channels=channels, nums_rb=2, ksize=1, sk=True, use_conv=False, xl=is_xl
    )


def _filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(layouts.initial(name, weight.shape, seed))
    return network


def _control_lora(layout: str, seed: int) -> dict[str, torch.Tensor]:
    """A Control-LoRA of rank 4 in the layout of the files: factors for attention, its own layers in full."""
    full = dict(_filled(_network(layout), seed).named_parameters())
    own = ("input_hint_block.", "zero_convs.", "middle_block_out.")
    tensors = {name: weight.detach() for name, weight in full.items() if name.startswith(own)}
    for name, weight in full.items():
        if ".attn" in name and name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            tensors[f"{layer}.up"] = 0.1 * normal(f"{layer}.up", (weight.shape[0], 4), seed)
            tensors[f"{layer}.down"] = 0.1 * normal(f"{layer}.down", (4, weight.shape[1]), seed)
    return tensors | {"lora_controlnet": torch.tensor([])}


def tiny_vae(kind: str) -> Any:
    """A VAE for nets that encode their hint: of pictures, or of videos for Qwen-Image, with weights drawn at random."""
    import comfy.sd

    if kind not in WITH_VAE:
        return None
    if kind.startswith("qwen"):
        import comfy.ldm.wan.vae

        sizes = {
            "dim_mult": [1, 2, 4, 4],
            "num_res_blocks": 2,
            "attn_scales": [],
            "temperal_downsample": [False, True, True],
        }
        network = comfy.ldm.wan.vae.WanVAE(dim=8, z_dim=16, **sizes, dropout=0.0)
        return comfy.sd.VAE(sd=_filled(network, 9).state_dict(), device=CPU, dtype=torch.float32)
    from comfy.taesd.taesd import TAESD

    tensors = _filled(TAESD(latent_channels=16), 9).state_dict()
    return comfy.sd.VAE(sd=tensors, device=CPU, dtype=torch.float32)


def hint(layout: str, frames: int = 1, seed: int = 3) -> torch.Tensor:
    """An IMAGE of the size of the layout's pictures: smooth shapes, so that places differ."""
    height, width = (8 * side for side in LATENT_SHAPES[layout][-2:])
    coarse = normal("hint", (frames, 3, 4, 4), seed).sigmoid()
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").movedim(1, -1).contiguous()


class Call(NamedTuple):
    """What one evaluation of a model was given: the noise level, which conditionings, and the outputs of the nets."""

    sigma: float
    conditionings: list[int]
    control: dict[str, list[torch.Tensor | None]] | None


def calls(
    model: Any,
    layout: str,
    positive: list,
    negative: list,
    steps: int = 3,
    batch: int = 1,
    cfg: float = 2.0,
    size: tuple | None = None,
) -> list[Call]:
    """What the host's sampler gives the model at each step. The nets' outputs are taken away from the model, so that two
    runs with other nets see the same latents. size: height and width of the latent, if not the layout's own."""
    import comfy.model_management
    import comfy.sample

    seen = []

    def watch(apply: Any, arguments: dict) -> torch.Tensor:
        given = dict(arguments["c"])
        control = given.pop("control", None)
        if control is not None:
            copied = {name: [None if x is None else x.clone() for x in outputs] for name, outputs in control.items()}
        seen.append(Call(float(arguments["timestep"][0]), list(arguments["cond_or_uncond"]), control and copied))
        return apply(arguments["input"], arguments["timestep"], **given)

    watched = model.clone()
    watched.set_model_unet_function_wrapper(watch)
    shape = LATENT_SHAPES[layout][1:]
    noise = normal("noise", (batch, *shape[:-2], *(size or shape[-2:])), 0)
    comfy.sample.sample(
        watched,
        noise,
        steps,
        cfg,
        "euler",
        "normal",
        positive,
        negative,
        torch.zeros_like(noise),
        disable_pbar=True,
        seed=0,
    )
    comfy.model_management.unload_all_models()
    return seen
