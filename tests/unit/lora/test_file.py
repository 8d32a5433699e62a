import json

import pytest
import torch

from delta.linear_algebra.factors import LowRank
from delta.lora.adapters import Layer, NeedsBaseError, split_name
from delta.lora.addresses import locate
from delta.lora.file import LoraModel, merged_metadata, read_layers, write_layers
from delta.lora.layer_names import layer_id, layer_path


def lora(name: str, rows: int = 4, columns: int = 6, rank: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    up, down = torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(1.0)}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", ("lora_unet_mid_block_attentions_0_proj_in", "lora_up.weight")),
        ("unet.mid_block.proj_in.lora_A.weight", ("unet.mid_block.proj_in", "lora_A.weight")),
        ("transformer.x.lora_B.default.weight", ("transformer.x", "lora_B.weight")),
        ("transformer.x.lora_A.style.weight", ("transformer.x", "lora_A.weight")),
        ("transformer.x.lora_A.default_0.default.weight", ("transformer.x", "lora_A.weight")),
        ("transformer.x.oft_R.weight", ("transformer.x", "oft_R.weight")),
        ("diffusion_model.a.row_offset", ("diffusion_model.a", "row_offset")),
        ("text_encoder.q_proj.lora_linear_layer.up.weight", ("text_encoder.q_proj", "lora_linear_layer.up.weight")),
        ("unet.to_q_lora.up.weight", ("unet.to_q", "_lora.up.weight")),
        ("a.hada_t1", ("a", "hada_t1")),
        ("a.diff_b", ("a", "diff_b")),
        ("diffusion_model.a.bias.diff", ("diffusion_model.a", "diff_b")),
        ("model.diffusion_model.x.weight", None),
        ("alpha", None),
    ],
)  # fmt: skip
def test_names_are_split(name, parts):
    assert split_name(name) == parts


@pytest.mark.parametrize(
    "names",
    [
        (
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_out_0",
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0",
            "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_out.0",
            "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0",
        ),
        ("lora_unet_output_blocks_5_2_conv", "unet.up_blocks.1.upsamplers.0.conv"),
        ("lora_unet_output_blocks_2_1_conv", "lora_unet_up_blocks_0_upsamplers_0_conv"),
        ("lora_unet_input_blocks_3_0_op", "unet.down_blocks.0.downsamplers.0.conv"),
        ("lora_unet_middle_block_2_in_layers_2", "unet.mid_block.resnets.1.conv1"),
        ("lora_unet_middle_block_1_proj_in", "unet.mid_block.attentions.0.proj_in"),
        ("diffusion_model.input_blocks.0.0", "lora_unet_conv_in"),
        (
            "lora_te_text_model_encoder_layers_3_mlp_fc1",
            "lora_te1_text_model_encoder_layers_3_mlp_fc1",
            "text_encoder.text_model.encoder.layers.3.mlp.fc1",
            "text_encoders.clip_l.transformer.text_model.encoder.layers.3.mlp.fc1",
        ),
        (
            "lora_te2_text_model_encoder_layers_3_mlp_fc1",
            "text_encoder_2.text_model.encoder.layers.3.mlp.fc1",
            "text_encoders.clip_g.transformer.text_model.encoder.layers.3.mlp.fc1",
        ),
        (
            "transformer.single_transformer_blocks.3.norm.linear",
            "lora_transformer_single_transformer_blocks_3_norm_linear",
            "lycoris_single_transformer_blocks_3_norm_linear",
        ),
        ("diffusion_model.blocks.7.self_attn.q", "lora_unet_blocks_7_self_attn_q"),
    ],
)
def test_one_layer_has_one_place(names):
    located = locate([dict.fromkeys(names, Layer(full=torch.ones(4, 4)))])
    assert len(set(located.addresses.values())) == 1 and None not in located.addresses.values()


