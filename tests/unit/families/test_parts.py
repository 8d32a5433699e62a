import pytest

from delta.families.parts import ATTENTION, FEED_FORWARD, PARTS, role_of, weights_of

P = "diffusion_model."
SHAPES = {
    f"{P}input_blocks.0.0.weight": (8, 4, 3, 3),
    f"{P}input_blocks.0.0.bias": (8,),
    f"{P}time_embed.0.weight": (8, 8),
    f"{P}t_embedder.mlp.0.weight": (8, 8),
    f"{P}input_blocks.1.0.in_layers.0.weight": (8,),
    f"{P}input_blocks.1.0.in_layers.2.weight": (8, 8, 3, 3),
    f"{P}input_blocks.1.0.emb_layers.1.bias": (8,),
    f"{P}input_blocks.1.1.proj_in.weight": (8, 8, 1, 1),
    f"{P}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": (8, 8),
    f"{P}input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.bias": (8,),
    f"{P}input_blocks.1.1.transformer_blocks.0.norm2.weight": (8,),
    f"{P}input_blocks.1.1.transformer_blocks.0.ff.net.0.proj.weight": (16, 8),
}
BY_HAND = {
    "everything": range(12),
    "norms": (4, 6, 10),
    "attention": (8, 9),
    "feed-forward": (11,),
    "convolutions": (0, 1, 5),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_unet_by_hand(part):
    names = list(SHAPES)
    assert weights_of(part, SHAPES) == [names[index] for index in BY_HAND[part]]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("double_blocks.0.img_attn.qkv.weight", "attention"),
        ("double_blocks.0.txt_mlp.2.bias", "feed-forward"),
        ("single_blocks.0.linear1.weight", "attention"),
        ("blocks.0.cross_attn.k.weight", "attention"),
        ("blocks.0.ffn.2.weight", "feed-forward"),
        ("layers.0.attention.qkv.weight", "attention"),
        ("layers.0.feed_forward.w1.weight", "feed-forward"),
        ("transformer_blocks.0.img_mlp.net.2.weight", "feed-forward"),
        ("joint_blocks.0.x_block.mlp.fc1.weight", "feed-forward"),
        ("double_layers.0.mlpX.c_fc1.weight", "feed-forward"),
        ("double_layers.0.mlpC.c_proj.weight", "feed-forward"),
        ("double_stream_layers.0.img_feed_forward.linear_1.weight", "feed-forward"),
        ("double_stream_layers.0.instruct_feed_forward.linear_3.weight", "feed-forward"),
        ("visual_transformer_blocks.0.self_attention.to_query.weight", "attention"),
        ("visual_transformer_blocks.0.cross_attention.out_layer.bias", "attention"),
        ("layers.0.self_attention.to_out.0.weight", "attention"),
        ("blocks.0.q.weight", "attention"),
        ("blocks.0.attn_out.bias", "attention"),
        ("blocks.0.ff_proj.weight", "feed-forward"),
        ("double_stream_blocks.0.block.ff_i.experts.2.w1.weight", "feed-forward"),
        ("double_stream_blocks.0.block.ff_t.w3.weight", "feed-forward"),
        ("transformer_blocks.0.audio_to_video_attn.to_q.weight", "attention"),
        ("music_encoder.0.linear1.weight", "feed-forward"),
        ("face_adapter.fuser_blocks.0.linear1_kv.weight", "attention"),
        ("tokenizer.attention_pooler.layers.0.mlp.up_proj.weight", "feed-forward"),
    ],
)
def test_layers_of_transformers(name, part):
    assert weights_of(part, {P + name: (8, 8)}) == [P + name]


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.adaln_modulation_mlp.1.weight",
        "blocks.0.adaln_modulation_self_attn.2.weight",
        "y_embedder.y_proj.fc1.weight",
        "t_embedder.mlp.0.weight",
        "distilled_guidance_layer.layers.0.in_layer.weight",
        "blocks.0.norm1.linear.weight",
    ],
)
def test_what_modulates_and_embeds_is_neither(name):
    assert role_of(name) is None


def test_classes_tell_what_names_do_not():
    modules = {
        "injector.0": "WanT2VCrossAttention",
        "blocks.0.block": "GPT2FeedForward",
        "blocks.1": "WanAttentionBlock",
        "guidance.layers.0": "MLPEmbedder",
        "pooler": "AttentionPooler",
    }
    roles = {
        "injector.0.o.weight": ATTENTION,
        "blocks.0.block.layer1.weight": FEED_FORWARD,
        "blocks.1.modulation": None,
        "guidance.layers.0.in_layer.weight": None,
        "pooler.embed_tokens.weight": None,
    }
    assert {name: role_of(name, modules) for name in roles} == roles
    assert not any(role_of(name) for name in roles)


def test_bad_parts_name_the_remedy():
    with pytest.raises(ValueError, match="There is no part legs. Choose one of: everything, norms"):
        weights_of("legs", SHAPES)
    with pytest.raises(ValueError, match="a model of an unknown family has no known convolutions"):
        weights_of("convolutions", {f"{P}blocks.0.ffn.2.weight": (8, 8)})
