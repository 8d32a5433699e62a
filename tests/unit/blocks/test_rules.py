import pytest

from delta.blocks.paths import block_of, block_order, count_by_block, weight_path
from delta.blocks.rules import PRESETS, combined_rules, parse_block_weights, preset_rules

UNET = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
RESNET = "diffusion_model.output_blocks.11.0.in_layers.2.weight"
FLUX = "diffusion_model.double_blocks.3.img_attn.qkv.weight"
MIDDLE = "diffusion_model.middle_block.1.proj_in.weight"
CLIP = "clip_l.transformer.text_model.encoder.layers.3.self_attn.q_proj.weight"
T5 = "t5xxl.transformer.encoder.block.7.layer.0.SelfAttention.q.weight"


@pytest.mark.parametrize(
    ("key", "path", "block"),
    [
        (UNET, "input.4.1.transformer.0.attn2.to_k", "input.4"),
        (RESNET, "output.11.0.in_layers.2", "output.11"),
        (FLUX, "double.3.img_attn.qkv", "double.3"),
        (MIDDLE, "middle.1.proj_in", "middle"),
        (CLIP, "text.clip_l.layer.3.self_attn.q_proj", "text.clip_l"),
        (T5, "text.t5xxl.layer.7.part.0.SelfAttention.q", "text.t5xxl"),
        ("diffusion_model.time_embed.0.weight", "time_embed.0", "time_embed"),
        ("diffusion_model.transformer_blocks.5.attn.to_q.weight", "transformer.5.attn.to_q", "transformer.5"),
    ],
)
def test_paths_name_the_block_first(key, path, block):
    assert ".".join(weight_path(key)) == path
    assert block_of(weight_path(key)) == block


@pytest.mark.parametrize(
    ("rules", "key", "factor"),
    [
        ("", UNET, 1.0),
        ("input.4=0.5", UNET, 0.5),
        ("input.4=0.5", RESNET, 1.0),
        ("output.1=0", RESNET, 1.0),  # 1 is not 11
        ("output.8-11=0.25", RESNET, 0.25),
        ("output.8-10=0.25", RESNET, 1.0),
        ("double.*=0.8", FLUX, 0.8),
        ("attn2=0", UNET, 0.0),
        ("input.4=0.5, attn2=0", UNET, 0.0),
        ("attn2=0, input.4=0.5", UNET, 0.5),  # the last rule decides
        ("*=0\nmiddle=1", MIDDLE, 1.0),
        ("*=0; middle=1", UNET, 0.0),
        ("input.4.1.transformer.0.attn2.to_k=-2", UNET, -2.0),
        ("input.4.attn2=0.5", UNET, 0.5),
        ("input.4.attn1=0.5", UNET, 1.0),
        ("input.0.attn2=0.5", UNET, 1.0),  # a number stands right after its name
        ("attn2.input=0.5", UNET, 1.0),  # parts in order
        ("text.t5xxl.layer.0-5=0", T5, 1.0),
        ("text.t5xxl.layer.7=0", T5, 0.0),
        ("text=0", CLIP, 0.0),
        ("text=0", UNET, 1.0),
        ("text.clip_l.layer.2-4=0.5", CLIP, 0.5),
        ("input.4|middle=0.5", UNET, 0.5),
        ("input.4|middle=0.5", MIDDLE, 0.5),
        ("input.5|double=0.5", UNET, 1.0),
        ("*\uff1d0\uff1binput.4\uff1d0.5\uff0cattn1=2", UNET, 0.5),  # as a Chinese keyboard types it
    ],
)
def test_rules(rules, key, factor):
    assert parse_block_weights(rules).factor(weight_path(key)) == factor


@pytest.mark.parametrize(
    "text",
    [
        "input.4",
        "input.4=",
        "input.4=much",
        "=1",
        "0.5,0.5",
        "input.4=nan",
        "input.4=-inf",
        "input.=1",
        ".=1",
        "input..4=1",
        "input.4|=1",
    ],
)
def test_rules_that_cannot_be_read_are_quoted(text):
    with pytest.raises(ValueError, match="cannot be read.*input.4=0.5"):
        parse_block_weights(text)


def test_rules_that_match_nothing_are_told():
    weights = parse_block_weights("input.4=0.5, double.0=1, text=1")
    assert weights.unused([weight_path(UNET)]) == ["double.0"]


def test_rules_that_leave_nothing_name_the_blocks_there_are():
    paths = [weight_path(FLUX), weight_path("diffusion_model.single_blocks.0.linear1.weight"), weight_path(CLIP)]
    for preset, asked in (("encoder half", "input"), ("middle only", "middle"), ("decoder half", "output")):
        with pytest.raises(
            ValueError, match=rf"everything except {asked}, and no such block.* The blocks are: double, single\."
        ):
            parse_block_weights(preset_rules(preset)).unused(paths)
    with pytest.raises(ValueError, match="The blocks are: input"):
        parse_block_weights("*=0, double.0=1").unused([weight_path(UNET)])
    # A rule that matches, a block that is off, and a file for the text encoder alone are no such case.
    assert parse_block_weights("*=0, double=1, input=1").unused(paths) == ["input"]
    assert parse_block_weights("*=0, double=0").unused(paths) == []
    assert parse_block_weights(preset_rules("middle only")).unused([weight_path(CLIP)]) == ["middle"]


def chosen(preset: str, *names: str) -> list[str]:
    """The names that a preset leaves on."""
    rules = parse_block_weights(preset_rules(preset))
    return [name for name in names if rules.factor(weight_path(f"diffusion_model.{name}.weight"))]