def test_different_layers_have_different_names():
    names = ["lora_unet_input_blocks_4_0_in_layers_2", "lora_unet_input_blocks_4_1_proj_in", "lora_unet_input_blocks_5_1_proj_in",
             "lora_unet_output_blocks_4_1_proj_in", "lora_te1_x", "lora_te2_x", "lora_unet_x"]  # fmt: skip
    assert len({layer_id(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("unet.up_blocks.1.attentions.2.proj_in", "output.5.proj_in"),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", "input.3.conv"),
        ("lora_unet_mid_block_attentions_0_proj_out", "middle.attentions.0.proj_out"),
        ("lora_te2_text_model_encoder_layers_3_self_attn_q_proj", "text.te2.layers.3.self_attn.q.proj"),
        ("transformer.single_transformer_blocks.7.attn.to_q", "single.7.attn.to_q"),
        ("lora_unet_double_blocks_3_img_attn_qkv", "double.3.img_attn.qkv"),
        ("diffusion_model.blocks.7.self_attn.q", "block.7.self_attn.q"),
    ],
)
def test_a_layer_has_a_path_for_rules_and_reports(name, path):
    assert ".".join(layer_path(layer_id(name))) == path


def test_a_file_is_read_written_and_read_again():
    tensors = (
        lora("a.proj")
        | lora("b.proj")
        | {"b.proj.diff_b": torch.ones(4), "n.norm.w_norm": torch.ones(3), "n.norm.b_norm": -torch.ones(3)}
    )
    once = read_layers(tensors)
    again = read_layers(write_layers(once.layers, torch.float32))
    assert once.foreign == [] and again.layers.keys() == once.layers.keys()
    for name in ("a.proj", "b.proj"):
        assert torch.allclose(again.layers[name].low_rank.to_dense(), once.layers[name].low_rank.to_dense(), atol=1e-6)
    assert torch.equal(again.layers["b.proj"].bias, torch.ones(4))
    assert torch.equal(again.layers["n.norm"].full, torch.ones(3)) and torch.equal(
        again.layers["n.norm"].bias, -torch.ones(3)
    )


def test_two_updates_of_one_weight_are_combined_and_never_side_by_side():
    tensors = lora("a") | {"a.diff": torch.full((4, 6), 2.0)}
    layer = read_layers(tensors).layers["a"]
    written = write_layers({"a": layer}, torch.float32)
    assert written.keys() == {"a.diff"}
    assert torch.allclose(written["a.diff"], layer.low_rank.to_dense() + 2)


def test_foreign_tensors_are_named():
    assert read_layers(lora("a") | {"optimizer.step": torch.zeros(1)}).foreign == ["optimizer.step"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.lora_down.weight": None}, "a has lora_up.weight but not its other half"),
        ({"a.lora_down.weight": torch.ones(3, 6)}, "shapes of a disagree"),
        ({"a.lora_A.weight": torch.ones(2, 6), "a.lora_B.weight": torch.ones(4, 2)}, "a has both lora_A.weight, lora_B.weight and"),
        ({"a.lokr_w1": torch.ones(2, 2), "a.lokr_w2": torch.ones(2, 3)}, "several kinds of adapter"),
        ({"a.lokr_w1_a": torch.ones(2, 2)}, "a lacks lokr_w1_b"),
        ({"a.hada_w1_a": torch.ones(2, 2)}, "a lacks hada_w1_b"),
    ],
)  # fmt: skip
def test_damaged_layers_are_refused(change, message):
    tensors = {name: tensor for name, tensor in (lora("a") | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        read_layers(tensors)


NEED_BASE = [("dora_scale", "DoRA"), ("a1.weight", "GLoRA"), ("oft_blocks", "OFT or BOFT"), ("oft_diag", "OFT")]


@pytest.mark.parametrize(("ending", "kind"), NEED_BASE)
def test_adapters_that_need_the_base_are_named_beside_the_others(ending, kind):
    read = read_layers(lora("a") | lora("b") | {f"a.{ending}": torch.ones(4)})
    assert read.layers.keys() == {"b"} and read.foreign == []
    assert read.needs_base == {
        "a": f"a is {kind}: its update depends on the weight it is applied to. "
        "Merge LoRAs bakes it in when the model is connected."
    }


@pytest.mark.parametrize(("ending", "kind"), NEED_BASE)
def test_a_file_of_which_all_needs_the_base_says_so(ending, kind):
    with pytest.raises(NeedsBaseError, match=f"a is {kind}.*the model is connected"):
        read_layers(lora("a") | {f"a.{ending}": torch.ones(4), "optimizer.step": torch.zeros(1)})


def test_what_cannot_be_baked_for_want_of_its_weight_is_named_too():
    def bake(name, tensors):
        if name == "a":
            raise NeedsBaseError("a is not in the model")
        return torch.full((4, 6), 3.0)

    read = read_layers({"a.dora_scale": torch.ones(4), "b.dora_scale": torch.ones(4)}, bake)
    assert read.needs_base == {"a": "a is not in the model"}
    assert torch.equal(read.layers["b"].full, torch.full((4, 6), 3.0))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "brush holds no LoRA tensors: it is empty"),
        ({name: torch.ones(1) for name in "abcd"}, "brush holds no LoRA tensors, only 4 others, such as a, b, c."),
    ],
)
def test_a_file_of_which_nothing_is_read_is_an_error_that_names_what_it_holds(tensors, message):
    with pytest.raises(ValueError, match=message):
        read_layers(LoraModel(tensors, name="brush"))


