import pytest
import torch

from delta.families.registry import family_of_layers
from delta.linear_algebra.factors import LowRank
from delta.lora.adapters import Layer
from delta.lora.addresses import ModelNames
from delta.lora.file import read_layers, write_layers
from delta.lora.naming import NAMINGS, naming_of, rename, usual_names


def layers(*names: str, rows: int = 28, columns: int = 4) -> dict[str, Layer]:
    generator = torch.Generator().manual_seed(1)
    update = lambda: LowRank(  # noqa: E731
        torch.randn(rows, 2, generator=generator), torch.randn(2, columns, generator=generator), (rows, columns)
    )
    return {name: Layer(low_rank=update()) for name in names}


QKV = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
LINEAR1 = "diffusion_model.single_blocks.3.linear1.weight"


def swap(value: torch.Tensor) -> torch.Tensor:
    return torch.cat(value.chunk(2)[::-1])


# What a model of Flux.1 tells; the rest comes from the record of its family.
FLUX = ModelNames(
    {
        "transformer.transformer_blocks.0.attn.to_q": (QKV, (0, 0, 4)),
        "transformer.transformer_blocks.0.attn.to_k": (QKV, (0, 4, 4)),
        "transformer.transformer_blocks.18.ff_context.net.2": "diffusion_model.double_blocks.18.txt_mlp.2.weight",
        "transformer.single_transformer_blocks.3.attn.to_q": (LINEAR1, (0, 0, 4)),
        "transformer.single_transformer_blocks.3.attn.to_k": (LINEAR1, (0, 4, 4)),
        "transformer.single_transformer_blocks.3.attn.to_v": (LINEAR1, (0, 8, 4)),
        "transformer.single_transformer_blocks.3.proj_mlp": (LINEAR1, (0, 12, 16)),
        "transformer.norm_out.linear": ("diffusion_model.final_layer.adaLN_modulation.1.weight", None, swap),
    },
    {
        "diffusion_model.double_blocks.0.img_mod.lin.weight": (24, 4),
        "diffusion_model.double_blocks.0.img_attn.qkv.weight": (12, 4),
        "diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale": (4,),
        "diffusion_model.single_blocks.0.modulation.lin.weight": (12, 4),
        "diffusion_model.single_blocks.3.linear1.weight": (28, 4),
        "diffusion_model.final_layer.adaLN_modulation.1.weight": (4, 4),
        "diffusion_model.img_in.weight": (4, 4),
        "diffusion_model.double_blocks.18.txt_mlp.2.weight": (28, 4),
    },
)
# One weight under the names of kohya, ComfyUI and diffusers.
ALIKE = [
    (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out",
    ),
    (
        "lora_unet_down_blocks_2_attentions_1_transformer_blocks_9_ff_net_0_proj",
        "diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.0.proj",
        "unet.down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj",
    ),
    (
        "lora_unet_up_blocks_3_resnets_2_time_emb_proj",
        "diffusion_model.output_blocks.11.0.emb_layers.1",
        "unet.up_blocks.3.resnets.2.time_emb_proj",
    ),
    (
        "lora_unet_mid_block_attentions_0_proj_in",
        "diffusion_model.middle_block.1.proj_in",
        "unet.mid_block.attentions.0.proj_in",
    ),
    (
        "lora_te2_text_model_encoder_layers_31_mlp_fc1",
        "text_encoders.clip_g.transformer.text_model.encoder.layers.31.mlp.fc1",
        "text_encoder_2.text_model.encoder.layers.31.mlp.fc1",
    ),
    (
        "lora_unet_double_blocks_18_txt_mlp_2",
        "diffusion_model.double_blocks.18.txt_mlp.2",
        "transformer.transformer_blocks.18.ff_context.net.2",
    ),
    (
        "lora_unet_joint_blocks_3_x_block_mlp_fc1",
        "diffusion_model.joint_blocks.3.x_block.mlp.fc1",
        "transformer.transformer_blocks.3.ff.net.0.proj",
    ),
    (
        "lora_unet_layers_29_attention_out",
        "diffusion_model.layers.29.attention.out",
        "diffusion_model.layers.29.attention.to_out.0",
    ),
    (
        "lora_unet_transformer_blocks_59_img_mlp_net_0_proj",
        "diffusion_model.transformer_blocks.59.img_mlp.net.0.proj",
        "transformer.transformer_blocks.59.img_mlp.net.0.proj",
    ),
]


# Layers that tell the families apart whose names these weights fit too.
TELLING = {
    "joint_blocks": "lora_unet_joint_blocks_37_x_block_attn_proj",
    "layers_": "lora_unet_layers_0_adaLN_modulation_0",
    "img_mlp_net": "lora_unet_transformer_blocks_0_img_mod_1",
}


def telling(name: str) -> dict[str, Layer]:
    """A bias of a layer that only the family of this one has, where its own name does not tell."""
    found = next((other for part, other in TELLING.items() if part in name and "text_model" not in name), None)
    return {found: Layer(bias=torch.ones(4))} if found else {}


