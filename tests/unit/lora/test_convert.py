from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from delta.families.registry import families
from delta.linear_algebra.factors import LowRank
from delta.lora.adapters import Layer
from delta.lora.convert import READERS, convert_lora
from delta.lora.file import NAMES_FOR, LoraModel, merged_metadata, read_layers, write_layers
from delta.lora.naming import COMFYUI, CONVENTIONS, DIFFUSERS, KOHYA
from delta.lora.save import NameProof, save_lora

WIDTH = 6
# By family: ComfyUI's paths with how many times the width their rows are, and how diffusers' names begin.
PATHS = {
    "Flux.1": (
        {
            "double_blocks.0.img_attn.qkv": 3,
            "double_blocks.18.txt_attn.qkv": 3,
            "double_blocks.18.img_mod.lin": 6,
            "single_blocks.37.linear1": 7,
            "single_blocks.37.linear2": 1,
            "final_layer.adaLN_modulation.1": 2,
            "txt_in": 1,
        },
        "transformer.",
    ),
    "Z-Image": (
        {
            "layers.29.attention.qkv": 3,
            "layers.29.attention.out": 1,
            "layers.29.adaLN_modulation.0": 4,
            "noise_refiner.1.attention.qkv": 3,
            "context_refiner.0.feed_forward.w1": 2,
        },
        "diffusion_model.",
    ),
    "Wan": (
        {"blocks.39.self_attn.q": 1, "blocks.39.cross_attn.o": 1, "blocks.0.ffn.2": 1, "head.head": 2},
        "transformer.",
    ),
    "HunyuanVideo": (
        {
            "double_blocks.19.img_attn.qkv": 3,
            "double_blocks.0.txt_mlp.0": 4,
            "single_blocks.39.linear1": 7,
            "txt_in.individual_token_refiner.blocks.1.self_attn.qkv": 3,
            "txt_in.individual_token_refiner.blocks.1.adaLN_modulation.1": 2,
            "vector_in.in_layer": 1,
            "final_layer.adaLN_modulation.1": 2,
        },
        "transformer.",
    ),
}
READ = lambda tensors: NameProof(f"names proven: ComfyUI reads all {len(tensors)} tensors")  # noqa: E731
UNREAD = lambda tensors: NameProof("names unproven", list(tensors))  # noqa: E731


def layer(rows: int, seed: int, rank: int = 2) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, generator=generator) for size in ((rows, rank), (rank, WIDTH))]
    return Layer(low_rank=LowRank(*factors, (rows, WIDTH)))


def lora(family: str) -> LoraModel:
    paths, _ = PATHS[family]
    layers = {f"diffusion_model.{path}": layer(rows * WIDTH, seed) for seed, (path, rows) in enumerate(paths.items())}
    return LoraModel(write_layers(layers, torch.float32), {"ss_tag_frequency": "{}"}, "mine")


def dense(tensors) -> dict[str, torch.Tensor]:
    return {name: update.dense() for name, update in read_layers(tensors).layers.items()}


def names_of(model: LoraModel) -> set[str]:
    return set(read_layers(model).layers)


@pytest.mark.parametrize("naming", CONVENTIONS)
@pytest.mark.parametrize("family", PATHS)
def test_there_and_back_the_updates_are_the_same(family, naming):
    given = lora(family)
    there = convert_lora(given, naming, prove=READ)
    back = convert_lora(there.model, COMFYUI, prove=READ)
    assert f"family: {family}" in there.report.splitlines()
    wanted, found = dense(given), dense(back.model)
    assert wanted.keys() == found.keys()
    for name, update in wanted.items():
        assert torch.allclose(found[name], update, atol=1e-6), name


@pytest.mark.parametrize("family", ["Flux.1", "Z-Image", "HunyuanVideo"])
def test_the_parts_of_a_fused_weight_are_its_rows_in_order(family):
    given = lora(family)
    fused = next(name for name in dense(given) if name.endswith("qkv"))
    number = next(part for part in fused.split(".") if part.isdigit())
    apart = dense(convert_lora(given, DIFFUSERS).model)
    parts = [
        next(update for name, update in apart.items() if name.endswith(ending) and f".{number}." in name)
        for ending in ("to_q", "to_k", "to_v")
    ]
    assert torch.allclose(torch.cat(parts), dense(given)[fused], atol=1e-6)


@pytest.mark.parametrize("family", PATHS)
def test_diffusers_names_begin_as_diffusers_reads_them(family):
    converted = convert_lora(lora(family), DIFFUSERS, prove=READ).model
    assert all(name.startswith(PATHS[family][1]) for name in names_of(converted))
    assert converted.metadata == {"ss_tag_frequency": "{}", NAMES_FOR: DIFFUSERS} and converted.name == "mine"