def test_values_that_do_not_fit_the_type_are_refused():
    large = Layer(low_rank=LowRank(torch.full((2, 1), 1e12), torch.ones(1, 2), (2, 2)))
    with pytest.raises(ValueError, match="a.lora_up.weight has values up to 9.54e.05, too large.*float32"):
        write_layers({"a": large}, torch.float16)
    tiny = Layer(full=torch.full((2, 2), 1e-9))
    with pytest.raises(ValueError, match="a.diff has values too small.*bfloat16 or float32"):
        write_layers({"a": tiny}, torch.float16)
    assert write_layers({"a": tiny}, torch.float32)["a.diff"][0, 0] == 1e-9


def test_an_alpha_far_below_the_rank_fits_float16():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a.lora_up.weight": 1e-3 * torch.randn(64, 128, generator=generator),
        "a.lora_down.weight": torch.randn(128, 32, generator=generator) / 32**0.5,
        "a.alpha": torch.tensor(1.0),
    }
    expected = read_layers(tensors).layers["a"].dense()
    written = write_layers(read_layers(tensors).layers, torch.float16)
    applied = written["a.lora_up.weight"].float() @ written["a.lora_down.weight"].float()
    assert written["a.alpha"] == 128
    assert torch.linalg.vector_norm(applied - expected) <= 5e-4 * torch.linalg.vector_norm(expected)


def test_balancing_is_exact_and_leaves_balanced_factors_alone():
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(40, 3, generator=generator), torch.randn(3, 40, generator=generator)
    balanced = {"a.b.lora_B.weight": up, "a.b.lora_A.weight": down}
    same = write_layers(read_layers(balanced).layers, torch.float32)
    assert all(torch.equal(same[name], tensor) for name, tensor in balanced.items())
    share = torch.tensor([1e-6, 1.0, 3e4])
    skewed = {"a.b.lora_B.weight": up * share, "a.b.lora_A.weight": down / share[:, None]}
    written = write_layers(read_layers(skewed).layers, torch.float32)
    for k in range(3):
        one = torch.outer(skewed["a.b.lora_B.weight"][:, k], skewed["a.b.lora_A.weight"][k])
        assert torch.equal(torch.outer(written["a.b.lora_B.weight"][:, k], written["a.b.lora_A.weight"][k]), one)
        norms = written["a.b.lora_B.weight"][:, k].norm(), written["a.b.lora_A.weight"][k].norm()
        assert 0.5 <= norms[0] / norms[1] <= 2


def test_factors_of_nothing_are_written_as_they_are():
    silent = Layer(low_rank=LowRank(torch.zeros(2, 1), torch.ones(1, 2), (2, 2)))
    written = write_layers({"a": silent}, torch.float32)
    assert not written["a.lora_up.weight"].any() and torch.equal(written["a.lora_down.weight"], torch.ones(1, 2))


def test_alpha_is_float32_and_equals_the_rank():
    written = write_layers(read_layers(lora("a", rank=3)).layers, torch.bfloat16)
    assert written["a.alpha"].dtype == torch.float32 and written["a.alpha"] == 3
    assert written["a.lora_up.weight"].dtype == torch.bfloat16


def test_files_of_mixed_ranks_have_one_alpha():
    layers = read_layers(lora("lora_unet_a", rank=1) | lora("lora_unet_b", rank=3)).layers
    written = write_layers(layers, torch.float32)
    assert {float(tensor) for name, tensor in written.items() if name.endswith("alpha")} == {3.0}
    for name, layer in read_layers(written).layers.items():
        assert torch.allclose(layer.dense(), layers[name].dense(), rtol=1e-6, atol=1e-7)


def test_norms_are_written_as_norms():
    written = write_layers({"a": Layer(full=torch.ones(3), bias=torch.ones(3))}, torch.float32)
    assert written.keys() == {"a.w_norm", "a.b_norm"}


def test_metadata_is_kept_tags_added_and_the_recipe_written():
    one = LoraModel(
        {},
        {
            "ss_tag_frequency": json.dumps({"set": {"cat": 2, "hat": 1}}),
            "modelspec.title": "One",
            "ss_network_dim": "8",
        },
    )
    two = LoraModel(
        {}, {"ss_tag_frequency": json.dumps({"set": {"cat": 3}}), "modelspec.title": "Two", "modelspec.author": "B"}
    )
    metadata = merged_metadata([one, two], {"method": "linear"})
    assert json.loads(metadata["ss_tag_frequency"]) == {"set": {"cat": 5, "hat": 1}}
    assert (
        metadata["modelspec.title"] == "One"
        and metadata["modelspec.author"] == "B"
        and "ss_network_dim" not in metadata
    )
    assert json.loads(metadata["styledelta.recipe"]) == {"method": "linear"}
