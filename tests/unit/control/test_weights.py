"""Weights of a control net by block: rules, soft weights, reports."""

import pytest

from delta.control.weights import (
    ControlBlock,
    ControlLayout,
    ControlWeights,
    all_repeated,
    by_weight,
    each_repeated,
    names_in_short,
    weights_report,
)

NAMES = ("input.0", "input.1", "input.2", "middle")
LAYOUT = ControlLayout(
    "test net",
    tuple(ControlBlock(name, f"zero_convs.{name}", f"skip {name}") for name in NAMES),
    {"output": NAMES[:3], "middle": NAMES[3:]},
)


def test_without_rules_every_block_is_1():
    assert ControlWeights().resolve(LAYOUT) == dict.fromkeys(NAMES, 1.0)


def test_the_last_rule_that_matches_decides():
    weights = ControlWeights("*=0.5, input.1-2=0.8, input.2=-1").resolve(LAYOUT)
    assert weights == {"input.0": 0.5, "input.1": 0.8, "input.2": -1.0, "middle": 0.5}


def test_soft_weights_fall_off_from_the_deepest_block():
    assert list(ControlWeights(falloff=0.5).resolve(LAYOUT).values()) == [0.125, 0.25, 0.5, 1.0]
    assert list(ControlWeights("middle=0, input=2", 0.5).resolve(LAYOUT).values()) == [0.25, 0.5, 1.0, 0.0]


def test_rules_for_other_nets_are_refused_with_the_names_of_this_one():
    with pytest.raises(ValueError, match="output.3, double match no block of this test net. It has: input.0-2, middle"):
        ControlWeights("output.3=0, input.1=1, double=0").resolve(LAYOUT)
    with pytest.raises(ValueError, match="`input.1:0` cannot be read"):
        ControlWeights("input.1:0").resolve(LAYOUT)


def test_the_report_has_the_names_the_modules_and_the_weights():
    report = weights_report(LAYOUT, ControlWeights("middle=0.25", 0.825, 0.5))
    lines = report.splitlines()
    assert lines[0] == "test net: 4 blocks, soft weights with a falloff of 0.825, negative conditioning times 0.5"
    assert lines[2] == "| block   | module             | added to     | weight |"
    rows = [line.strip("|").split("|") for line in lines[4:]]
    assert [row[0].strip() for row in rows] == list(NAMES)
    assert [row[-1].strip() for row in rows] == ["0.5615", "0.6806", "0.825", "0.25"]


def test_blocks_of_one_weight_stand_together():
    weights = {"input.0": 0.5, "input.1": 0.5, "input.2": 1.0, "input.3": 0.5, "middle": 1.0}
    assert by_weight(weights) == {"input.2, middle": 1.0, "input.0-1, input.3": 0.5}
    assert names_in_short(["double.0", "double.1", "single.0", "single.2"]) == ["double.0-1", "single.0", "single.2"]


def test_outputs_are_repeated_over_the_model():
    assert each_repeated("ab", 3, 5) == ("a", "a", "a", "b", "b")
    assert all_repeated("ab", 3, 5) == ("a", "b", "a", "b", "a")