@pytest.mark.parametrize("names", ALIKE)
@pytest.mark.parametrize("source", range(3))
@pytest.mark.parametrize("target", range(3))
def test_a_weight_has_one_name_in_each_convention(names, source, target):
    given = layers(names[source])
    model = FLUX if "double_blocks" in names[0] else None
    renamed = rename(given | telling(names[0]), NAMINGS[target], model)
    assert names[target] in renamed
    assert torch.equal(renamed[names[target]].dense(), given[names[source]].dense())


def test_fused_weights_are_split_for_diffusers_and_fused_again():
    given = layers("lora_unet_single_blocks_3_linear1")
    apart = rename(given, "diffusers", FLUX)
    block = "transformer.single_transformer_blocks.3"
    assert list(apart) == [f"{block}.attn.to_q", f"{block}.attn.to_k", f"{block}.attn.to_v", f"{block}.proj_mlp"]
    whole = given["lora_unet_single_blocks_3_linear1"].dense()
    assert torch.equal(apart[f"{block}.proj_mlp"].dense(), whole[12:])
    again = rename(apart, "kohya", FLUX)
    assert list(again) == list(given)
    assert torch.allclose(again["lora_unet_single_blocks_3_linear1"].dense(), whole, atol=1e-6)


def test_the_last_modulation_of_flux_is_turned_round():
    given = layers("diffusion_model.final_layer.adaLN_modulation.1", rows=4)
    renamed = rename(given, "diffusers", FLUX)["transformer.norm_out.linear"].dense()
    assert torch.equal(renamed, next(iter(given.values())).dense()[[2, 3, 0, 1]])


def test_two_names_of_one_weight_are_added():
    given = layers("lora_unet_double_blocks_0_img_attn_qkv", rows=12)
    part = layers("transformer.transformer_blocks.0.attn.to_k", rows=4)
    with pytest.raises(ValueError, match="fit no family|Connect the model"):
        rename(part, "ComfyUI")
    (total,) = rename(given | part, "ComfyUI", FLUX).values()
    expected = next(iter(given.values())).dense()
    expected[4:8] += next(iter(part.values())).dense()
    assert torch.allclose(total.dense(), expected, atol=1e-6)


@pytest.mark.parametrize("naming", NAMINGS)
def test_what_is_written_is_read_again(naming):
    given = rename(
        layers(
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
        ),
        naming,
    )
    read = read_layers(write_layers(given, torch.float32))
    assert not read.foreign and read.layers.keys() == given.keys()
    for name, layer in given.items():
        assert torch.equal(read.layers[name].dense(), layer.dense())


def test_text_encoders_are_numbered_where_there_are_two():
    unet = "lora_unet_down_blocks_2_attentions_0_transformer_blocks_0_attn1_to_q"
    encoder = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"
    assert "lora_te_text_model_encoder_layers_0_mlp_fc1" in rename(layers(unet, encoder), "kohya")
    sdxl = unet.replace("transformer_blocks_0", "transformer_blocks_9")
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1" in rename(layers(sdxl, encoder), "kohya")


def test_the_encoder_of_stable_diffusion_2_is_told_by_its_width():
    given = layers("lora_te_text_model_encoder_layers_0_self_attn_q_proj", rows=1024, columns=1024)
    (name,) = rename(given, "ComfyUI")
    assert name.startswith("text_encoders.clip_h.")


def test_norms_of_text_encoders_keep_the_one_name_that_is_read():
    name = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.layer_norm1"
    assert list(rename({name: Layer(full=torch.ones(768))}, "kohya")) == [name]
    with pytest.raises(ValueError, match="no known diffusers name"):
        rename({name: Layer(full=torch.ones(768))}, "diffusers")


def test_t5_is_the_third_encoder_whatever_its_number():
    (name,) = rename(layers("lora_te2_encoder_block_0_layer_0_SelfAttention_q"), "ComfyUI")
    assert name == "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"


@pytest.mark.parametrize(
    ("names", "naming", "message"),
    [
        (
            ["lora_unet_mystery_0"],
            "ComfyUI",
            "lora_unet_mystery_0 cannot be renamed: the names of this LoRA fit no known family",
        ),
        (["lora_unet_double_blocks_0_img_mlp_0"], "diffusers", "fit .*Flux.1 and .*HunyuanVideo"),
        (["transformer.transformer_blocks.0.attn.to_q"], "kohya", "fit .*Qwen-Image and .*Connect the model"),
        (["lora_te3_encoder_block_0_layer_0_SelfAttention_q"], "diffusers", "has no known diffusers name"),
        (["lora_unet_blocks_0_self_attn_q"], "diffusers", "ComfyUI does not read diffusers names for Wan"),
        (["lora_unet_mid_block_attentions_0_proj_in"], "A1111", "There is no naming A1111"),
    ],
)
def test_what_has_no_name_is_refused(names, naming, message):
    with pytest.raises(ValueError, match=message):
        rename(layers(*names), naming)


def test_a_name_that_is_right_already_stays():
    given = layers("diffusion_model.something.new.7.k_img")
    assert list(rename(given, "ComfyUI")) == list(given)


