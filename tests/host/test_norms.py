"""The table of norm parameters against the host's own module trees."""

import dataclasses
import importlib

import pytest
import torch

from .tiny_models import CONFIGS, tiny_model

PREFIX = "diffusion_model."
FLUX = {name: value for name, value in CONFIGS["flux"].items() if name != "image_model"}
# The number of parameters of the tier modulation, by hand from the number of blocks.
MODULATIONS = {
    "sd15": 22,
    "sdxl": 17,
    "sd3": 2 * 2 + 1,
    "flux": 2 * 2 + 2 + 1,
    "flux2": 0,
    "chroma": 5 + 1,
    "hunyuan_video": 2 * 2 + 2 + 1 + 2,
    "wan": 2 + 1 + 1,
    "wan_i2v": 2 + 1 + 1,
    "qwen": 2 * 2 + 1,
    "ltx": 2 + 1,
    "lumina": 2 + 2 + 1,
    "z_image": 2 + 2 + 1,
}


@pytest.fixture(scope="module")
def norms(host):
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.delta.families.norm_sites")


def fields_of(params: type, values: dict) -> dict:
    """Values for a dataclass of the host, whose newer versions have more fields; those are off."""
    return {
        field.name: values.get(field.name)
        for field in dataclasses.fields(params)
        if field.name in values or field.default is dataclasses.MISSING
    }


def model(name: str) -> torch.nn.Module:
    """A model as the host builds it, small and without memory for its weights."""
    import comfy.ops

    meta = {"device": "meta", "operations": comfy.ops.disable_weight_init, "dtype": torch.float32}
    if name == "sd3":
        from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

        options = {"qk_norm": "rms", "x_block_self_attn_layers": [0], "context_size": 64, "adm_in_channels": 64}
        return MMDiT(
            depth=2,
            pos_embed_max_size=8,
            in_channels=16,
            context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128}},
            **options,
            **meta,
        )
    if name in ("flux", "flux2"):
        from comfy.ldm.flux.model import Flux, FluxParams

        params = FLUX | {"txt_ids_dims": []}
        if name == "flux2":
            params |= {
                "global_modulation": True,
                "mlp_silu_act": True,
                "ops_bias": False,
                "vec_in_dim": None,
                "qkv_bias": False,
            }
        return Flux(**fields_of(FluxParams, params), **meta)
    if name == "chroma":
        from comfy.ldm.chroma.model import Chroma, ChromaParams

        params = FLUX | {"in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 5, "txt_ids_dims": []}
        return Chroma(**fields_of(ChromaParams, params), **meta)
    if name == "hunyuan_video":
        from comfy.ldm.hunyuan_video.model import HunyuanVideo, HunyuanVideoParams

        fields = {field.name for field in dataclasses.fields(HunyuanVideoParams)}
        params = FLUX | {"patch_size": [1, 2, 2], "axes_dim": [8, 12, 12]}
        return HunyuanVideo(**{field: params.get(field) for field in fields}, **meta)
    if name.startswith("wan"):
        from comfy.ldm.wan.model import WanModel

        return WanModel(
            model_type="i2v" if name == "wan_i2v" else "t2v", dim=64, ffn_dim=64, num_heads=2, num_layers=2, **meta
        )
    if name == "qwen":
        from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel

        return QwenImageTransformer2DModel(num_attention_heads=1, num_layers=2, **meta)
    if name == "z_image":
        from comfy.ldm.lumina.model import NextDiT

        shape = {"dim": 64, "n_layers": 2, "n_heads": 2, "cap_feat_dim": 64, "axes_dims": [8, 12, 12]}
        return NextDiT(**shape, in_channels=16, qk_norm=True, z_image_modulation=True, pad_tokens_multiple=32, **meta)
    return tiny_model(name, channels=32).model.diffusion_model


def norm_parameters(module: torch.nn.Module) -> set[str]:
    """The parameters of every module that is a normalisation by its class."""
    return {
        f"{PREFIX}{name}.{parameter}"
        for name, part in module.named_modules()
        if type(part).__name__.endswith("Norm") and not list(part.children())
        for parameter, _ in part.named_parameters(recurse=False)
    }


@pytest.mark.parametrize("name", MODULATIONS)
def test_every_norm_of_a_model_is_known_and_no_other_parameter(host, norms, name):
    built = model(name)
    names = [f"{PREFIX}{key}" for key in built.state_dict()]
    sites = norms.find_sites(names)
    assert sites.family is not None
    modulation = [key for key, tier in sites.tiers.items() if tier == norms.MODULATION]
    assert len(modulation) == MODULATIONS[name], modulation
    in_norms = norm_parameters(built)
    assert {key for key, tier in sites.tiers.items() if tier != norms.MODULATION} == in_norms - set(modulation)
    assert (norms.QK_NORMS in sites.tiers.values()) == (name not in ("sd15", "sdxl"))


@pytest.mark.parametrize("name", MODULATIONS)
def test_norms_of_query_and_key_are_a_tier_of_their_own(host, norms, name):
    sites = norms.find_sites(f"{PREFIX}{key}" for key in model(name).state_dict())
    marks = ("query_norm", "key_norm", "q_norm", "k_norm", "norm_q", "norm_k", "norm_added", "ln_q", "ln_k")
    for key, tier in sites.tiers.items():
        assert (tier == norms.QK_NORMS) == any(mark in key for mark in marks), key
