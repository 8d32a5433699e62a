import pytest

from delta.families.norm_sites import (
    BY_MODULES,
    BY_NAMES,
    MODULATION,
    NORMS,
    QK_NORMS,
    UNKNOWN,
    canonical,
    find_sites,
    is_qk_norm,
    lora_names,
    resolve,
)

P = "diffusion_model."
UNET = {
    "input_blocks.0.0.weight": (8, 4, 3, 3),
    "input_blocks.1.0.in_layers.0.weight": (8,),
    "input_blocks.1.0.in_layers.0.bias": (8,),
    "input_blocks.1.0.in_layers.2.weight": (8, 8, 3, 3),
    "input_blocks.1.0.in_layers.2.bias": (8,),
    "input_blocks.1.0.emb_layers.1.bias": (8,),
    "input_blocks.1.0.emb_layers.1.weight": (8, 32),
    "input_blocks.1.1.norm.bias": (8,),
    "input_blocks.1.1.norm.weight": (8,),
    "input_blocks.1.1.transformer_blocks.0.norm3.weight": (8,),
    "out.0.weight": (8,),
    "out.2.bias": (4,),
}


def behind(shapes: dict) -> dict:
    return {P + name: shape for name, shape in shapes.items()}


def tiers(shapes: dict, modules: dict | None = None) -> dict[str, str]:
    return {name.removeprefix(P): tier for name, tier in find_sites(behind(shapes), modules).tiers.items()}


def test_sites_of_a_small_unet_by_hand():
    found = find_sites(behind(UNET) | {"first_stage_model.decoder.norm1.weight": (8,)})
    assert {name.removeprefix(P): tier for name, tier in found.tiers.items()} == {
        "input_blocks.1.0.in_layers.0.weight": NORMS,
        "input_blocks.1.0.in_layers.0.bias": NORMS,
        "input_blocks.1.0.emb_layers.1.bias": MODULATION,
        "input_blocks.1.1.norm.bias": NORMS,
        "input_blocks.1.1.norm.weight": NORMS,
        "input_blocks.1.1.transformer_blocks.0.norm3.weight": NORMS,
        "out.0.weight": NORMS,
    }
    assert found.of([MODULATION]) == [P + "input_blocks.1.0.emb_layers.1.bias"]
    assert (found.way, found.left_out) == (BY_NAMES, ())


def test_a_model_without_such_parameters_says_what_it_has():
    flux2 = find_sites(
        behind(
            {
                "double_stream_modulation_img.lin.weight": (8, 8),
                "single_stream_modulation.lin.weight": (8, 8),
                "single_blocks.0.norm.key_norm.weight": (8,),
            }
        )
    )
    assert flux2.family == "FLUX.2"
    with pytest.raises(
        ValueError, match=r"FLUX.2 has no parameters in the tiers.*It has: qk_norms. Switch one of them on"
    ):
        flux2.of([NORMS, MODULATION])
    assert flux2.of([NORMS, QK_NORMS]) == [P + "single_blocks.0.norm.key_norm.weight"]
    with pytest.raises(ValueError, match=f"{UNKNOWN} has no parameters.*It has none at all"):
        find_sites({P + "something.weight": (8, 8)}).of([NORMS])


def test_an_unknown_model_is_called_by_its_class_and_read_by_its_modules():
    shapes = {"body.0.a.weight": (8,), "body.0.b.weight": (8,), "body.0.b.bias": (8,), "body.0.c.weight": (8,)}
    modules = {"": "NewNet", "body.0.a": "PReLU", "body.0.b": "BatchNorm2d", "body.0.c": "RMSNorm"}
    found = find_sites(behind(shapes), modules)
    assert (found.family, found.way) == ("NewNet", BY_MODULES)
    assert found.tiers == {P + "body.0.c.weight": NORMS}
    assert found.left_out == (P + "body.0.b.weight", P + "body.0.b.bias")
    assert found.described == (
        "NewNet, norms found by its modules; left out, batch norms: 2, such as diffusion_model.body.0.b.weight"
    )


