import pytest

from delta.families.norm_sites import MODULATION, NORMS, QK_NORMS, canonical, find_sites, lora_names, resolve

P = "diffusion_model."


def test_sites_of_a_small_unet_by_hand():
    names = [
        "input_blocks.0.0.weight",
        "input_blocks.1.0.in_layers.0.weight",
        "input_blocks.1.0.in_layers.2.weight",
        "input_blocks.1.0.emb_layers.1.bias",
        "input_blocks.1.0.emb_layers.1.weight",
        "input_blocks.1.1.norm.bias",
        "input_blocks.1.1.transformer_blocks.0.norm3.weight",
        "middle_block.0.out_layers.0.bias",
        "out.0.weight",
        "out.2.bias",
    ]
    found = find_sites([P + name for name in names] + ["first_stage_model.decoder.norm1.weight"])
    assert found.family == "U-Net of Stable Diffusion"
    assert {name.removeprefix(P): tier for name, tier in found.tiers.items()} == {
        "input_blocks.1.0.in_layers.0.weight": NORMS,
        "input_blocks.1.0.emb_layers.1.bias": MODULATION,
        "input_blocks.1.1.norm.bias": NORMS,
        "input_blocks.1.1.transformer_blocks.0.norm3.weight": NORMS,
        "middle_block.0.out_layers.0.bias": NORMS,
        "out.0.weight": NORMS,
    }
    assert found.of([MODULATION]) == [P + "input_blocks.1.0.emb_layers.1.bias"]


def test_a_model_without_such_parameters_says_what_it_has():
    flux2 = find_sites([P + "double_stream_modulation_img.lin.weight", P + "single_blocks.0.norm.key_norm.weight"])
    assert flux2.family == "FLUX.2"
    with pytest.raises(
        ValueError, match=r"FLUX.2 has no parameters in the tiers.*It has: qk_norms. Switch one of them on"
    ):
        flux2.of([NORMS, MODULATION])
    assert flux2.of([NORMS, QK_NORMS]) == [P + "single_blocks.0.norm.key_norm.weight"]
    with pytest.raises(ValueError, match="no architecture whose norm parameters are known here. Known: U-Net"):
        find_sites([P + "something.weight"]).of([NORMS])
    with pytest.raises(ValueError, match="It has none at all"):
        find_sites([P + "double_stream_modulation_img.lin.weight"]).of([NORMS])


@pytest.mark.parametrize(
    ("layer", "several"),
    [
        ("double_blocks.3.img_attn.norm.query_norm", True),
        ("single_blocks.3.norm.key_norm", True),
        ("distilled_guidance_layer.norms.2", True),
        ("blocks.0.norm3", False),
        ("layers.0.attention.k_norm", False),
    ],
)
def test_parameters_are_found_under_the_names_of_other_hosts(layer, several):
    old, new = f"{P}{layer}.scale", f"{P}{layer}.weight"
    assert canonical(new) == new
    assert canonical(old) == (new if several else old)
    assert resolve(old, {old}) == old and resolve(new, {new}) == new
    assert resolve(old, {new}) == (new if several else None)
    assert resolve(new, {old}) == (old if several else None)
    assert lora_names(old) == lora_names(new) == ((P + layer, old) if several else ())