def test_attention_only_has_all_of_the_attention_of_every_family():
    attention = (
        "blocks.0.q",
        "blocks.0.k",
        "blocks.0.v",
        "blocks.0.attn_out",
        "visual_transformer_blocks.0.cross_attention.to_query",
        "layers.0.self_attention.to_out.0",
        "transformer_blocks.0.audio_to_video_attn.to_q",
        "double_stream_layers.0.img_instruct_attn.to_k",
        "double_blocks.0.txt_attn.qkv",
        "blocks.0.audio_cross_attn_wrapper.audio_cross_attn.o",
        "audio_injector.injector.0.o",
        "joint_blocks.0.x_block.attn2.qkv",
    )
    others = ("blocks.0.ff_proj", "blocks.0.adaln_modulation_self_attn.1", "layers.0.mlp.up_proj")
    assert chosen("attention only", *attention, *others) == list(attention)


def test_cross_attention_only():
    cross = (
        "input_blocks.1.1.transformer_blocks.0.attn2.to_q",
        "blocks.0.cross_attn.q",
        "blocks.0.attn2.q_proj",
        "visual_transformer_blocks.0.cross_attention.to_value",
        "transformer_blocks.0.attn2.to_q",
        "transformer_blocks.0.audio_attn2.to_q",
        "transformer_blocks.0.video_to_audio_attn.to_q",
        "transformer_blocks.0.audio_to_video_attn.to_q",
    )
    others = (
        "joint_blocks.0.x_block.attn2.qkv",
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.audio_attn1.to_q",
        "visual_transformer_blocks.0.self_attention.to_value",
        "blocks.0.adaln_modulation_cross_attn.1",
    )
    assert chosen("cross-attention only", *cross, *others) == list(cross)


def test_audio_and_video_share_no_weight_of_ltx2():
    audio = (
        "audio_patchify_proj",
        "transformer_blocks.0.audio_attn1.to_q",
        "transformer_blocks.0.audio_ff.net.2",
        "transformer_blocks.0.video_to_audio_attn.to_q",
        "transformer_blocks.0.scale_shift_table_a2v_ca_audio",
        "av_ca_v2a_gate_adaln_single.linear",
    )
    video = (
        "patchify_proj",
        "transformer_blocks.0.attn1.to_q",
        "transformer_blocks.0.ff.net.2",
        "transformer_blocks.0.audio_to_video_attn.to_q",
        "transformer_blocks.0.scale_shift_table_a2v_ca_video",
        "av_ca_a2v_gate_adaln_single.linear",
    )
    assert chosen("audio only", *audio, *video) == list(audio)
    assert chosen("video only", *audio, *video) == list(video)
    for preset, quiet, whole in (("audio at half", audio, video), ("video at half", video, audio)):
        rules = parse_block_weights(preset_rules(preset))
        assert {rules.factor(weight_path(f"diffusion_model.{name}.weight")) for name in quiet} == {0.5}
        assert {rules.factor(weight_path(f"diffusion_model.{name}.weight")) for name in whole} == {1.0}
        assert rules.factor(weight_path(CLIP)) == 1


def test_audio_is_a_name_of_its_own_in_rules():
    rules = parse_block_weights("audio|attn2=0.3, audio_attn1=0.6")
    paths = [("transformer", "0", name, "to_q") for name in ("audio_attn2", "attn2", "audio_attn1", "attn1")]
    assert [rules.factor(path) for path in paths] == [0.3, 0.3, 0.6, 1.0]
    assert parse_block_weights("audio=0.3").unused([("block", "0", "attn")]) == ["audio"]


def test_presets():
    for name in PRESETS:
        parse_block_weights(preset_rules(name))
    assert parse_block_weights(preset_rules("attention only")).factor(weight_path(RESNET)) == 0
    for key in (UNET, FLUX, CLIP):
        assert parse_block_weights(preset_rules("attention only")).factor(weight_path(key)) == 1
    for name in PRESETS:
        assert parse_block_weights(preset_rules(name)).factor(weight_path(CLIP)) == (name != "no text encoder")
    style = parse_block_weights(preset_rules("SDXL style block (B-LoRA)"))
    assert style.factor(weight_path("diffusion_model.output_blocks.1.1.transformer_blocks.0.attn1.to_q.weight")) == 1
    assert style.factor(weight_path(RESNET)) == 0
    with pytest.raises(ValueError, match="no block preset `x`.*middle only"):
        preset_rules("x")


def test_blocks_are_ordered_as_data_passes_them():
    blocks = ["time", "single.0", "output.1", "input.10", "middle", "double.3", "input.2", "text.te1", "conv"]
    ordered = ["text.te1", "input.2", "input.10", "middle", "output.1", "double.3", "single.0", "conv", "time"]
    assert sorted(blocks, key=block_order) == ordered


def test_paths_are_counted_by_block():
    paths = [("output", "1", "a"), ("input", "4", "b"), ("output", "1", "c"), ("middle", "d")]
    assert count_by_block(paths) == "input.4 1, middle 1, output.1 2"
    assert count_by_block([]) == ""


def test_own_rules_follow_the_preset():
    assert combined_rules("middle only", " attn2=0 ") == "*=0, text=1, middle=1, attn2=0"
    assert combined_rules("all blocks", "") == ""
    for preset, rules in (("none", ""), ("all blocks", "attn2")):
        with pytest.raises(ValueError):
            combined_rules(preset, rules)
