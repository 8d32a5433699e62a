"""Two names of one weight in a file."""

import pytest
import torch

from delta.lora.twins import join_twins

TARGETS = {
    "lora_te_a": "a.weight",
    "te.a": "a.weight",
    "te.b": ("qkv.weight", (0, 0, 4)),
    "lora_b": ("qkv.weight", (0, 0, 4)),
}


def layer(name: str, value: float, rank: int = 1) -> dict[str, torch.Tensor]:
    endings = ("lora_B", "lora_A") if "." in name else ("lora_up", "lora_down")
    return {
        f"{name}.{endings[0]}.weight": torch.full((2, rank), value),
        f"{name}.{endings[1]}.weight": torch.ones(rank, 3),
    }


def test_updates_of_one_weight_are_added_up_under_the_first_name():
    other = {"te.c.diff": torch.ones(2)}
    alpha = {"lora_te_a.alpha": torch.tensor(0.5)}
    joined = join_twins("x", layer("lora_te_a", 2.0) | alpha | layer("te.a", 3.0) | other, TARGETS)
    up, down = joined.pop("lora_te_a.lora_up.weight"), joined.pop("lora_te_a.lora_down.weight")
    # Half of 2, as alpha is half of the rank, and 3.
    torch.testing.assert_close(joined.pop("lora_te_a.alpha") / len(down) * up @ down, torch.full((2, 3), 4.0))
    assert joined == other


def test_a_file_without_twins_stays_as_it_is():
    tensors = layer("lora_te_a", 2.0) | layer("te.b", 1.0) | layer("unknown.a", 1.0)
    joined = join_twins("x", tensors, TARGETS)
    assert joined.keys() == tensors.keys() and all(joined[name] is tensors[name] for name in tensors)


def test_what_cannot_be_added_up_is_refused_with_both_names():
    with pytest.raises(
        ValueError, match="^x has te.a and lora_te_a, which are the same weight of the model .a.weight.*replaced"
    ):
        join_twins("x", layer("te.a", 1.0) | {"lora_te_a.set_weight": torch.zeros(2, 3)}, TARGETS)
    dora = {"lora_b.dora_scale": torch.ones(2)}
    with pytest.raises(ValueError, match="te.b and lora_b, which are the same weight of the model .qkv.weight"):
        join_twins("x", layer("te.b", 1.0) | layer("lora_b", 1.0) | dora, TARGETS)