def test_a_model_tells_what_names_alone_do_not():
    key = "diffusion_model.new_blocks.7.to_q.weight"
    model = ModelNames({"lora_unet_new_blocks_7_to_q": key, "diffusion_model.new_blocks.7.to_q": key})
    assert list(rename(layers("lora_unet_new_blocks_7_to_q"), "ComfyUI", model)) == [
        "diffusion_model.new_blocks.7.to_q"
    ]
    assert list(rename(layers("diffusion_model.new_blocks.7.to_q"), "kohya", model)) == ["lora_unet_new_blocks_7_to_q"]
    with pytest.raises(ValueError, match="lora_unet_mystery is not a layer of the connected model"):
        rename(layers("lora_unet_mystery"), "ComfyUI", model)


def test_a_layer_of_a_model_has_the_usual_name_unless_two_would_share_it():
    given = layers("diffusion_model.blocks.0.attn.wq", "diffusion_model.blocks.0.table")
    weights = ["diffusion_model.blocks.0.attn.wq.weight", "diffusion_model.blocks.0.table"]
    assert list(usual_names(given, weights)) == ["lora_unet_blocks_0_attn_wq", "diffusion_model.blocks.0.table"]
    twins = layers("diffusion_model.a.b_c", "diffusion_model.a_b.c")
    assert list(usual_names(twins, [f"{name}.weight" for name in twins])) == list(twins)


@pytest.mark.parametrize("naming", NAMINGS)
def test_norms_of_flux_keep_the_name_that_every_version_reads(naming):
    given = {"transformer.transformer_blocks.0.attn.norm_q": Layer(full=torch.ones(4))}
    assert list(rename(given, naming, FLUX)) == list(given)


def test_a_family_is_known_when_all_names_fit_it_alone():
    single = "lora_unet_single_blocks_3_modulation_lin"
    assert family_of_layers(["lora_unet_transformer_blocks_0_attn1_to_q"]).name in ("LTX-Video", "LTX-2")
    assert family_of_layers(["transformer.transformer_blocks.0.attn.to_q"]) is None
    assert family_of_layers([single, "lora_unet_mystery"]) is None
    assert family_of_layers([]) is None


def test_mixed_names_follow_no_convention():
    assert naming_of([name for names in ALIKE for name in names[:1]]) == "kohya"
    assert naming_of(ALIKE[0]) is None


# All layers with weights of a block, by ComfyUI's names.
FLUX2_SINGLE = ("linear1", "linear2", "norm.query_norm", "norm.key_norm")
DOUBLE = (
    *(f"{stream}_{layer}" for stream in ("img", "txt") for layer in ("attn.proj", "mlp.0", "mlp.2")),
    *(f"{stream}_attn.qkv" for stream in ("img", "txt")),
)


@pytest.mark.parametrize(
    ("block", "deepest", "paths", "telling"),
    [
        ("single_blocks", 47, FLUX2_SINGLE[:2], "single_stream_modulation.lin"),
        ("double_blocks", 53, DOUBLE, "vision_in.proj.1"),
    ],
)
@pytest.mark.parametrize("target", ("kohya", "ComfyUI"))
def test_every_block_of_the_deepest_models_has_names(block, deepest, paths, telling, target):
    """FLUX.2 dev has 48 single blocks, HunyuanVideo 1.5 has 54 double blocks."""
    own = [f"diffusion_model.{block}.{n}.{path}" for n in range(deepest + 1) for path in paths]
    own.append(f"diffusion_model.{telling}")
    kohya = ["lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_") for name in own]
    given, expected = (own, kohya) if target == "kohya" else (kohya, own)
    assert list(rename({name: Layer(bias=torch.ones(4)) for name in given}, target)) == expected


def test_two_weights_of_one_flat_name_are_not_added_up():
    weights = ["diffusion_model.a.b_c.weight", "diffusion_model.a_b.c.weight"]
    names = [weight.removesuffix(".weight") for weight in weights]
    model = ModelNames(dict(zip(names, weights)), dict.fromkeys(weights, (28, 4)))
    assert list(rename(layers(*names), "ComfyUI", model)) == names
    with pytest.raises(ValueError, match="lora_unet_a_b_c would be the kohya name of two weights"):
        rename(layers(*names), "kohya", model)


T5 = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"
CLIP_L = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"


def test_t5_alone_is_not_numbered_as_if_there_were_others():
    """ComfyUI counts the encoders that are there: T5 is the first one of Chroma and the third one of Flux and SD3."""
    kohya = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    weights = [f"{T5}.weight"]
    assert list(usual_names(layers(T5), weights)) == [T5]
    assert kohya in usual_names(layers(T5, CLIP_L), [*weights, f"{CLIP_L}.weight"])
    alone = ModelNames(
        {name: f"{T5}.weight".removeprefix("text_encoders.") for name in (T5, kohya.replace("3", "1", 1))}
    )
    assert list(rename(layers(T5), "kohya", alone)) == [T5]
    both = ModelNames(dict.fromkeys((T5, kohya), f"{T5}.weight".removeprefix("text_encoders.")))
    assert list(rename(layers(T5), "kohya", both)) == [kohya]
