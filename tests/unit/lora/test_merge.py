"""Weights that LoRAs replace or pad, merged as hosts stack the files in their order."""

import pytest
import torch

from delta.linear_algebra.rank import RankChoice
from delta.lora.file import LoraModel, read_layers, write_layers
from delta.lora.merge import merge_loras
from delta.lora.sources import MergeInput, read_sources

NORM = "diffusion_model.double_blocks.0.img_attn.norm.key_norm"
IMAGE = "diffusion_model.img_in"
RANDOM = torch.Generator().manual_seed(0)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RANDOM)


def merged(*rows: tuple[dict[str, torch.Tensor], float], method: str = "linear") -> dict[str, torch.Tensor]:
    inputs = [MergeInput(LoraModel(tensors), strength, 1.0) for tensors, strength in rows]
    layers = merge_loras([read.layers for read in read_sources(inputs)], method, {}, RankChoice("full")).layers
    return write_layers(layers, torch.float32)


SET, SET_AGAIN, CHANGE = ({f"{NORM}.{ending}": rand(6)} for ending in ("set_weight", "set_weight", "w_norm"))
BIAS = {f"{NORM}.diff_b": rand(6)}


@pytest.mark.parametrize("strength", [1.0, 0.3, -2.0])
def test_a_replaced_weight_is_the_same_at_any_strength_but_0(strength):
    written = merged((SET | BIAS, strength))
    assert torch.equal(written[f"{NORM}.set_weight"], SET[f"{NORM}.set_weight"])
    assert torch.equal(written[f"{NORM}.diff_b"], strength * BIAS[f"{NORM}.diff_b"])
    assert merged((SET, 0.0), (CHANGE, 0.5)).keys() == {f"{NORM}.w_norm"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(SET, 0.3), (CHANGE, 0.5)], SET[f"{NORM}.set_weight"] + 0.5 * CHANGE[f"{NORM}.w_norm"]),
        ([(CHANGE, 0.5), (SET, 0.3)], SET[f"{NORM}.set_weight"]),
        ([(SET, 1.0), (SET_AGAIN, 0.1), (CHANGE, -1.0)], SET_AGAIN[f"{NORM}.set_weight"] - CHANGE[f"{NORM}.w_norm"]),
    ],
)
def test_what_comes_after_a_replacement_is_added_and_what_came_before_is_gone(rows, expected):
    written = merged(*rows)
    assert written.keys() == {f"{NORM}.set_weight"} and torch.equal(written[f"{NORM}.set_weight"], expected)


def test_only_linear_merges_a_replaced_weight_with_a_change():
    with pytest.raises(ValueError, match=f"{NORM} is replaced by one LoRA, and only the method linear.*Choose linear"):
        merged((SET, 1.0), (CHANGE, 1.0), method="ties")
    assert merged((SET, 0.5), method="ties").keys() == {f"{NORM}.set_weight"}


def test_a_replacement_beside_an_update_in_one_file_is_refused():
    with pytest.raises(ValueError, match="a has both set_weight and diff; only one can be used"):
        read_layers({"a.set_weight": rand(3), "a.diff": rand(3)})


def lora(columns: int) -> dict[str, torch.Tensor]:
    return {f"{IMAGE}.lora_B.weight": rand(4, 2), f"{IMAGE}.lora_A.weight": rand(2, columns)}


@pytest.mark.parametrize("first", [0, 1])
def test_a_padded_weight_takes_the_update_of_the_one_that_is_not(first):
    control = lora(6) | {f"{IMAGE}.reshape_weight": torch.tensor([4, 6])}
    rows = [(control, 0.4), (lora(3), -0.7)]
    dense = [read_layers(tensors).layers[IMAGE].dense() for tensors, _ in rows]
    written = merged(*(rows if first == 0 else rows[::-1]))
    expected = 0.4 * dense[0]
    expected[:, :3] -= 0.7 * dense[1]
    assert written[f"{IMAGE}.reshape_weight"].tolist() == [4, 6]
    assert torch.allclose(read_layers(written).layers[IMAGE].dense(), expected, atol=1e-6)


def test_a_wider_update_than_the_padded_weight_is_refused():
    control = lora(6) | {f"{IMAGE}.reshape_weight": torch.tensor([4, 6])}
    with pytest.raises(ValueError, match="for different models"):
        merged((control, 1.0), (lora(7), 1.0))


def test_plain_changes_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"a is \(3, 2\) in one LoRA and \(3,\) in another"):
        merged(({"a.diff": rand(3, 2)}, 1.0), ({"a.diff": rand(3)}, 1.0))


def test_the_bias_of_a_part_of_a_weight_is_given_to_the_whole_which_hosts_apply():
    block = "diffusion_model.layers.0.attention"
    part = {
        f"{block}.to_k.{ending}": rand(*shape)
        for ending, shape in (("lora_B.weight", (4, 2)), ("lora_A.weight", (2, 4)))
    }
    bias = rand(4)
    written = merged(
        (part | {f"{block}.to_k.diff_b": bias, "diffusion_model.layers.0.adaLN_modulation.0.diff_b": bias}, 0.5)
    )
    zeros = torch.zeros(4)
    assert torch.equal(written[f"{block}.qkv.diff_b"], 0.5 * torch.cat([zeros, bias, zeros]))
    up, down = written[f"{block}.qkv.lora_B.weight"], written[f"{block}.qkv.lora_A.weight"]
    expected = 0.5 * part[f"{block}.to_k.lora_B.weight"] @ part[f"{block}.to_k.lora_A.weight"]
    assert torch.allclose((up @ down)[4:8], expected, atol=1e-6) and not (up @ down)[:4].any()
