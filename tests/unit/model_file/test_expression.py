"""Expressions against the same operations on tensors that are there."""

import pytest
import torch

from delta.model_file.expression import Group, Traced, evaluate, leaf, leaves, origin, positions


def real(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def expressions(values):
    return {name: leaf(name, value.dtype, tuple(value.shape)) for name, value in values.items()}


VALUES = {"qkv": real(12, 4), "one": real(3, 5), "two": real(2, 5)}
OPERATIONS = {
    "third": lambda t: t["qkv"].chunk(3)[1],
    "rows": lambda t: t["qkv"][4:8],
    "turned": lambda t: t["one"].transpose(0, 1).contiguous(),
    "joined": lambda t: torch.cat((t["one"], t["two"])),
    "reshaped": lambda t: t["qkv"].reshape(3, 4, 4)[:, 1:2].clone(),
    "converted": lambda t: t["one"].to(device="cpu", dtype=torch.float64),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_expression_is_what_the_operations_make(name):
    expression, expected = OPERATIONS[name](expressions(VALUES)), OPERATIONS[name](VALUES)
    assert expression.shape == expected.shape and expression.dtype == expected.dtype
    assert torch.equal(evaluate(expression, VALUES), expected)


def test_leaves_and_origins():
    tensors = expressions(VALUES)
    assert leaves(OPERATIONS["joined"](tensors)) == ["one", "two"]
    assert origin(tensors["one"]) == origin(tensors["one"].detach()) == "one"
    assert origin(tensors["one"][:2]) is None


def test_places_are_counted_through_the_leaves():
    tensors = expressions(VALUES)
    joined = torch.cat((tensors["two"], tensors["one"].flip(0)))
    assert positions(joined, {"one": (3, 5), "two": (2, 5)})[:, 0].tolist() == [15, 20, 10, 5, 0]


def test_a_change_of_a_part_goes_back_to_its_rows():
    tensors, values = expressions(VALUES), {"qkv": VALUES["qkv"]}
    group = Group({"q": tensors["qkv"][:4], "k": tensors["qkv"][4:8]}, values)
    group.change("k", lambda value: value + 1)
    expected = VALUES["qkv"].clone()
    expected[4:8] += 1
    assert torch.equal(group.values()["qkv"], expected)


def test_a_change_of_a_turned_and_joined_weight_goes_back():
    tensors, values = expressions(VALUES), {name: VALUES[name] for name in ("one", "two")}
    group = Group({"w": OPERATIONS["joined"](tensors).transpose(0, 1).contiguous()}, values)
    group.change("w", lambda value: 2 * value)
    assert all(torch.equal(value, 2 * VALUES[name]) for name, value in group.values().items())


def test_a_computed_weight_is_not_put_back():
    group = Group({"w": expressions(VALUES)["one"] + 1}, {"one": VALUES["one"]})
    with pytest.raises(ValueError, match="ComfyUI computes w"):
        group.change("w", lambda value: value)


def filled(tensors):
    """What ComfyUI does to fuse weights: an empty tensor, filled part by part; and rows of rows."""
    out = torch.empty((7, 5), dtype=tensors["one"].dtype)
    out[:3] = tensors["one"]
    rows = out.narrow(0, 3, 4)
    rows[:2] = tensors["two"]
    rows[2:] = tensors["one"][1:]
    return out.clone()


def test_an_empty_tensor_is_filled():
    with Traced():
        expression = filled(expressions(VALUES))
    assert leaves(expression) == ["one", "two"] and torch.equal(evaluate(expression, VALUES), filled(VALUES))


def test_values_cannot_be_asked_for():
    tensors = expressions(VALUES)
    with pytest.raises(NotImplementedError, match="values"):
        bool(tensors["one"].sum() > 0)
    for change in (lambda: tensors["one"].zero_(), lambda: tensors["one"][:2].copy_(torch.ones(2, 5))):
        with pytest.raises(NotImplementedError, match="in place"):
            change()