def test_the_report_accounts_for_every_layer():
    lines = convert_lora(lora("Flux.1"), DIFFUSERS, prove=READ).report.splitlines()
    assert lines[:4] == [
        "names proven: ComfyUI reads all 28 tensors",
        "7 layers under the names of diffusers: 4 renamed, 3 split into 10",
        "family: Flux.1",
        "read by: ComfyUI, diffusers",
    ]
    apart = convert_lora(lora("Flux.1"), DIFFUSERS, prove=READ).model
    assert "14 layers under the names of kohya: 4 renamed, 10 fused into 3" in convert_lora(apart, KOHYA).report
    assert "14 layers under the names of diffusers: 14 kept" in convert_lora(apart, DIFFUSERS).report
    alone = {name: tensor for name, tensor in apart.items() if "to_q" not in name and "to_k" not in name}
    assert (
        "10 layers under the names of kohya: 4 renamed, 6 fused into 3" in convert_lora(LoraModel(alone), KOHYA).report
    )


def test_what_comfyui_does_not_read_is_told_first_and_marked():
    converted = convert_lora(lora("Wan"), DIFFUSERS, prove=UNREAD)
    lines = converted.report.splitlines()
    assert lines[0] == "names for diffusers; ComfyUI does not read 8 of 8 tensors"
    assert lines[3] == "read by: not ComfyUI, diffusers"
    assert "transformer.blocks.39.attn1.to_q" in names_of(converted.model)
    back = convert_lora(converted.model, KOHYA, prove=READ).model
    assert NAMES_FOR not in back.metadata


@pytest.mark.parametrize("naming", [COMFYUI, KOHYA])
def test_names_of_comfyui_that_it_does_not_read_are_an_error(naming):
    with pytest.raises(ValueError, match=r"(\d+) of \1 tensors would not be read by ComfyUI"):
        convert_lora(lora("Wan"), naming, prove=UNREAD)


@pytest.mark.parametrize(
    ("family", "naming", "wanted"),
    [
        ("Flux.1", "OneTrainer", "lora_transformer_single_transformer_blocks_37_proj_mlp"),
        ("Z-Image", "OneTrainer", "transformer.layers.29.attention.to_q"),
        ("HunyuanVideo", "OneTrainer", "lora_transformer_transformer_blocks_19_attn_to_q"),
        ("Flux.1", "SimpleTuner LyCORIS", "lycoris_transformer_blocks_0_attn_to_q"),
        ("Wan", "SimpleTuner LyCORIS", "lycoris_blocks_39_attn1_to_q"),
        ("Flux.1", "musubi-tuner", "lora_unet_double_blocks_0_img_attn_qkv"),
        ("Z-Image", "musubi-tuner", "lora_unet_layers_29_attention_to_q"),
        ("Wan", "musubi-tuner", "lora_unet_blocks_39_self_attn_q"),
        ("HunyuanVideo", "musubi-tuner", "lora_unet_double_blocks_0_txt_mlp_fc1"),
        ("HunyuanVideo", "musubi-tuner", "lora_unet_double_blocks_19_img_attn_qkv"),
        ("HunyuanVideo", "musubi-tuner", "lora_unet_single_blocks_39_linear1"),
        ("Wan", "PEFT", "base_model.model.blocks.39.attn1.to_q"),
    ],
)
def test_each_program_has_its_own_names(family, naming, wanted):
    assert wanted in names_of(convert_lora(lora(family), naming).model)


def test_onetrainer_calls_the_layers_of_stable_diffusion_as_kohya_does():
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    given = LoraModel(write_layers({name: layer(6, 1)}))
    apart = convert_lora(given, DIFFUSERS).model
    assert names_of(convert_lora(apart, "OneTrainer").model) == {name}


def test_the_styles_of_the_records_are_of_known_conventions():
    assert {naming for family in families() for naming in family.styles} <= CONVENTIONS.keys()
    assert READERS.keys() == CONVENTIONS.keys() - {COMFYUI}


def test_twins_are_added_up():
    given = {"lora_unet_blocks_0_self_attn_q": layer(6, 1), "diffusion_model.blocks.0.self_attn.q": layer(6, 2)}
    converted = convert_lora(LoraModel(write_layers(given, torch.float32)), COMFYUI)
    assert "1 added to others for the same weight" in converted.report
    (total,) = dense(converted.model).values()
    assert torch.allclose(total, sum(update.dense() for update in given.values()), atol=1e-6)


def test_biases_of_divided_weights_keep_the_name_that_is_read():
    tensors = dict(lora("Flux.1"))
    tensors["diffusion_model.double_blocks.0.img_attn.qkv.diff_b"] = torch.ones(3 * WIDTH)
    converted = convert_lora(LoraModel(tensors), DIFFUSERS)
    assert "1 biases under ComfyUI's names" in converted.report
    assert "diffusion_model.double_blocks.0.img_attn.qkv.diff_b" in converted.model


