"""What is trained of a model, by its names and shapes."""

import pytest

from delta.training.plan import Choice, plan

BLOCK = "diffusion_model.input_blocks.1."
SHAPES = {
    f"{BLOCK}0.in_layers.0.weight": (32,),
    f"{BLOCK}0.in_layers.0.bias": (32,),
    f"{BLOCK}0.in_layers.2.weight": (32, 32, 3, 3),
    f"{BLOCK}0.in_layers.2.bias": (32,),
    f"{BLOCK}1.transformer_blocks.0.attn1.to_q.weight": (32, 32),
    f"{BLOCK}1.transformer_blocks.0.attn1.to_out.0.weight": (32, 32),
    f"{BLOCK}1.transformer_blocks.0.attn1.to_out.0.bias": (32,),
    f"{BLOCK}1.transformer_blocks.0.ff.net.2.weight": (32, 128),
    f"{BLOCK}1.transformer_blocks.0.norm1.weight": (32,),
    "model_sampling.sigmas": (1000,),
}
MODULES = {
    "": "UNetModel",
    "input_blocks.1.0.in_layers.0": "GroupNorm",
    "input_blocks.1.1.transformer_blocks.0.norm1": "LayerNorm",
}
ATTENTION = [name for name in SHAPES if "attn1" in name and name.endswith("weight")]
KERNEL, NORMS = f"{BLOCK}0.in_layers.2.weight", [f"{BLOCK}0.in_layers.0.weight", f"{BLOCK}0.in_layers.0.bias"]
NORMS = [*NORMS, f"{BLOCK}1.transformer_blocks.0.norm1.weight"]


MATRICES = [name for name, shape in SHAPES.items() if len(shape) > 1]


def made(able=MATRICES, **changes):
    return plan(Choice(**{"tiers": ("norms",), **changes}), SHAPES, MODULES, able)


def test_norms_are_those_of_the_tiers():
    found = made()
    assert list(found.plain) == NORMS and found.factors == {} and found.rank == 0 and not found.biases
    assert found.numbers == 3 * 32


def test_biases_are_all_that_the_model_has():
    found = made(kind="norms and biases")
    biases = [name for name in SHAPES if name.endswith("bias")]
    assert set(found.plain) == {*NORMS, *biases} and found.factors == {} and found.biases


def test_a_lora_of_attention_is_no_feed_forward():
    found = made(kind="LoRA", rank=4, tiers=())
    assert found.plain == {} and list(found.factors) == ATTENTION
    # Two matrices of 32 x 32.
    assert found.numbers == 2 * 4 * (32 + 32)


def test_convolutions_come_with_attention():
    found = made(kind="norms and LoRA", rank=64, layers="attention and convolutions")
    assert set(found.factors) == {*ATTENTION, KERNEL} and list(found.plain) == NORMS
    # No rank is higher than the shorter side of a weight.
    assert found.rank_of(KERNEL) == 32 and found.rank_of(ATTENTION[0]) == 32


def test_layers_on_which_a_lora_cannot_act_are_left_out():
    found = made(kind="LoRA", able=ATTENTION[:1], layers="attention and convolutions")
    assert list(found.factors) == ATTENTION[:1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "hats"}, "hats cannot be trained. Choose one of: norms, norms and biases, LoRA, norms and LoRA"),
        ({"kind": "LoRA", "rank": 0}, "rank 0 cannot be trained. Choose a rank from 1 to 256"),
        ({"kind": "LoRA", "rank": 257}, "rank 257 cannot be trained. Choose a rank from 1 to 256"),
        ({"kind": "LoRA", "layers": "hats"}, "LoRA of hats cannot be trained. Choose one of: attention, attention and"),
        ({"kind": "LoRA", "able": ()}, "has no layers of attention that a LoRA can be trained for. Train the norms"),
        ({"tiers": ("qk_norms",)}, "has no parameters in the tiers that are switched on. It has: norms"),
    ],
)
def test_bad_choices_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)
