import hashlib
import json
import time

import pytest
import torch
from safetensors.torch import save_file

from delta.extraction.pair import compare
from delta.families.record import Family
from delta.families.registry import families
from delta.families.stable_diffusion import SD, SDXL
from delta.files.checkpoint import Checkpoint, common
from delta.linear_algebra.noise import rounding_variance

BY_NAME = {family.name: family for family in families()}
# Families of which whole files of diffusers are read.
IN_DIFFUSERS = [
    BY_NAME[name]
    for name in (
        *("Stable Diffusion 1 or 2", "SDXL", "SDXL refiner", "Flux.1", "FLUX.2", "Chroma"),
        *("Stable Diffusion 3", "AuraFlow", "PixArt", "Z-Image"),
    )
]
BLOCKS = "01"
CLIP_LAYER = "encoder.layers.0.self_attn.q_proj.weight"


def numbers(name: str, *shape: int) -> torch.Tensor:
    """Random numbers that the name decides."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write(path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


@pytest.fixture
def opened(tmp_path):
    """A function that writes tensors into a file and opens it."""
    return lambda tensors, name="model.safetensors", metadata=None: Checkpoint(
        write(tmp_path / name, tensors, metadata)
    )


def rows_of(family: Family) -> list:
    """Every row of the record, for two blocks of each kind."""
    rows = []
    for row in family.weights:
        count = max(path.count("#") for path in (row.comfy, *row.parts))
        rows += [row.of_block([number] * count) for number in (BLOCKS if count else "0")]
    return list(dict.fromkeys(rows))


def whole(family: Family) -> dict[str, torch.Tensor]:
    """Every weight of the record under ComfyUI's path, three numbers a row, and its marks."""
    rows = {f"{row.comfy}.weight": 2 * sum(row.shares) for row in rows_of(family)} | dict.fromkeys(family.marks, 2)
    return {name: numbers(name, count, 3) for name, count in rows.items() if name not in family.lacks}