def test_batch_norms_and_layer_scales_are_no_norms_by_their_names():
    shapes = {
        "stem.bn.weight": (8,),
        "stem.bn.bias": (8,),
        "stem.bn.running_mean": (8,),
        "fuser.0.gamma": (8,),
        "fuser.0.norm.weight": (8,),
        "head.norm.gamma": (2, 4),
        "head.linear.weight": (8, 8),
        "head.linear.bias": (8,),
    }
    assert tiers(shapes) == {"fuser.0.norm.weight": NORMS, "head.norm.gamma": NORMS}
    assert find_sites(behind(shapes)).left_out == (P + "stem.bn.weight", P + "stem.bn.bias")


@pytest.mark.parametrize(
    "path",
    [
        "blocks.0.self_attn.q_norm",
        "blocks.0.attn.norm_added_k",
        "blocks.0.cross_attn.norm_k_img",
        "double_blocks.0.img_attn.norm.query_norm",
        "blocks.0.attn.qknorm.knorm",
        "double_stream_blocks.0.block.attn1.q_rms_norm_t",
        "patch_blocks.0.attn.k_norm_y",
        "double_blocks.0.attn.txt_attn_k_norm",
        "joint_blocks.0.x_block.attn2.ln_q",
        "blocks.0.attn.norm_q.txt",
        "blocks.block0.blocks.0.block.attn.to_q.1",
        "layers.0.self_attn.q_layernorm",
    ],
)
def test_norms_of_query_and_key(path):
    assert is_qk_norm(path) and tiers({f"{path}.weight": (8,)}) == {f"{path}.weight": QK_NORMS}


@pytest.mark.parametrize(
    "path",
    [
        "blocks.0.norm3",
        "layers.0.attention_norm1",
        "input_blocks.1.1.norm",
        "t_embedding_norm",
        "txt_norm",
        "layers.0.adaLN_sa_ln",
        "blocks.0.norm_x1",
        "audio_proj.audio_proj_glob_norm.layer",
        "mask_norm",
        "blocks.0.skip_norm",
    ],
)
def test_other_norms(path):
    assert not is_qk_norm(path) and tiers({f"{path}.weight": (8,)}) == {f"{path}.weight": NORMS}


@pytest.mark.parametrize(
    ("name", "is_modulation"),
    [
        ("joint_blocks.0.x_block.adaLN_modulation.1.bias", True),
        ("blocks.0.modulation", True),
        ("blocks.0.mod.lin", True),
        ("transformer_blocks.0.scale_shift_table_a2v_ca_audio", True),
        ("audio_adaln_single.linear.bias", True),
        ("audio_adaln_single.emb.timestep_embedder.linear_1.bias", False),
        ("norm_out.linear_1.bias", True),
        ("norm_out.linear_2.bias", False),
        ("blocks.0.norm1.linear.bias", True),
        ("final_norm.linear.bias", True),
        ("double_blocks.0.img_mod.modulate_table", True),
        ("visual_transformer_blocks.0.visual_modulation.out_layer.bias", True),
        ("blocks.0.ada.vid.attn_shift", True),
        ("vid_out_ada.out_scale", True),
        ("time_projection.1.bias", True),
        ("time_embedding.0.bias", False),
        ("transformer_blocks.0.img_mod.1.weight", False),
        ("blocks.0.mlp_x.w1.bias", False),
        ("adaln_proj.bias", False),
    ],
)
def test_modulation_by_its_name(name, is_modulation):
    assert tiers({name: (8, 8)}) == ({name: MODULATION} if is_modulation else {})


def test_a_record_decides_where_the_rules_are_not_right():
    shapes = {
        "distilled_guidance_layer.in_proj.weight": (8, 8),
        "distilled_guidance_layer.out_proj.weight": (8, 8),
        "distilled_guidance_layer.out_proj.bias": (8,),
        "distilled_guidance_layer.norms.0.scale": (8,),
        "single_blocks.0.norm.query_norm.scale": (8,),
        "nerf_blocks.0.norm.scale": (8,),
    }
    assert find_sites(behind(shapes)).family == "Chroma"
    assert tiers(shapes) == {
        "distilled_guidance_layer.out_proj.bias": MODULATION,
        "distilled_guidance_layer.norms.0.scale": MODULATION,
        "single_blocks.0.norm.query_norm.scale": QK_NORMS,
        "nerf_blocks.0.norm.scale": NORMS,
    }


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
