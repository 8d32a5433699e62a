"""The rules for norm parameters, and for attention and feed-forward, against the host's own module trees."""

import importlib
import re

import pytest
import torch

from . import layouts

PREFIX = "diffusion_model."
# The number of parameters of the tier modulation, by hand from the number of blocks.
MODULATIONS = {
    "sd15": 22,
    "sdxl": 17,
    "sd3": 2 * 2 + 1,
    "flux": 2 * 2 + 2 + 1,
    "flux2_dev": 0,
    "chroma": 5 + 1,
    "hunyuan_video": 2 * 2 + 2 + 1 + 2,
    "wan": 2 + 1 + 1,
    "wan_i2v": 2 + 1 + 1,
    "qwen": 2 * 2 + 1,
    # The tables of the blocks and of the end, and the bias of the layer that makes the modulation of all blocks.
    "ltx": 2 + 1 + 1,
    "lumina": 2 + 2 + 1,
    "z_image": 2 + 1 + 1,
}
# Norms that tables of families left out, or that were taken for those of another family, by layout.
FOUND = {
    "lens": ("Lens", "norms", "transformer_blocks.1.img_norm2.weight"),
    "ideogram4": ("Ideogram 4", "qk_norms", "layers.0.attention.norm_k.weight"),
    "ace_step": ("ACE-Step", "norms", "lyric_encoder.after_norm.weight"),
    "wan_vace": ("Wan", "norms", "vace_blocks.1.norm3.bias"),
    "wan_humo": ("Wan", "norms", "audio_proj.audio_proj_glob_norm.layer.weight"),
    "wan_s2v": ("Wan", "qk_norms", "audio_injector.injector.0.norm_k.weight"),
    "wan_dancer": ("Wan", "norms", "music_encoder.0.norm1.weight"),
    "ltx2": ("LTX-2", "qk_norms", "video_embeddings_connector.transformer_1d_blocks.0.attn1.k_norm.weight"),
    "hunyuan_video15": ("HunyuanVideo 1.5", "norms", "vision_in.proj.0.weight"),
    "hunyuan_video15_byt5": ("HunyuanVideo 1.5", "norms", "byt5_in.layernorm.bias"),
    "ovis_image": ("Ovis-Image", "norms", "txt_norm.weight"),
    "chroma_radiance": ("Chroma", "norms", "nerf_blocks.0.norm."),
    "z_image_pixel": ("Z-Image", "norms", "dec_net.res_blocks.0.in_ln.weight"),
    "cascade_c": ("Stable Cascade", "norms", "down_blocks.0.0.channelwise.2.gamma"),
    "krea2": ("Krea 2", "qk_norms", "blocks.0.attn.qknorm.knorm.scale"),
    "pixeldit": ("PixelDiT", "qk_norms", "patch_blocks.0.attn.q_norm_y.weight"),
    "hidream_i1": ("HiDream", "qk_norms", "double_stream_blocks.0.block.attn1.k_rms_norm_t.weight"),
    "cosmos1_t2v": ("Cosmos 1", "qk_norms", "blocks.block0.blocks.0.block.attn.to_q.1.weight"),
}
# Classes of modules all of whose matrices are of attention or of a feed-forward part, as they are spelled in the host.
ROLES = {
    "attention": re.compile(r"\w*(?:Attention|Attention2D|CrossAttention|SelfAttention)"),
    "feed-forward": re.compile(r"\w*(?:FeedForward|FeedForwardSwiGLU|FeedForwardNet|SwiGLU|GateMLP|YakMLP)"),
}


@pytest.fixture(scope="module")
def norms(host):
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.delta.families.norm_sites")


@pytest.fixture(scope="module")
def parts(norms):
    return importlib.import_module(f"{norms.__name__.rpartition('.')[0]}.parts")


def network(name: str) -> torch.nn.Module:
    """The diffusion model of a layout, without memory for its weights. Skips where this host has none."""
    layout = layouts.LAYOUTS[name]
    if not layouts.has(layout):
        pytest.skip(layout.since)
    return layouts.meta(layout).diffusion_model


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


# The host makes tensors of tensors for its upscaler.
pytestmark = pytest.mark.filterwarnings(
    "ignore:To copy construct:UserWarning", "ignore:__array_wrap__:DeprecationWarning"
)


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_sites_by_names_are_those_by_modules_and_are_the_norms(host, norms, name):
    built = network(name)
    by_names = norms.find_sites(shapes_of(built))
    by_modules = norms.find_sites(shapes_of(built), classes_of(built))
    assert (by_names.way, by_modules.way) == (norms.BY_NAMES, norms.BY_MODULES)
    assert by_names.tiers == by_modules.tiers
    found = {key for key, tier in by_modules.tiers.items() if tier != norms.MODULATION}
    in_norms = norm_parameters(built)
    assert found <= in_norms <= set(by_modules.tiers)
    # The norms of AuraFlow have no gain and its modulation has no bias.
    assert bool(by_names.tiers) == (by_names.family != "AuraFlow")


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_attention_and_feed_forward_are_all_that_is_in_such_modules(host, norms, parts, name):
    built = network(name)
    shapes, classes = shapes_of(built), classes_of(built)
    sites = norms.find_sites(shapes, classes).tiers
    for part, kind in ROLES.items():
        inside = tuple(f"{PREFIX}{path}." for path, found in classes.items() if kind.fullmatch(found))
        weights = {key for key in shapes if key.startswith(inside) and key not in sites}
        if weights:
            assert weights <= set(parts.weights_of(part, shapes, classes))


@pytest.mark.parametrize("name", MODULATIONS)
def test_modulation_counted_by_hand(host, norms, name):
    built = network(name)
    sites = norms.find_sites(shapes_of(built))
    modulation = [key for key, tier in sites.tiers.items() if tier == norms.MODULATION]
    assert len(modulation) == MODULATIONS[name], modulation
    assert {key for key, tier in sites.tiers.items() if tier != norms.MODULATION} == (
        norm_parameters(built) - set(modulation)
    )
    assert (norms.QK_NORMS in sites.tiers.values()) == (name not in ("sd15", "sdxl", "sd3"))


@pytest.mark.parametrize("name", MODULATIONS)
def test_norms_of_query_and_key_are_a_tier_of_their_own(host, norms, name):
    sites = norms.find_sites(shapes_of(network(name)))
    marks = ("query_norm", "key_norm", "q_norm", "k_norm", "norm_q", "norm_k", "norm_added", "ln_q", "ln_k")
    for key, tier in sites.tiers.items():
        assert (tier == norms.QK_NORMS) == any(mark in key for mark in marks), key


@pytest.mark.parametrize("name", FOUND)
def test_norms_that_tables_left_out_are_found_in_the_right_family(host, norms, name):
    family, tier, beginning = FOUND[name]
    sites = norms.find_sites(shapes_of(network(name)))
    assert sites.family == family
    assert tier in {found for key, found in sites.tiers.items() if key.startswith(PREFIX + beginning)}