def in_diffusers(family: Family) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(tensors by diffusers' names, the weights that they are by ComfyUI's)."""
    theirs, ours = {}, {}
    last_context = f"joint_blocks.{BLOCKS[-1]}.context_block.adaLN_modulation.1"
    for weight in rows_of(family):
        for ending, width in (("weight", (3,)), ("bias", ())):
            names = weight.parts or (weight.comfy,)
            parts = [numbers(f"{part}.{ending}", 2 * n, *width) for part, n in zip(names, weight.shares)]
            theirs |= {f"{part}.{ending}": value for part, value in zip(names, parts)}
            value = torch.cat(parts)
            is_scale = weight.parts and ending == "weight" and weight.comfy.endswith(("query_norm", "key_norm"))
            name = f"diffusion_model.{weight.comfy}.{'scale' if is_scale else ending}"
            ours[name] = value.flip(0) if weight.swapped or weight.comfy == last_context else value
    return theirs, ours


def assert_read(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert checkpoint.shapes.keys() == expected.keys()
    for name, value in expected.items():
        stored = checkpoint.read(name).value
        assert stored.dtype == torch.float32 and stored.shape == value.shape == checkpoint.shapes[name]
        assert torch.equal(stored, value), name


PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.model.", "net.", "model.", "")


@pytest.mark.parametrize("family", BY_NAME.values(), ids=lambda family: family.name)
def test_every_family_is_told_behind_every_prefix_that_comfyui_takes_off(opened, family):
    weights = whole(family)
    expected = {f"diffusion_model.{name}" for name in weights}
    for prefix in PREFIXES:
        checkpoint = opened({prefix + name: value for name, value in weights.items()})
        assert checkpoint.architecture == family.name and not checkpoint.left_out and not checkpoint.notes
        assert checkpoint.shapes.keys() == expected, prefix
    name = next(iter(weights))
    assert torch.equal(checkpoint.read(f"diffusion_model.{name}").value, weights[name])


@pytest.mark.parametrize("family", IN_DIFFUSERS, ids=lambda family: family.name)
def test_diffusers_names_are_mapped_and_parts_are_fused(opened, family):
    theirs, ours = in_diffusers(family)
    checkpoint = opened(theirs)
    assert checkpoint.architecture == family.name and not checkpoint.left_out and not checkpoint.notes
    assert_read(checkpoint, ours)


@pytest.mark.parametrize("family", IN_DIFFUSERS, ids=lambda family: family.name)
def test_one_strange_name_among_those_of_diffusers_is_enough_to_refuse_a_file(opened, family):
    theirs = in_diffusers(family)[0] | {"transformer_blocks.0.mystery.weight": torch.ones(2)}
    with pytest.raises(ValueError, match="names of (diffusers|another program).*Use the version for ComfyUI"):
        opened(theirs)


FOREIGN = [family for family in BY_NAME.values() if family.foreign]


@pytest.mark.parametrize("family", FOREIGN, ids=lambda family: family.name)
def test_diffusers_files_whose_names_are_not_translated_are_refused_by_their_family(opened, family):
    with pytest.raises(ValueError, match=f"is .*{family.name}.* for diffusers, whose names are not ComfyUI's. Use"):
        opened({name: torch.ones(2) for name in (*family.foreign, "mystery.weight")})


def test_names_that_diffusers_and_comfyui_share_are_kept(opened):
    weights = whole(BY_NAME["Qwen-Image"])
    assert_read(opened(weights), {f"diffusion_model.{name}": value for name, value in weights.items()})


def test_hunyuan_video_by_tencent_is_renamed_as_the_host_does(opened):
    weights = whole(BY_NAME["HunyuanVideo"])
    renamed = {
        "double_blocks.0.img_attn_qkv": "double_blocks.0.img_attn.qkv",
        "double_blocks.1.txt_attn_q_norm": "double_blocks.1.txt_attn.norm.query_norm",
        "double_blocks.1.txt_mlp.fc2": "double_blocks.1.txt_mlp.2",
        "single_blocks.0.k_norm": "single_blocks.0.norm.key_norm",
        "single_blocks.0.modulation.linear": "single_blocks.0.modulation.lin",
        "txt_in.t_embedder.mlp.2": "txt_in.t_embedder.out_layer",
        "txt_in.c_embedder.linear_1": "txt_in.c_embedder.in_layer",
        "guidance_in.mlp.0": "guidance_in.in_layer",
    }
    theirs = {name: value for name, value in weights.items() if name.removesuffix(".weight") not in renamed.values()}
    theirs |= {f"{old}.weight": weights[f"{new}.weight"] for old, new in renamed.items()}
    assert_read(opened(theirs), {f"diffusion_model.{name}": value for name, value in weights.items()})


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_model_of_an_unknown_family_keeps_its_names_and_a_note_says_so(opened, prefix):
    names = ("blocks.0.attn.strange.weight", "blocks.1.attn.strange.weight", "time_in.weight")
    checkpoint = opened({prefix + name: numbers(name, 2) for name in names})
    assert_read(checkpoint, {f"diffusion_model.{name}": numbers(name, 2) for name in names})
    assert checkpoint.architecture is None and not checkpoint.left_out
    assert checkpoint.notes == [
        "model.safetensors belongs to no known family: its weights keep the names they have in the file"
    ]
    assert UNKNOWN_NOTE in compare(checkpoint, checkpoint).notes[-1]


UNKNOWN_NOTE = "belongs to no known family"


def test_fused_attention_of_a_released_stable_cascade_is_split(opened):
    family = BY_NAME["Stable Cascade"]
    weights = whole(family)
    layer = next(name for name in weights if name.endswith("attention.attn.to_q.weight")).removesuffix("to_q.weight")
    parts = [weights.pop(f"{layer}to_{part}.weight") for part in "qkv"]
    checkpoint = opened(weights | {f"{layer}in_proj_weight": torch.cat(parts)})
    for part, value in zip("qkv", parts):
        assert torch.equal(checkpoint.read(f"diffusion_model.{layer}to_{part}.weight").value, value)
    assert checkpoint.architecture == family.name and checkpoint.shapes.keys() == opened(whole(family)).shapes.keys()


@pytest.mark.parametrize("prefix", ["core.", "net.", ""])
def test_modulation_of_a_released_pixeldit_is_taken_apart(opened, prefix):
    """For each pixel of a patch: shift, scale and gate of the attention, then those of the MLP."""
    weights = whole(BY_NAME["PixelDiT"])
    block = "pixel_blocks.0.adaLN_modulation"
    for layer in ("msa", "mlp"):
        del weights[f"{block}_{layer}.weight"]
    pixels, width = 2, len(weights["pixel_embedder.proj.weight"])
    fused = torch.arange(pixels * 6 * width * 3).reshape(-1, 3).float()
    checkpoint = opened({prefix + name: value for name, value in (weights | {f"{block}.0.weight": fused}).items()})
    half = 3 * width
    expected = {
        "msa": [*range(half), *range(2 * half, 3 * half)],
        "mlp": [*range(half, 2 * half), *range(3 * half, 4 * half)],
    }
    for layer, rows in expected.items():
        stored = checkpoint.read(f"diffusion_model.{block}_{layer}.weight").value
        assert (
            torch.equal(stored, fused[rows])
            and stored.shape == checkpoint.shapes[f"diffusion_model.{block}_{layer}.weight"]
        )


@pytest.mark.parametrize("ending", ["SAFETENSORS", "Safetensors", "SFT"])
def test_endings_in_capitals_are_read(opened, ending):
    assert opened({"out.2.weight": torch.ones(2), "input_blocks.0.0.weight": torch.ones(2)}, f"X.{ending}").shapes


# Weights of diffusers that carry no LoRA: not in the tables of architectures, but weights all the same.
SD3_NAMES = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj.weight": "x_embedder.proj.weight",
    "context_embedder.bias": "context_embedder.bias",
    "time_text_embed.timestep_embedder.linear_2.weight": "t_embedder.mlp.2.weight",
    "time_text_embed.text_embedder.linear_1.bias": "y_embedder.mlp.0.bias",
    "proj_out.weight": "final_layer.linear.weight",
    "transformer_blocks.0.attn.norm_q.weight": "joint_blocks.0.x_block.attn.ln_q.weight",
    "transformer_blocks.0.attn2.norm_k.weight": "joint_blocks.0.x_block.attn2.ln_k.weight",
    "transformer_blocks.0.attn.norm_added_k.weight": "joint_blocks.0.context_block.attn.ln_k.weight",
    "transformer_blocks.0.norm1_context.linear.bias": "joint_blocks.0.context_block.adaLN_modulation.1.bias",
}
SD3_SWAPPED = {
    "norm_out.linear.weight": "final_layer.adaLN_modulation.1.weight",
    "transformer_blocks.1.norm1_context.linear.weight": "joint_blocks.1.context_block.adaLN_modulation.1.weight",
}
Z_IMAGE_NAMES = {
    "layers.0.attention.norm_q.weight": "layers.0.attention.q_norm.weight",
    "noise_refiner.1.attention_norm2.weight": "noise_refiner.1.attention_norm2.weight",
    "layers.0.ffn_norm1.weight": "layers.0.ffn_norm1.weight",
    "all_final_layer.2-1.linear.weight": "final_layer.linear.weight",
    "all_x_embedder.2-1.bias": "x_embedder.bias",
    "cap_embedder.1.weight": "cap_embedder.1.weight",
    "t_embedder.mlp.0.bias": "t_embedder.mlp.0.bias",
    "x_pad_token": "x_pad_token",
}


@pytest.mark.parametrize(
    ("architecture", "names"), [("Stable Diffusion 3", SD3_NAMES), ("Z-Image", Z_IMAGE_NAMES)], ids=["SD3", "Z-Image"]
)
def test_diffusers_names_outside_the_tables(opened, architecture, names):
    theirs, ours = in_diffusers(BY_NAME[architecture])
    checkpoint = opened(theirs | {name: numbers(name, 4, 2) for name in names})
    assert_read(checkpoint, ours | {f"diffusion_model.{new}": numbers(old, 4, 2) for old, new in names.items()})


def test_scale_and_shift_of_the_last_norms_change_places(opened):
    sd3 = opened(in_diffusers(BY_NAME["Stable Diffusion 3"])[0] | {name: numbers(name, 4, 2) for name in SD3_SWAPPED})
    for old, new in SD3_SWAPPED.items():
        assert torch.equal(sd3.read(f"diffusion_model.{new}").value, numbers(old, 4, 2)[[2, 3, 0, 1]])
    flux = opened(in_diffusers(BY_NAME["Flux.1"])[0] | {"norm_out.linear.weight": numbers("flux", 6, 2)})
    stored = flux.read("diffusion_model.final_layer.adaLN_modulation.1.weight").value
    assert torch.equal(stored, numbers("flux", 6, 2)[[3, 4, 5, 0, 1, 2]])


def test_a_projection_keeps_the_shape_that_the_file_gives_it(opened):
    name = "input_blocks.4.1.proj_in.weight"
    kernel, linear = numbers("proj", 4, 4, 1, 1), numbers("proj", 4, 4)
    tuned, base = opened({name: kernel}, "a.safetensors"), opened({name: linear}, "b.safetensors")
    assert tuned.shapes[f"diffusion_model.{name}"] == (4, 4, 1, 1)
    assert common(tuned, base).shared == [f"diffusion_model.{name}"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cond_stage_model.transformer.text_model.", "clip_l.transformer.text_model."),
        ("cond_stage_model.transformer.", "clip_l.transformer.text_model."),
        ("conditioner.embedders.0.transformer.text_model.", "clip_l.transformer.text_model."),
        ("text_encoders.clip_g.transformer.text_model.", "clip_g.transformer.text_model."),
        ("text_model.", "clip_l.transformer.text_model."),
    ],
)
def test_text_encoders_of_checkpoints(opened, theirs, ours):
    value = numbers("q", 4, 3)
    checkpoint = opened({theirs + CLIP_LAYER: value, f"{theirs}embeddings.position_ids": torch.arange(77)})
    assert_read(checkpoint, {f"text_encoders.{ours}{CLIP_LAYER}": value})
    assert checkpoint.left_out == [f"{theirs}embeddings.position_ids"]


@pytest.mark.parametrize(("width", "kind"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g")])
@pytest.mark.parametrize("level", ["text_model.", ""], ids=["with its level", "without"])
def test_a_text_encoder_alone_is_told_by_its_width(opened, width, kind, level):
    names = (CLIP_LAYER, "embeddings.token_embedding.weight", "final_layer_norm.weight")
    tensors = {level + name: numbers(name, width) for name in names}
    prefix = f"text_encoders.{kind}.transformer.text_model."
    assert_read(opened(tensors), {prefix + name: numbers(name, width) for name in names})


def test_t5_alone(opened):
    names = ("encoder.block.0.layer.0.SelfAttention.q.weight", "encoder.final_layer_norm.weight", "shared.weight")
    checkpoint = opened({name: numbers(name, 4, 2) for name in names} | {"lm_head.weight": torch.ones(2)})
    assert_read(checkpoint, {f"text_encoders.t5xxl.transformer.{name}": numbers(name, 4, 2) for name in names})
    assert checkpoint.left_out == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("prefix", "width", "kind"),
    [
        ("cond_stage_model.model.", 1024, "clip_h"),
        ("conditioner.embedders.0.model.", 1024, "clip_h"),
        ("conditioner.embedders.0.model.", 1280, "clip_g"),
        ("conditioner.embedders.1.model.", 1280, "clip_g"),
    ],
)
def test_open_clip_is_renamed_split_and_transposed(opened, prefix, width, kind):
    given = {
        "ln_final.weight": numbers("norm", width),
        "positional_embedding": numbers("positions", 5, 4),
        "token_embedding.weight": numbers("tokens", 6, 4),
        "text_projection": numbers("projection", 4, 2),
        "transformer.resblocks.1.attn.in_proj_weight": numbers("qkv", 12, 4),
        "transformer.resblocks.1.attn.in_proj_bias": numbers("qkv bias", 12),
        "transformer.resblocks.1.attn.out_proj.bias": numbers("out", 4),
        "transformer.resblocks.1.ln_2.weight": numbers("ln", 4),
        "transformer.resblocks.1.mlp.c_fc.weight": numbers("fc", 8, 4),
        "transformer.resblocks.1.mlp.c_proj.weight": numbers("proj", 4, 8),
    }
    expected = {
        "text_model.final_layer_norm.weight": given["ln_final.weight"],
        "text_model.embeddings.position_embedding.weight": given["positional_embedding"],
        "text_model.embeddings.token_embedding.weight": given["token_embedding.weight"],
        "text_projection.weight": given["text_projection"].T,
        "text_model.encoder.layers.1.self_attn.out_proj.bias": numbers("out", 4),
        "text_model.encoder.layers.1.layer_norm2.weight": numbers("ln", 4),
        "text_model.encoder.layers.1.mlp.fc1.weight": numbers("fc", 8, 4),
        "text_model.encoder.layers.1.mlp.fc2.weight": numbers("proj", 4, 8),
    }
    for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
        layer = f"text_model.encoder.layers.1.self_attn.{part}"
        expected[f"{layer}.weight"] = numbers("qkv", 12, 4)[4 * index : 4 * index + 4]
        expected[f"{layer}.bias"] = numbers("qkv bias", 12)[4 * index : 4 * index + 4]
    checkpoint = opened(
        {prefix + name: value for name, value in given.items()} | {f"{prefix}logit_scale": torch.ones(1)}
    )
    assert_read(checkpoint, {f"text_encoders.{kind}.transformer.{name}": value for name, value in expected.items()})
    assert checkpoint.left_out == [f"{prefix}logit_scale"]


def test_both_encoders_of_sdxl_are_told_apart(opened):
    checkpoint = opened(
        {
            "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": torch.ones(768),
            "conditioner.embedders.1.model.ln_final.weight": torch.ones(1280),
        }
    )
    assert set(checkpoint.shapes) == {
        "text_encoders.clip_l.transformer.text_model.final_layer_norm.weight",
        "text_encoders.clip_g.transformer.text_model.final_layer_norm.weight",
    }


def test_what_is_no_weight_of_the_model_is_listed(opened):
    others = {
        "first_stage_model.decoder.conv_in.weight",
        "model_ema.decay",
        "model_ema.diffusion_modelout0weight",
        "betas",
    }
    checkpoint = opened(
        {"model.diffusion_model.out.0.weight": torch.ones(2)} | {name: torch.ones(2) for name in others}
    )
    assert list(checkpoint.shapes) == ["diffusion_model.out.0.weight"]
    assert set(checkpoint.left_out) == others


FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64)
LAYER = "diffusion_model.double_blocks.0.img_mlp.0"


@pytest.mark.parametrize("dtype", FLOATS)
def test_plain_storage_is_cast_and_its_rounding_known(opened, dtype):
    stored = numbers("stored", 6, 5).to(dtype)
    value, variance = opened({f"{LAYER}.weight": stored}).read(f"{LAYER}.weight")
    assert torch.equal(value, stored.float()) and value.dtype == torch.float32
    kind = torch.float32 if dtype == torch.float64 else dtype
    assert variance == pytest.approx(rounding_variance(stored.float(), kind))


@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (6, 1)], ids=str)
def test_scaled_storage(opened, ending, dtype, shape):
    stored = (numbers("stored", 6, 5) * 20).to(dtype)
    scale = numbers("scale", *shape).abs() + 0.1
    sides = {
        f"{LAYER}.{ending}": scale,
        f"{LAYER}.input_scale": torch.ones(()),
        "diffusion_model.scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn),
    }
    checkpoint = opened(sides | {f"{LAYER}.weight": stored, f"{LAYER}.bias": torch.ones(6)})
    assert list(checkpoint.shapes) == [f"{LAYER}.bias", f"{LAYER}.weight"] and not checkpoint.left_out
    value, variance = checkpoint.read(f"{LAYER}.weight")
    rows = scale.flatten().expand(6)
    assert torch.equal(value, stored.float() * rows[:, None])
    expected = [rounding_variance(row, dtype) * float(factor) ** 2 for row, factor in zip(stored, rows)]
    assert variance == pytest.approx(sum(expected) / 6, rel=1e-5)


def test_the_variance_of_a_fused_weight_is_the_mean_of_its_parts(opened):
    tensors, _ = in_diffusers(BY_NAME["Flux.1"])
    names = [
        f"single_transformer_blocks.0.{part}.weight" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ]
    tensors |= {name: tensors[name].to(torch.bfloat16) for name in names[:3]}
    tensors[f"{names[3].removesuffix('weight')}scale_weight"] = torch.tensor(0.5)
    tensors[names[3]] = tensors[names[3]].to(torch.float8_e4m3fn)
    value, variance = opened(tensors).read("diffusion_model.single_blocks.0.linear1.weight")
    assert torch.equal(value[6:], tensors[names[3]].float() * 0.5)
    parts = [rounding_variance(tensors[name], torch.bfloat16) for name in names[:3]]
    parts.append(rounding_variance(tensors[names[3]], torch.float8_e4m3fn) / 4)
    assert variance == pytest.approx((sum(parts[:3]) + 4 * parts[3]) / 7)


def settings(**content) -> torch.Tensor:
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


def test_comfyuis_own_plain_formats_are_read(opened):
    sides = {f"{LAYER}.comfy_quant": settings(format="float8_e4m3fn"), f"{LAYER}.weight_scale": torch.tensor(2.0)}
    checkpoint = opened(sides | {f"{LAYER}.weight": torch.ones(2, 2).to(torch.float8_e4m3fn)})
    assert torch.equal(checkpoint.read(f"{LAYER}.weight").value, torch.full((2, 2), 2.0))


def test_a_files_choice_of_attention_is_no_weight(opened):
    # ComfyUI's pull request 16419: the settings of a module as JSON, beside its weights.
    choice = {f"{LAYER.rpartition('.')[0]}.comfy_attention.config": settings(attention="comfy_kitchen_int8")}
    checkpoint = opened(choice | {f"{LAYER}.weight": torch.ones(2, 2)})
    assert checkpoint.shapes.keys() == opened({f"{LAYER}.weight": torch.ones(2, 2)}).shapes.keys()


@pytest.mark.parametrize(
    "sides",
    [
        {"weight_scale": torch.ones(4, 2)},
        {"weight_scale": torch.ones(1, 4)},
        {"weight_scale": torch.ones(4, 1), "comfy_quant": settings(format="int8_tensorwise", convrot=True)},
        {
            "weight_scale": torch.ones(4, 1),
            "comfy_quant": settings(format="int8_tensorwise", params={"convrot": True, "convrot_groupsize": 4}),
        },
        {"weight_scale": torch.ones(4, 1), "comfy_quant": settings(format="int8_of_tomorrow")},
    ],
    ids=["blocks", "columns", "rotated", "rotated by its params", "unknown"],
)
def test_other_scales_are_refused(opened, sides):
    tensors = {f"{LAYER}.{ending}": value for ending, value in sides.items()}
    checkpoint = opened(tensors | {f"{LAYER}.weight": torch.ones(4, 4, dtype=torch.int8)})
    with pytest.raises(ValueError, match=f"model.safetensors: {LAYER}.weight is quantised.*extract from the MODEL"):
        checkpoint.read(f"{LAYER}.weight")


@pytest.mark.parametrize(
    ("dtype", "sides"),
    [(torch.uint8, ("weight_scale", "weight_scale_2")), (torch.uint8, ("comfy_quant",)), (torch.int8, ())],
    ids=["nvfp4", "comfy_quant", "int8 without a scale"],
)
def test_packed_weights_are_refused_when_the_file_is_opened(opened, dtype, sides):
    tensors = {f"{LAYER}.{ending}": torch.ones(1, dtype=torch.uint8) for ending in sides}
    with pytest.raises(ValueError, match=f"{LAYER}.weight is packed.*extract from the MODEL"):
        opened(tensors | {f"{LAYER}.weight": torch.ones(4, 4, dtype=dtype)})


@pytest.mark.parametrize("exponents", [torch.uint8, torch.float8_e8m0fnu])
def test_mxfp8_is_refused_before_its_padded_size_is_compared(opened, exponents):
    """A weight of 20 x 40 is stored as 32 x 64, with a scale for every 32 numbers of a row."""
    tensors = {
        f"{LAYER}.weight": torch.zeros(32, 64).to(torch.float8_e4m3fn),
        f"{LAYER}.weight_scale": torch.ones(128, 4, dtype=torch.uint8).view(exponents),
        f"{LAYER}.comfy_quant": settings(format="mxfp8"),
    }
    with pytest.raises(ValueError, match=f"{LAYER}.weight is quantised in blocks and padded.*extract from the MODEL"):
        opened(tensors)


def test_weights_that_the_metadata_calls_rotated_are_refused(opened):
    metadata = {"_quantization_metadata": '{"layers": {"a": {"format": "int8_tensorwise", "convrot": true}}}'}
    with pytest.raises(ValueError, match="rotated"):
        opened({f"{LAYER}.weight": torch.ones(2)}, metadata=metadata)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_with_the_name_of_the_tensor(opened, bad):
    tensors = {"input_blocks.0.0.weight": torch.ones(2), "out.2.weight": torch.tensor([1.0, bad])}
    checkpoint = opened(tensors)
    checkpoint.read("diffusion_model.input_blocks.0.0.weight")
    with pytest.raises(ValueError, match="model.safetensors: out.2.weight holds NaN or infinite"):
        checkpoint.read("diffusion_model.out.2.weight")


def test_a_value_is_a_copy(opened):
    checkpoint = opened({"out.2.weight": torch.ones(2), "input_blocks.0.0.weight": torch.ones(2)})
    checkpoint.read("diffusion_model.out.2.weight").value.zero_()
    assert checkpoint.read("diffusion_model.out.2.weight").value.tolist() == [1, 1]


def sd15_pipeline(folder, variant: str = "") -> dict[str, torch.Tensor]:
    theirs, ours = in_diffusers(SD)
    write(folder / "unet" / f"diffusion_pytorch_model{variant}.safetensors", theirs)
    write(folder / "text_encoder" / f"model{variant}.safetensors", {f"text_model.{CLIP_LAYER}": torch.ones(2)})
    write(folder / "vae" / "diffusion_pytorch_model.safetensors", {"decoder.conv_in.weight": torch.ones(2)})
    return ours | {f"text_encoders.clip_l.transformer.text_model.{CLIP_LAYER}": torch.ones(2)}


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_a_pipeline_of_diffusers(tmp_path, variant):
    ours = sd15_pipeline(tmp_path / "pipeline", variant)
    checkpoint = Checkpoint(tmp_path / "pipeline")
    assert checkpoint.name == "pipeline"
    assert_read(checkpoint, ours)


def test_a_component_of_diffusers_and_its_file(tmp_path):
    ours = sd15_pipeline(tmp_path)
    denoiser = {name for name in ours if name.startswith("diffusion_model.")}
    assert Checkpoint(tmp_path / "unet").shapes.keys() == denoiser
    assert Checkpoint(tmp_path / "unet" / "diffusion_pytorch_model.safetensors").shapes.keys() == denoiser
    assert len(Checkpoint(tmp_path / "text_encoder").shapes) == 1


def test_full_precision_is_preferred(tmp_path):
    for variant, value in ((".fp16", 1.0), ("", 2.0), (".non_ema", 3.0)):
        file = tmp_path / f"diffusion_pytorch_model{variant}.safetensors"
        write(file, {"input_blocks.0.0.weight": torch.full((2,), value)})
    assert Checkpoint(tmp_path).read("diffusion_model.input_blocks.0.0.weight").value[0] == 2


def write_shards(folder, index: bool = True) -> dict[str, torch.Tensor]:
    """Flux in three shards; the parts of fused weights lie in different ones."""
    theirs, ours = in_diffusers(BY_NAME["Flux.1"])
    files = [f"diffusion_pytorch_model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)]
    weight_map = {name: files[n % 3] for n, name in enumerate(theirs)}
    for file in files:
        write(folder / file, {name: value for name, value in theirs.items() if weight_map[name] == file})
    if index:
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return ours


@pytest.mark.parametrize(
    "given",
    ["", "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model-00002-of-00003.safetensors"],
)
def test_shards_are_read_together(tmp_path, given):
    ours = write_shards(tmp_path / "transformer")
    assert_read(Checkpoint(tmp_path / "transformer" / given), ours)


def test_shards_need_no_index(tmp_path):
    ours = write_shards(tmp_path, index=False)
    assert Checkpoint(tmp_path).shapes.keys() == ours.keys()


@pytest.mark.parametrize("index", [True, False])
def test_missing_shards_are_named(tmp_path, index):
    write_shards(tmp_path, index)
    (tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="^diffusion_pytorch_model-00002-of-00003.safetensors of .*not exist"):
        Checkpoint(tmp_path)


def test_a_shard_that_was_cut_short_is_named(tmp_path):
    write_shards(tmp_path)
    shard = tmp_path / "diffusion_pytorch_model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="^diffusion_pytorch_model-00003-of-00003.safetensors is not a complete"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="model.safetensors.index.json is not a shard index"):
        Checkpoint(tmp_path)


def test_an_index_does_not_lead_out_of_its_folder(tmp_path):
    secret = write(tmp_path / "secret.safetensors", {"out.2.weight": torch.ones(2)})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": f"../{secret.name}"}}))
    with pytest.raises(FileNotFoundError, match="^secret.safetensors of"):
        Checkpoint(folder)


def test_a_fused_weight_without_a_part_is_refused(opened):
    theirs, _ = in_diffusers(BY_NAME["Flux.1"])
    del theirs["transformer_blocks.1.attn.to_k.weight"]
    with pytest.raises(
        ValueError, match=r"holds only 2 of the 3 parts of diffusion_model.double_blocks.1.img_attn.qkv.weight"
    ):
        opened(theirs)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x10", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", b"<html>not found</html>"],
    ids=["empty", "one byte", "huge header", "header longer than the file", "a web page"],
)
def test_files_that_are_no_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="bad.safetensors is not a complete safetensors file.*download or copy it again"
    ):
        Checkpoint(path)


@pytest.mark.parametrize("kept", [0.99, 0.5])
def test_a_truncated_file_is_refused_when_it_is_opened(tmp_path, kept):
    path = write(tmp_path / "cut.safetensors", {"out.2.weight": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
        Checkpoint(path)


def test_a_file_that_shrinks_later_is_refused_when_it_is_read(tmp_path):
    path = write(
        tmp_path / "a.safetensors", {"out.2.weight": torch.ones(1000), "input_blocks.0.0.weight": torch.ones(2)}
    )
    checkpoint = Checkpoint(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="a.safetensors changed"):
        checkpoint.read("diffusion_model.out.2.weight")


@pytest.mark.parametrize("name", ["none.safetensors", "none"])
def test_what_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"{name} of .* does not exist"):
        Checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.ckpt", "a.ckpt is a pickle.*Convert it to safetensors"),
        ("a.PT", "a.PT is a pickle"),
        ("a.gguf", "a.gguf is not a complete GGUF file.*download or copy it again"),
    ],
)
def test_other_kinds_of_files_are_refused(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(ValueError, match=message):
        Checkpoint(tmp_path / name)


def test_folders_that_are_not_of_diffusers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a diffusers folder"):
        Checkpoint(tmp_path)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ValueError, match="unet/diffusion_pytorch_model.bin is a pickle"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"],
            "is not a model; it is a LoRA with ComfyUI names",
        ),
        (["diffusion_model.double_blocks.0.img_attn.qkv.diff"], "is not a model; it is a LoRA"),
        (["transformer_blocks.0.attn.to_q.weight", "controlnet_blocks.0.weight"], "is not a model; it is a ControlNet"),
        (["input_blocks.0.0.weight", "input_hint_block.0.weight"], "is not a model; it is a ControlNet"),
        (["encoder.down.0.block.0.conv1.weight"], "is not a known kind of model; it is a VAE"),
        (["mystery.weight"], "is not a known kind of model; it is a file of 1 tensors such as mystery.weight"),
        (["model_ema.diffusion_modelout0weight"], "holds only the EMA copy of a diffusion model.*pruned version"),
        (
            ["model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"],
            "is not a known kind of model; it is a text encoder",
        ),
        (
            ["control_blocks.0.img_mlp.out.weight", "img_in.weight"],
            "is not a model; it is a Qwen-Image 2.1 Fun ControlNet",
        ),
        (["blocks.0.self_attn.q.oft_R.weight"], "is not a model; it is a LoRA"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(opened, names, message):
    with pytest.raises(ValueError, match=f"model.safetensors {message}"):
        opened({name: torch.ones(2, 2) for name in names})


def test_an_ema_copy_beside_a_text_encoder_is_not_enough(opened):
    with pytest.raises(ValueError, match="only the EMA copy"):
        opened({"model_ema.decay": torch.ones(1), f"cond_stage_model.transformer.{CLIP_LAYER}": torch.ones(2)})


def test_the_fingerprint_is_that_of_the_bytes(tmp_path, opened):
    checkpoint = opened({"out.2.weight": numbers("w", 2000, 300), "input_blocks.0.0.weight": torch.ones(2)})
    assert checkpoint.fingerprint() == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


def test_the_fingerprint_of_a_folder_covers_all_its_files(tmp_path):
    sd15_pipeline(tmp_path)
    before = Checkpoint(tmp_path).fingerprint()
    assert Checkpoint(tmp_path).fingerprint() == before
    write(tmp_path / "text_encoder" / "model.safetensors", {f"text_model.{CLIP_LAYER}": torch.zeros(2)})
    assert Checkpoint(tmp_path).fingerprint() != before


def test_common_weights_in_the_order_of_the_tuned_model(opened):
    weights = whole(SD)
    names = list(weights)
    tuned = opened(
        {f"model.diffusion_model.{name}": value for name, value in weights.items()}
        | {
            "model.diffusion_model.input_blocks.0.0.weight": torch.ones(9, 3),
            "cond_stage_model.transformer.final_layer_norm.weight": torch.ones(2),
        },
        "tuned.safetensors",
    )
    base = opened({name: weights[name].flatten() for name in names[1:]} | {names[0]: torch.ones(2)}, "base.safetensors")
    found = common(tuned, base)
    assert found.shared == [name for name in tuned.shapes if name in found.shared]
    assert found.misfits == ["diffusion_model.input_blocks.0.0.weight"]
    assert found.only_tuned == ["text_encoders.clip_l.transformer.text_model.final_layer_norm.weight"]
    assert not found.only_base and len(found.shared) == len(weights) - 1


@pytest.mark.parametrize(("one", "other"), [("SDXL", "Flux.1"), ("Stable Diffusion 1 or 2", "SDXL")])
def test_different_architectures_are_named_though_they_share_a_text_encoder(opened, one, other):
    encoder = {f"text_encoders.clip_l.transformer.text_model.{CLIP_LAYER}": torch.ones(2)}
    paths = [
        opened({f"diffusion_model.{name}": value for name, value in whole(BY_NAME[kind]).items()} | encoder, f"{n}.sft")
        for n, kind in enumerate((one, other))
    ]
    with pytest.raises(ValueError, match=f"different architectures or sizes: {one} against {other}. They have"):
        common(*paths)


def test_models_of_one_architecture_and_other_sizes_are_refused(opened):
    small = whole(BY_NAME["Wan"])
    large = {name: torch.cat([value, value]) for name, value in small.items()}
    with pytest.raises(ValueError, match="different architectures or sizes: Wan against Wan. They have 0 of"):
        common(opened(small, "a.sft"), opened(large, "b.sft"))


def test_a_text_encoder_is_compared_with_that_of_a_checkpoint(opened):
    encoder = {f"text_encoders.clip_l.transformer.text_model.{CLIP_LAYER}": torch.ones(2)}
    full = opened({f"diffusion_model.{name}": value for name, value in whole(SDXL).items()} | encoder, "a.sft")
    assert common(opened(encoder, "b.sft"), full).shared == list(encoder)


def test_headers_of_a_large_file_are_read_at_once(tmp_path):
    weights = {f"model.diffusion_model.{name}": value for name, value in whole(SDXL).items()}
    path = write(tmp_path / "large.safetensors", weights | {"first_stage_model.padding": torch.zeros(10**7)})
    start = time.perf_counter()
    checkpoint = Checkpoint(path)
    assert len(checkpoint.shapes) == len(weights) and time.perf_counter() - start < 2
