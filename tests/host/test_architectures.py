"""The tables of names against ComfyUI's own key maps and module trees, at the real sizes, without any weights."""

import dataclasses
import importlib

import pytest
import torch

SDXL = {
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
}
SD15 = {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}


def host_maps() -> dict[str, dict]:
    """ComfyUI's map from diffusers' weights to its own, of each architecture that has one."""
    import comfy.utils

    return {
        "Stable Diffusion 1.5 or 2": comfy.utils.unet_to_diffusers(SD15),
        "SDXL": comfy.utils.unet_to_diffusers(SDXL),
        "Flux": comfy.utils.flux_to_diffusers({"depth": 19, "depth_single_blocks": 38, "hidden_size": 3072}),
        "Stable Diffusion 3": comfy.utils.mmdit_to_diffusers({"depth": 38, "num_blocks": 38}),
        "Z-Image": comfy.utils.z_image_to_diffusers({"n_layers": 30, "dim": 3840}),
    }


@pytest.fixture(scope="module")
def tables_module(host):
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.delta.families.architectures")


@pytest.fixture(scope="module")
def tables(tables_module):
    return {architecture.name: architecture for architecture in tables_module.ARCHITECTURES}


@pytest.mark.parametrize("name", ["Stable Diffusion 1.5 or 2", "SDXL", "Flux", "Stable Diffusion 3", "Z-Image"])
def test_every_row_is_the_hosts(tables, name):
    known = host_maps()[name]
    rows = [(weight, index) for weight, index in tables[name].places.values() if index is not None]
    assert rows
    for weight, index in rows:
        found = known[f"{weight.parts[index]}.weight"]
        target, *rest = (found,) if isinstance(found, str) else found
        assert target.rsplit(".", 1)[0] == weight.comfy
        if weight.swapped:
            assert rest[1] is not None
        elif len(weight.parts) > 1:
            _, start, length = rest[0]
            unit = length / weight.shares[index]
            assert start == unit * sum(weight.shares[:index])
        else:
            assert not rest


def test_text_encoder_names_are_the_hosts(host, tables_module):
    import comfy.lora

    for weight, _ in tables_module.TEXT_ENCODERS.places.values():
        layer = weight.comfy.split(".", 4)[-1]
        if weight.comfy.startswith("text_model"):
            assert bool(weight.parts) == (layer in comfy.lora.LORA_CLIP_MAP), weight.comfy


def model(name: str) -> torch.nn.Module:
    """A model whose names need no map, as ComfyUI builds it, without memory for its weights."""
    import comfy.ops
    from comfy.ldm.hunyuan_video.model import HunyuanVideo, HunyuanVideoParams
    from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel
    from comfy.ldm.wan.model import WanModel

    params = dataclasses.fields(HunyuanVideoParams)
    meta = {"device": "meta", "operations": comfy.ops.disable_weight_init, "dtype": torch.float32}
    if name == "Wan":
        return WanModel(model_type="i2v", dim=64, ffn_dim=64, num_heads=2, num_layers=40, **meta)
    if name == "Qwen-Image":
        return QwenImageTransformer2DModel(num_attention_heads=1, **meta)
    hunyuan = {
        "in_channels": 16,
        "out_channels": 16,
        "vec_in_dim": 768,
        "context_in_dim": 4096,
        "hidden_size": 3072,
        "mlp_ratio": 4.0,
        "num_heads": 24,
        "depth": 20,
        "depth_single_blocks": 40,
        "axes_dim": [16, 56, 56],
        "theta": 256,
        "patch_size": [1, 2, 2],
        "qkv_bias": True,
        "guidance_embed": True,
    }
    # The parts of later versions, which this one does without.
    return HunyuanVideo(**{param.name: hunyuan.get(param.name) for param in params}, **meta)


@pytest.mark.parametrize("name", ["Wan", "Qwen-Image", "HunyuanVideo"])
def test_every_row_is_a_weight_of_the_model(host, tables, name):
    known = model(name).state_dict().keys()
    for weight, _ in tables[name].places.values():
        assert known & {f"{weight.comfy}.weight", f"{weight.comfy}.scale"}, weight.comfy
