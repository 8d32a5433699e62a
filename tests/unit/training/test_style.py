"""A style and its factors, against matrices that are written out."""

from types import SimpleNamespace

import pytest
import torch

from delta.linear_algebra.factors import LowRank
from delta.training.plan import Plan
from delta.training.style import Style, added, as_lora, first_style

MATRIX, KERNEL, NORM = (f"diffusion_model.a.{name}.weight" for name in ("matrix", "kernel", "norm"))
PLAN = Plan({NORM: (3,)}, {MATRIX: (4, 5), KERNEL: (4, 2, 3, 3)}, rank=2)


def test_the_first_style_changes_nothing_and_can_be_trained():
    style = first_style(PLAN, 0, torch.device("cpu"))
    assert style.names == [NORM, MATRIX, KERNEL] and not style.plain[NORM].any()
    for name, columns in ((MATRIX, 5), (KERNEL, 18)):
        up, down = style.tensors_of(name)
        assert up.shape == (4, 2) and down.shape == (2, columns) and not up.any() and down.all()
        assert up.is_leaf and up.requires_grad and down.is_leaf and down.requires_grad
        assert not style.factors[name].to_dense().any()


def test_the_seed_decides_the_rows_of_down_which_are_about_1_long():
    plan = Plan({}, {MATRIX: (4, 900)}, rank=4)
    one, again, other = (first_style(plan, seed, torch.device("cpu")).factors[MATRIX].down for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=0.1)


def test_a_given_style_stays_the_same_at_a_higher_rank():
    given = Style({NORM: torch.ones(3)}, {MATRIX: LowRank(torch.ones(4, 1), torch.ones(1, 5), (4, 5))})
    with torch.inference_mode():
        style = first_style(PLAN, 0, torch.device("cpu"), given)
    assert style.plain[NORM].tolist() == [1.0] * 3 and style.factors[MATRIX].rank == 2
    assert torch.equal(style.factors[MATRIX].to_dense(), torch.ones(4, 5))
    assert style.factors[MATRIX].down[1].all() and not style.factors[KERNEL].to_dense().any()
    assert not any(tensor.is_inference() for name in style.names for tensor in style.tensors_of(name))


def test_a_copy_is_not_changed_by_steps_and_leaves_names_out():
    style = first_style(PLAN, 0, torch.device("cpu"))
    copy = style.copy(without=[KERNEL])
    with torch.no_grad():
        style.plain[NORM] += 1
        style.factors[MATRIX].up.add_(1)
    assert copy.names == [NORM, MATRIX] and not copy.plain[NORM].any() and not copy.factors[MATRIX].up.any()


def test_a_matrix_acts_on_the_last_axis():
    part = LowRank(torch.randn(4, 2), torch.randn(2, 5), (4, 5))
    features = torch.randn(2, 3, 5)
    assert torch.allclose(added(part, features, None), features @ part.to_dense().T, atol=1e-5)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [((1, 1), (1, 1), (1, 1)), ((2, 2), (0, 1), (1, 2))])
def test_a_kernel_acts_as_the_convolution_of_its_layer(stride, padding, dilation):
    part = LowRank(torch.randn(4, 2), torch.randn(2, 18), (4, 2, 3, 3))
    layer = SimpleNamespace(stride=stride, padding=padding, dilation=dilation)
    features = torch.randn(1, 2, 8, 8)
    wanted = torch.nn.functional.conv2d(features, part.to_dense(), None, stride, padding, dilation)
    assert torch.allclose(added(part, features, layer), wanted, atol=1e-5)


def test_the_result_is_of_the_type_of_the_features():
    part = LowRank(torch.ones(4, 1), torch.ones(1, 5), (4, 5))
    assert added(part, torch.ones(1, 5, dtype=torch.float16), None).dtype == torch.float16


def test_a_style_is_a_lora_of_norms_and_factors():
    style = first_style(PLAN, 0, torch.device("cpu"))
    shapes = {**PLAN.plain, **PLAN.factors}
    lora = as_lora(style.copy(), shapes, {"x": "y"}, "name")
    assert set(lora) == {
        "diffusion_model.a.norm.w_norm",
        *(f"diffusion_model.a.{name}.lora_{half}.weight" for name in ("matrix", "kernel") for half in "AB"),
    }
    assert lora["diffusion_model.a.kernel.lora_A.weight"].shape == (2, 2, 3, 3)
    assert lora.metadata == {"x": "y"} and lora.name == "name"
