"""Pairs of files for high and low noise, by the names that makers of LoRAs give them."""

import pytest

from delta.lora.pairs import split_pairs
from delta.lora.stack import StackEntry

# Both files of pairs as they are named by lightx2v, Seko, MPS and on Civitai, and by Chinese makers.
PAIRS = [
    (
        "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
    ),
    ("Wan2.2-I2V-Seko-V1/high_noise_model.safetensors", "Wan2.2-I2V-Seko-V1/low_noise_model.safetensors"),
    ("Wan2.2-Fun-InP-high-noise-MPS.safetensors", "Wan2.2-Fun-InP-low-noise-MPS.safetensors"),
    ("Wan22_Ink_HIGH.safetensors", "Wan22_Ink_LOW.safetensors"),
    ("InkHighNoise_v2.safetensors", "InkLowNoise_v2.safetensors"),
    ("wan22HIGHNOISE.safetensors", "wan22LOWNOISE.safetensors"),
    ("ink_highnoise.safetensors", "ink_lownoise.safetensors"),
    ("high/ink_HIGH.safetensors", "low/ink_LOW.safetensors"),
    ("high\\ink.safetensors", "low\\ink.safetensors"),
    ("ink-H-e8.safetensors", "ink-L-e8.safetensors"),
    ("ink_hn.safetensors", "ink_ln.safetensors"),
    ("ink_high_noise.safetensors", "Ink-Low-Noise.safetensors"),
    ("ink_\u9ad8\u566a.safetensors", "ink_\u4f4e\u566a.safetensors"),
]
NAMES = [name for pair in PAIRS[:-2] for name in pair]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("side", [0, 1])
def test_a_row_of_either_file_gives_both(pair, side):
    split = split_pairs([StackEntry(pair[side], 0.8, 0.5, "attn2=0", 0.6)], [*pair, "other.safetensors"])
    assert split.high == [(pair[0], 0.8, 0.5)] and split.low == [(pair[1], 0.6, 0.5)]
    assert split.high[0].block_weights == split.low[0].block_weights == "attn2=0"
    assert split.lines == [f"1. high noise 0.8 {pair[0]}, low noise 0.6 {pair[1]}"]


def test_strengths_multiply_and_without_its_own_low_noise_has_that_of_the_row():
    split = split_pairs([("ink_high.safetensors", 0.8, 1.0)], ["ink_high.safetensors", "ink_low.safetensors"], 0.5, 2.0)
    assert split.high == [("ink_high.safetensors", 0.4, 1.0)] and split.low == [("ink_low.safetensors", 1.6, 1.0)]


@pytest.mark.parametrize(
    "name",
    [
        "ink.safetensors",
        "slow_flow.safetensors",
        "Highlights.safetensors",
        "yellow_glow.safetensors",
        "a_l.safetensors",
    ],
)
def test_a_name_of_no_side_goes_to_both(name):
    split = split_pairs([StackEntry(name, 0.7, 0.3, "", 0.2)], [name, *NAMES])
    assert split.high == [(name, 0.7, 0.3)] and split.low == [(name, 0.2, 0.3)]
    assert split.lines[0].endswith("its name names no side, so both use it")


def test_a_name_of_both_sides_goes_to_both():
    name = "ink_high_low_merged.safetensors"
    split = split_pairs([(name, 1, 1)], [name])
    assert split.high == split.low == [(name, 1, 1)]


def test_rows_of_both_files_keep_their_own_strengths():
    high, low = PAIRS[0]
    split = split_pairs([(high, 0.9, 1), (low, 0.4, 1)], NAMES)
    assert split.high == [(high, 0.9, 1)] and split.low == [(low, 0.4, 1)]
    assert all(line.endswith("; its partner has a row of its own") for line in split.lines)


def test_a_file_without_its_partner_goes_to_its_own_side_and_says_what_is_missing():
    split = split_pairs([("ink_low_noise.safetensors", 1, 1), ("plain.safetensors", 0.5, 1)], NAMES)
    assert split.high == [("plain.safetensors", 0.5, 1)]
    assert split.low == [("ink_low_noise.safetensors", 1, 1), ("plain.safetensors", 0.5, 1)]
    assert split.lines[0].endswith("; used for its side only, as there is no ink_high_noise.safetensors")


def test_a_side_may_have_no_rows():
    split = split_pairs([StackEntry("ink_high.safetensors", 1, 0.5, "middle=0")], ["ink_high.safetensors"])
    assert split.high == [("ink_high.safetensors", 1, 0.5)] and split.low == []


def test_a_partner_that_two_files_may_be_is_refused():
    with pytest.raises(
        ValueError, match="partner of ink_high.safetensors could be Ink_LOW.safetensors or ink-low.safetensors"
    ):
        split_pairs([("ink_high.safetensors", 1, 1)], ["Ink_LOW.safetensors", "ink-low.safetensors"])
    names = ["Ink_LOW.safetensors", "ink_low.safetensors"]
    assert split_pairs([("ink_high.safetensors", 1, 1)], names).low == [("ink_low.safetensors", 1, 1)]


@pytest.mark.parametrize("stack", [None, []])
def test_empty_stacks_give_two_empty_ones(stack):
    assert split_pairs(stack, NAMES) == ([], [], [])
