"""A branch changes the output of a layer as the adapter's whole change of the weight does, whatever kind it is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from delta.lora.adapters import read_layer
from delta.lora.branches import Kernel, Part, branch_of

ALPHA = {"alpha": torch.tensor(3.0)}
STRENGTH = 0.7


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def low(rows: int, *columns: int, rank: int = 4, mid: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    ones = (1,) * (len(columns) - 1)
    if not mid:
        return {"lora_up.weight": normal(rows, rank, *ones), "lora_down.weight": normal(rank, *columns)} | ALPHA
    down = normal(rank, columns[0], *ones)
    return low(rows, columns[0], *ones) | {"lora_down.weight": down, "lora_mid.weight": normal(rank, rank, *mid)}


LINEAR = {
    "LoRA": low(12, 10),
    "LoRA of a 1 x 1 kernel": low(12, 10, 1, 1),
    "LoRA without alpha": {name: part for name, part in low(12, 10).items() if name != "alpha"},
    "PEFT": {"lora_B.weight": normal(12, 4), "lora_A.weight": normal(4, 10)},
    "LoKr": {"lokr_w1": normal(3, 2), "lokr_w2": normal(4, 5)} | ALPHA,
    "LoKr in factors": {"lokr_w1_a": normal(3, 2), "lokr_w1_b": normal(2, 2), "lokr_w2_a": normal(4, 3),
                        "lokr_w2_b": normal(3, 5)} | ALPHA,
    "LoHa": {"hada_w1_a": normal(12, 2), "hada_w1_b": normal(2, 10), "hada_w2_a": normal(12, 1),
             "hada_w2_b": normal(1, 10)} | ALPHA,
}  # fmt: skip


def changed(
    tensors: dict, inputs: torch.Tensor, outputs: torch.Tensor, shape: tuple[int, ...], **options
) -> torch.Tensor:
    branch = branch_of(tensors, STRENGTH, shape, **options)
    assert branch is not None
    return branch(inputs, outputs)


def update(tensors: dict, shape: tuple[int, ...]) -> torch.Tensor:
    """What the adapter adds to a weight of that shape."""
    return STRENGTH * read_layer("a", tensors).dense().reshape(shape)


@pytest.mark.parametrize("kind", LINEAR)
def test_a_linear_layer_changes_as_by_the_whole_update(kind):
    inputs, weight = normal(2, 7, 10), normal(12, 10)
    expected = F.linear(inputs, weight + update(LINEAR[kind], (12, 10)))
    torch.testing.assert_close(changed(LINEAR[kind], inputs, F.linear(inputs, weight), (12, 10)), expected)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("mid", [False, True])
def test_a_convolution_slides_as_its_layer_does(dim, mid):
    size, kernel = (9, 8, 7)[:dim], (3,) * dim
    options = {"stride": (2,) * dim, "padding": (1,) * dim, "dilation": (2,) * dim}
    tensors = low(6, 5, *kernel, mid=kernel if mid else ())
    inputs, weight = normal(2, 5, *size), normal(6, 5, *kernel)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dim - 1]
    expected = convolve(inputs, weight + update(tensors, tuple(weight.shape)), **options)
    found = changed(tensors, inputs, convolve(inputs, weight, **options), tuple(weight.shape), kernel=Kernel(**options))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", [Part(0, 4, 12), Part(1, 3, 10)], ids=["outputs", "inputs"])
@pytest.mark.parametrize("kind", ["LoRA", "LoKr"])
def test_a_part_of_a_fused_layer_changes_alone(kind, part):
    inputs = normal(3, 20 if part.dim else 10)
    weight = normal(12 if part.dim else 20, inputs.shape[1])
    whole = torch.zeros_like(weight)
    whole.narrow(*part).copy_(update(LINEAR[kind], (12, 10)))
    found = changed(LINEAR[kind], inputs, F.linear(inputs, weight), (12, 10), part=part)
    torch.testing.assert_close(found, F.linear(inputs, weight + whole))


def test_a_part_of_the_outputs_of_a_convolution_changes_alone():
    tensors, weight, inputs = low(6, 5, 3, 3), normal(10, 5, 3, 3), normal(1, 5, 8, 8)
    whole = torch.zeros_like(weight)
    whole[2:8] = update(tensors, (6, 5, 3, 3))
    found = changed(
        tensors, inputs, F.conv2d(inputs, weight), (6, 5, 3, 3), kernel=Kernel(padding=(0, 0)), part=Part(0, 2, 6)
    )
    torch.testing.assert_close(found, F.conv2d(inputs, weight + whole))


def test_half_precision_loses_no_more_than_its_own_rounding():
    """Beside the layer a change of 1 % is as exact as the outputs are; added to the weight it would lose half its bits."""
    inputs, weight = normal(64, 10), normal(12, 10)
    tensors = LINEAR["LoRA"]
    strength = 0.01 * float(weight.norm() / update(tensors, (12, 10)).norm())
    branch = branch_of(tensors, strength, (12, 10))
    silent = torch.zeros(64, 12, dtype=torch.bfloat16)
    expected = F.linear(inputs, update(tensors, (12, 10)) * strength / STRENGTH)
    found = branch(inputs.bfloat16(), silent).float()
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.9999


NO_BRANCH = {
    "DoRA": LINEAR["LoRA"] | {"dora_scale": torch.ones(12, 1)},
    "a LoRA that pads": LINEAR["LoRA"] | {"reshape_weight": torch.tensor([12, 10])},
    "a whole change": {"diff": normal(12, 10)},
    "GLoRA": {f"{side}.weight": normal(4, 4) for side in ("a1", "a2", "b1", "b2")},
    "OFT": {"oft_blocks": normal(3, 4, 4)},
    "a LoKr of a kernel": {"lokr_w1": normal(3, 2), "lokr_w2": normal(4, 5, 1, 1)},
    "a LoKr of other sides": {"lokr_w1": normal(2, 3), "lokr_w2": normal(4, 5)},
    "a LoHa of high rank": {"hada_w1_a": normal(12, 4), "hada_w1_b": normal(4, 10), "hada_w2_a": normal(12, 4),
                            "hada_w2_b": normal(4, 10)},
    "a LoRA of another shape": low(11, 10),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_BRANCH)
def test_what_needs_the_weight_has_no_branch(kind):
    assert branch_of(NO_BRANCH[kind], 1.0, (12, 10)) is None


def test_some_inputs_of_a_convolution_have_no_branch():
    assert branch_of(low(6, 5, 3, 3), 1.0, (6, 5, 3, 3), part=Part(1, 0, 5)) is None


def test_factors_are_kept_in_the_precision_of_the_file():
    tensors = {name: part.half() for name, part in LINEAR["LoRA"].items()}
    assert {parameter.dtype for parameter in branch_of(tensors, 1.0, (12, 10)).parameters()} == {torch.float16}
