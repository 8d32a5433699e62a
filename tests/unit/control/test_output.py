"""Outputs of a control net scaled by block, picture and mask."""

import pytest
import torch

from delta.control.mask import EffectMask
from delta.control.output import scale_control, slot_factors
from delta.control.weights import ControlBlock, ControlLayout

LAYOUT = ControlLayout(
    "net",
    tuple(ControlBlock(name, name, name) for name in ("input.0", "input.1", "middle")),
    {"output": ("input.0", "input.1"), "middle": ("middle",)},
)
WEIGHTS = {"input.0": 0.5, "input.1": 1.0, "middle": -2.0}


def outputs(*shape: int) -> dict:
    return {"output": [torch.ones(shape), None, torch.ones(shape)], "middle": [torch.ones(shape)]}


def test_each_block_gets_its_factor_and_nothing_changes_in_place():
    control = outputs(2, 3, 4, 4)
    factors = slot_factors(control, LAYOUT, WEIGHTS)
    scaled = scale_control(control, 1.0, factors, None, 2, 1)
    assert [None if x is None else x.unique().tolist() for x in scaled["output"]] == [[0.5], None, [1.0]]
    assert scaled["middle"][0].unique().tolist() == [-2.0]
    assert all((x == 1).all() for name in control for x in control[name] if x is not None)


def test_what_blocks_share_is_computed_once():
    shared = torch.ones(1, 4, 2)
    scaled = scale_control({"input": [shared, shared, shared]}, 1.0, {"input": (2.0, 2.0, 3.0)}, None, 1, 1)["input"]
    assert scaled[0] is scaled[1] and scaled[2].unique().tolist() == [3.0]


def test_nothing_to_scale_returns_the_same_tensors():
    control = outputs(1, 3, 4, 4)
    scaled = scale_control(control, 1.0, {}, None, 1, 1)
    assert all(a is b for name in control for a, b in zip(scaled[name], control[name]))


def test_gain_and_mask_together():
    mask = EffectMask(torch.cat([torch.ones(1, 4, 2), torch.zeros(1, 4, 2)], dim=2), "crop", (1, 4, 4))
    factors = slot_factors(outputs(4, 3, 4, 4), LAYOUT, WEIGHTS)
    scaled = scale_control(outputs(4, 3, 4, 4), -0.5, factors, mask, 4, 2)
    assert scaled["middle"][0][..., 2:].abs().sum() == 0
    assert scaled["middle"][0][..., :2].unique().tolist() == [1.0]
    assert scaled["output"][0][..., :2].unique().tolist() == [-0.25]


def test_an_output_for_all_pictures_grows_where_masks_differ():
    one = {"input": [torch.ones(1, 3, 4, 4)]}
    assert scale_control(one, -1.0, {}, None, 4, 2)["input"][0].shape == (1, 3, 4, 4)
    mask = EffectMask(torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]), "crop", (1, 4, 4))
    assert scale_control(one, 1.0, {}, mask, 4, 2)["input"][0][:, 0, 0, 0].tolist() == [0, 1, 0, 1]


def test_a_net_with_other_outputs_than_known_is_refused():
    control = {"output": [torch.ones(1, 1, 1, 1)], "middle": [torch.ones(1, 1, 1, 1)]}
    with pytest.raises(ValueError, match="made 1 outputs for the model's output blocks instead of 2"):
        slot_factors(control, LAYOUT, WEIGHTS)
