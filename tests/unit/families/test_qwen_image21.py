"""Qwen-Image 2.1 by the names of ComfyUI's sources, newer than the hosts of the tests."""

import pytest

from delta.families.norm_sites import find_sites
from delta.families.parts import ATTENTION, FEED_FORWARD, role_of
from delta.families.registry import family_of, family_of_layers, place_of

# comfy/ldm/qwen_image21/model.py, with a width of 8 and two blocks.
BLOCK = {
    "attn.norm_k": (4,),
    "attn.norm_q": (4,),
    "attn.to_k": (8, 8),
    "attn.to_out.0": (8, 8),
    "attn.to_q": (8, 8),
    "attn.to_v": (8, 8),
    "img_mlp.gate_up": (48, 8),
    "img_mlp.out": (8, 24),
}
SHAPES = {
    f"diffusion_model.{name}.weight": shape
    for name, shape in {
        "img_in": (8, 64),
        "modulation.1": (32, 8),
        "norm_out.linear": (8, 8),
        "proj_out": (64, 8),
        "time_text_embed.timestep_embedder.linear_1": (8, 256),
        "time_text_embed.timestep_embedder.linear_2": (8, 8),
        "txt_in.in_layer": (8, 16),
        "txt_in.out_layer": (8, 8),
        "txt_in.text_norm": (16,),
        **{f"transformer_blocks.{block}.{layer}": shape for block in (0, 1) for layer, shape in BLOCK.items()},
    }.items()
}


def of_the_host() -> dict[str, tuple]:
    """What comfy/lora.py (model_lora_keys_unet) makes of the name of every layer: a weight, and the rows of a half."""
    names = {}
    for weight in SHAPES:
        path = weight.removeprefix("diffusion_model.").removesuffix(".weight")
        names[f"lora_unet_{path.replace('.', '_')}"] = names[f"diffusion_model.{path}"] = (path,)
        halves = {path: (path,)}
        if path.endswith(".img_mlp.gate_up"):
            half = SHAPES[weight][0] // 2
            beginning = path.removesuffix("gate_up")
            halves = {f"{beginning}gate_layer": (path, 0, half), f"{beginning}proj": (path, half, half)}
        for name, meaning in halves.items():
            names[name] = names[f"transformer.{name}"] = names[f"lycoris_{name.replace('.', '_')}"] = meaning
    return names


def here(name: str) -> tuple | None:
    place = place_of(name, family_of(SHAPES))
    if place is None:
        return None
    weight, part = place
    if part is None or len(weight.parts) == 1:
        return (weight.comfy,)
    unit = SHAPES[f"diffusion_model.{weight.comfy}.weight"][0] // sum(weight.shares)
    return weight.comfy, unit * sum(weight.shares[:part]), unit * weight.shares[part]


def test_its_weights_are_known_for_it():
    assert family_of(SHAPES).name == "Qwen-Image 2.1"
    # As ComfyUI keeps files that it does not fuse: never guessed.
    apart = {name.replace("gate_up", "gate_layer"): shape for name, shape in SHAPES.items()}
    assert family_of(apart) is None


@pytest.mark.parametrize("name", of_the_host())
def test_every_name_that_the_host_reads_is_the_same_weight_here(name):
    assert here(name) == of_the_host()[name]


def test_halves_have_no_names_of_their_own_in_comfyui():
    for name in (
        "lora_unet_transformer_blocks_0_img_mlp_proj",
        "diffusion_model.transformer_blocks.0.img_mlp.gate_layer",
    ):
        assert here(name) is None


def test_a_lora_is_known_for_it():
    names = [
        f"transformer.transformer_blocks.{block}.img_mlp.{layer}"
        for block in (0, 1)
        for layer in ("gate_layer", "proj", "out")
    ]
    assert family_of_layers(names).name == "Qwen-Image 2.1"
    assert (
        family_of_layers(["diffusion_model.modulation.1", "diffusion_model.txt_in.in_layer"]).name == "Qwen-Image 2.1"
    )


def test_norms_and_parts_by_hand():
    tiers = find_sites(SHAPES).tiers
    found = {tier: sorted(name for name in tiers if tiers[name] == tier) for tier in set(tiers.values())}
    assert found == {
        "norms": ["diffusion_model.txt_in.text_norm.weight"],
        "qk_norms": sorted(
            f"diffusion_model.transformer_blocks.{block}.attn.norm_{part}.weight" for block in (0, 1) for part in "qk"
        ),
    }
    block = "diffusion_model.transformer_blocks.0"
    for layer, role in (("attn.to_q", ATTENTION), ("img_mlp.gate_up", FEED_FORWARD), ("img_mlp.out", FEED_FORWARD)):
        assert role_of(f"{block}.{layer}.weight") == role
