"""The rules for norm parameters, and for attention and feed-forward, against the host's own module trees."""

import dataclasses
import importlib
import re
from pathlib import Path

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
    # The tables of the blocks and of the end, and the bias of the layer that makes the modulation of all blocks.
    "ltx": 2 + 1 + 1,
    "lumina": 2 + 2 + 1,
    "z_image": 2 + 2 + 1,
}


@pytest.fixture(scope="module")
def parts(host, norms):
    return importlib.import_module(f"{norms.__name__.rpartition('.')[0]}.parts")


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


# Files of families with a model of the host to build.
FAMILY_FILES = [
    path.stem
    for path in sorted((Path(__file__).parents[2] / "delta/families").glob("*.py"))
    if "HostModel(" in path.read_text(encoding="utf-8") and path.stem != "record"
]
# Wan with branches for control, sound or a reference, and one of the norms there.
WAN_VARIANTS = {
    "WAN21_Vace": ({"model_type": "vace", "vace_in_dim": 96, "vace_layers": 2}, "vace_blocks.1.norm3.bias"),
    "WAN21_HuMo": (
        {"model_type": "humo", "in_dim": 36},
        "blocks.1.audio_cross_attn_wrapper.norm1_audio.weight",
    ),
    "WAN22_S2V": ({"model_type": "s2v"}, "audio_injector.injector.0.norm_k.weight"),
    "WAN22_WanDancer": ({"model_type": "wandancer", "in_dim": 36}, "music_encoder.0.norm1.weight"),
}


def norm_parameters(module: torch.nn.Module) -> set[str]:
    """The parameters of every module that is a normalisation by its class."""
    return {
        f"{PREFIX}{name}.{parameter}"
        for name, part in module.named_modules()
        if type(part).__name__.endswith("Norm") and not list(part.children())
        for parameter, _ in part.named_parameters(recurse=False)
    }


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {f"{PREFIX}{name}": tuple(weight.shape) for name, weight in module.named_parameters()}


def classes_of(module: torch.nn.Module) -> dict[str, str]:
    return {name: type(part).__name__ for name, part in module.named_modules()}


def records(norms, file: str) -> list:
    """The records in a file of `delta/families`."""
    module = importlib.import_module(f"{norms.__name__.rpartition('.')[0]}.{file}")
    return [*getattr(module, "FAMILIES", ()), *([module.FAMILY] if hasattr(module, "FAMILY") else [])]


def of_family(family) -> torch.nn.Module:
    """The small model of a family's record, without memory for its weights. Skips where this host has no such model."""
    import comfy.supported_models

    kind = family.host and getattr(comfy.supported_models, family.host.kind, None)
    if kind is None:
        pytest.skip(f"this host has no model of {family.name}")
    described = kind(dict(family.host.config))
    described.set_inference_dtype(torch.float32, None)
    try:
        return described.get_model({}, device=torch.device("meta")).diffusion_model
    except (TypeError, RuntimeError, KeyError, AttributeError) as problem:
        # Older hosts ask for other fields, and some networks compute while they are built.
        pytest.skip(f"this host does not build {family.name} from its record: {problem}")


@pytest.mark.parametrize("name", MODULATIONS)
def test_every_norm_of_a_model_is_known_and_no_other_parameter(host, norms, name):
    built = model(name)
    sites = norms.find_sites(shapes_of(built))
    modulation = [key for key, tier in sites.tiers.items() if tier == norms.MODULATION]
    assert len(modulation) == MODULATIONS[name], modulation
    in_norms = norm_parameters(built)
    assert {key for key, tier in sites.tiers.items() if tier != norms.MODULATION} == in_norms - set(modulation)
    assert (norms.QK_NORMS in sites.tiers.values()) == (name not in ("sd15", "sdxl"))


@pytest.mark.parametrize("name", MODULATIONS)
def test_norms_of_query_and_key_are_a_tier_of_their_own(host, norms, name):
    sites = norms.find_sites(shapes_of(model(name)))
    marks = ("query_norm", "key_norm", "q_norm", "k_norm", "norm_q", "norm_k", "norm_added", "ln_q", "ln_k")
    for key, tier in sites.tiers.items():
        assert (tier == norms.QK_NORMS) == any(mark in key for mark in marks), key


# Classes of modules all of whose matrices are of attention or of a feed-forward part, as they are spelled in the host.
ROLES = {
    "attention": re.compile(r"\w*(?:Attention|Attention2D|CrossAttention|SelfAttention)"),
    "feed-forward": re.compile(r"\w*(?:FeedForward|FeedForwardSwiGLU|FeedForwardNet|SwiGLU|GateMLP|YakMLP)"),
}


def assert_parts_of(built: torch.nn.Module, parts) -> None:
    """Every matrix in a module that is attention or feed-forward by its class is of that part."""
    shapes, classes = shapes_of(built), classes_of(built)
    for part, kind in ROLES.items():
        inside = tuple(f"{PREFIX}{name}." for name, found in classes.items() if kind.fullmatch(found))
        matrices = {name for name, shape in shapes.items() if name.startswith(inside) and len(shape) == 2}
        if matrices:
            assert matrices - set(parts.weights_of(part, shapes, classes)) == set()


def assert_sites_of(built: torch.nn.Module, norms) -> None:
    """A model's norm parameters by its modules are those by its names, and are those of its norms."""
    by_names = norms.find_sites(shapes_of(built))
    by_modules = norms.find_sites(shapes_of(built), classes_of(built))
    assert (by_names.way, by_modules.way) == (norms.BY_NAMES, norms.BY_MODULES)
    assert by_names.tiers == by_modules.tiers
    found = {key for key, tier in by_modules.tiers.items() if tier != norms.MODULATION}
    in_norms = norm_parameters(built)
    assert found <= in_norms <= set(by_modules.tiers)


@pytest.mark.parametrize("name", MODULATIONS)
def test_sites_by_names_are_those_by_modules(host, norms, name):
    assert_sites_of(model(name), norms)


@pytest.mark.parametrize("file", FAMILY_FILES)
def test_sites_and_parts_of_every_family_that_this_host_builds(host, norms, parts, file):
    for family in records(norms, file):
        built = of_family(family)
        assert_sites_of(built, norms)
        sites = norms.find_sites(shapes_of(built))
        # AuraFlow has norms without gain, and modulation without bias.
        assert sites.family == family.name and bool(sites.tiers) == (family.name != "AuraFlow")
        assert_parts_of(built, parts)


@pytest.mark.parametrize("kind", WAN_VARIANTS)
def test_the_branches_of_wan_are_among_its_sites(host, norms, kind):
    (family,) = records(norms, "wan")
    config, name = WAN_VARIANTS[kind]
    built = of_family(
        dataclasses.replace(family, host=family.host._replace(kind=kind, config={**family.host.config, **config}))
    )
    assert_sites_of(built, norms)
    sites = norms.find_sites(shapes_of(built))
    assert sites.family == "Wan" and f"{PREFIX}{name}" in sites.tiers