def dora(*names: str, rows: int = WIDTH) -> dict[str, torch.Tensor]:
    tensors = write_layers({name: layer(rows, seed) for seed, name in enumerate(names)}, torch.float32)
    return tensors | {f"{name}.dora_scale": torch.ones(rows, 1) for name in names}


def test_what_depends_on_its_weight_moves_as_it_is():
    name = "diffusion_model.double_blocks.0.img_mlp.0"
    tensors = dict(lora("Flux.1")) | dora(name)
    converted = convert_lora(LoraModel(tensors), DIFFUSERS)
    new = "transformer.transformer_blocks.0.ff.net.0.proj"
    for ending in ("dora_scale", "lora_A.weight", "lora_B.weight"):
        assert torch.equal(converted.model[f"{new}.{ending}"], tensors[f"{name}.{ending}"])
    assert "8 layers under the names of diffusers: 4 renamed, 3 split into 10, 1 kept unchanged" in converted.report
    assert f"kept unchanged, because it depends on the weight it is applied to: {new}" in converted.report


def test_what_depends_on_a_weight_that_is_divided_is_refused():
    tensors = dict(lora("Flux.1")) | dora("diffusion_model.double_blocks.3.img_attn.qkv", rows=18)
    with pytest.raises(ValueError, match="img_attn.qkv depends on the weight .* is split or fused under .* diffusers"):
        convert_lora(LoraModel(tensors), DIFFUSERS)
    assert convert_lora(LoraModel(tensors), KOHYA).model


def test_what_depends_on_its_weight_cannot_meet_another_update():
    tensors = dict(lora("Wan")) | dora("lora_unet_blocks_39_self_attn_q")
    with pytest.raises(ValueError, match="coincides with another update of its weight"):
        convert_lora(LoraModel(tensors), COMFYUI)


def test_a_lora_that_is_dora_throughout_is_renamed():
    tensors = dora(
        "diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.0.ffn.0", "diffusion_model.head.head"
    )
    converted = convert_lora(LoraModel(tensors), KOHYA)
    assert "lora_unet_blocks_0_self_attn_q.dora_scale" in converted.model
    assert "family: Wan" in converted.report and "3 kept unchanged" in converted.report


@pytest.mark.parametrize("naming", [DIFFUSERS, "musubi-tuner"])
def test_a_family_that_is_not_known_is_never_guessed(naming):
    given = LoraModel(write_layers({"lora_unet_double_blocks_0_img_mlp_0": layer(24, 1)}))
    with pytest.raises(ValueError, match="fit .*Flux.1 and .*HunyuanVideo"):
        convert_lora(given, naming)
    assert "family: Chroma or Flux.1 or " in convert_lora(given, COMFYUI).report


def apply(name, tensors, shape):
    return read_layers({f"{name}.{ending}": tensor for ending, tensor in tensors.items()}).layers[name].dense()


def test_names_for_another_program_are_saved_and_told(tmp_path):
    converted = convert_lora(lora("Wan"), DIFFUSERS, prove=UNREAD).model
    path = tmp_path / "wan.safetensors"
    report = save_lora(converted, path, "float32", apply, prove=UNREAD)
    assert report.splitlines()[0] == "names for diffusers; ComfyUI does not read 8 of 8 tensors"
    with safe_open(path, "pt") as file:
        assert file.metadata()[NAMES_FOR] == DIFFUSERS and set(file.keys()) == set(converted)


def test_other_names_that_are_not_read_are_still_refused(tmp_path):
    converted = convert_lora(lora("Wan"), DIFFUSERS, prove=UNREAD).model
    path = tmp_path / "wan.safetensors"
    with pytest.raises(ValueError, match=r"(\d+) of \1 tensors would not be read"):
        save_lora(LoraModel(converted), path, "float32", apply, prove=UNREAD)
    with pytest.raises(ValueError, match=r"(\d+) of \1 tensors would not be read"):
        save_lora(converted, path, "float32", apply, KOHYA, prove=UNREAD)
    with pytest.raises(ValueError, match="does not read diffusers names for Wan.*Convert LoRA Names"):
        save_lora(lora("Wan"), path, "float32", apply, DIFFUSERS)
    with pytest.raises(ValueError, match=r"(\d+) of \1 tensors would not be read"):
        save_lora(LoraModel(converted, {NAMES_FOR: "anything"}), path, "float32", apply, prove=UNREAD)
    assert not path.exists()


def test_a_merge_is_for_no_program():
    assert NAMES_FOR not in merged_metadata([convert_lora(lora("Wan"), DIFFUSERS).model], {})
