import pytest

from delta.families.parts import PARTS, weights_of

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
    ],
)
def test_layers_of_transformers(name, part):
    assert weights_of(part, {P + name: (8, 8)}) == [P + name]


def test_bad_parts_name_the_remedy():
    with pytest.raises(ValueError, match="There is no part legs. Choose one of: everything, norms"):
        weights_of("legs", SHAPES)
    with pytest.raises(ValueError, match="The model has no convolutions"):
        weights_of("convolutions", {f"{P}blocks.0.ffn.2.weight": (8, 8)})
