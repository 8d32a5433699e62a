from __future__ import annotations

import pytest
import torch
from torch import Tensor

from delta.linear_algebra.factors import LowRank, zeros
from delta.merging import merge, methods

NAMES = sorted(methods())
ALIKE = [name for name in NAMES if methods()[name].min_parts == 1]
STOCHASTIC = [name for name in NAMES if methods()[name].stochastic]
# k-means starts from the first part's units, and dropping draws in the order of the parts.
SYMMETRIC = [name for name in ALIKE if name not in STOCHASTIC]


def matrix(merged: LowRank | Tensor) -> Tensor:
    return merged if isinstance(merged, Tensor) else merged.to_dense()


def test_finds_the_methods_of_every_module() -> None:
    assert set(NAMES) == {
        *("linear", "slerp", "knots", "tsv_m", "iso_c", "iso_cts", "star", "svc", "ct_merging", "np_lora"),
        *("remove_subspace", "lora_lego", "ties", "dare", "della", "breadcrumbs"),
    }
    assert STOCHASTIC == ["dare", "della", "lora_lego"]
    assert [name for name in NAMES if methods()[name].kind == "dense"] == ["breadcrumbs", "dare", "della", "ties"]


@pytest.mark.parametrize("name", NAMES)
def test_describes_each_method(name: str) -> None:
    method = methods()[name]
    assert method.name == name and method.label
    assert all(isinstance(value, float) for value in method.parameters.values())
    assert "arXiv" in method.doc or name in ("slerp", "remove_subspace")


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("absent", ["none", "rank 0", "weight 0", "zeros"])
def test_a_lone_part_is_scaled(name: str, absent: str, random_part) -> None:
    part = random_part(1, 3)
    empty = {"rank 0": zeros(part.shape), "weight 0": random_part(2, 5), "zeros": random_part(2, 5).scale(0.0)}
    others = [empty[absent]] if absent in empty else []
    weights = [-0.7, *([0.0] if absent == "weight 0" else [1.0] * len(others))]
    merged = matrix(merge(name, [part, *others], weights, {}))
    assert torch.allclose(merged, -0.7 * part.to_dense(), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_gives_zero(name: str) -> None:
    merged = matrix(merge(name, [zeros((6, 4)), zeros((6, 4))], [1.0, 1.0], {}))
    assert merged.shape == (6, 4) and not merged.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, -1.0), (0.3, -2.0)])
def test_duplicates_stay_finite(name: str, weights: tuple[float, float], random_part) -> None:
    part = random_part(3, 4)
    merged = matrix(merge(name, [part, part], weights, {}))
    assert merged.isfinite().all()
    # STAR restores the nuclear norm on fewer directions, which is the largest gain of all.
    assert merged.norm() <= 2.0 * torch.linalg.matrix_norm(part.to_dense(), "nuc") + 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_does_not_depend_on_the_factors(name: str, random_part, regauged) -> None:
    parts = [random_part(1, 3), random_part(2, 5)]
    merged = matrix(merge(name, parts, [0.8, -1.3], {}, seed=5))
    again = matrix(merge(name, [regauged(part) for part in parts], [0.8, -1.3], {}, seed=5))
    assert torch.allclose(merged, again, atol=1e-5)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_the_order_of_parts_does_not_matter(name: str, random_part) -> None:
    parts, weights = [random_part(1, 3), random_part(2, 5), random_part(3, 2)], [0.8, -1.3, 0.5]
    merged = matrix(merge(name, parts, weights, {}))
    turned = matrix(merge(name, [*parts[1:], parts[0]], [*weights[1:], weights[0]], {}))
    assert torch.allclose(merged, turned, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_common_factor_of_the_weights_is_one_of_the_result(name: str, random_part) -> None:
    parts = [random_part(1, 3), random_part(2, 5)]
    single = matrix(merge(name, parts, [0.5, 0.7], {}, seed=1))
    # The weights of the others say nothing in a removal, and that of the first scales it as well.
    assert torch.allclose(matrix(merge(name, parts, [1.5, 2.1], {}, seed=1)), 3.0 * single, atol=2e-5)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_seed_decides(name: str, random_part) -> None:
    parts, weights = [random_part(seed, 12) for seed in (1, 2, 3)], [1.0, 1.0, 1.0]
    first = matrix(merge(name, parts, weights, {}, seed=1, layer_name="a"))
    merge(name, parts, weights, {}, seed=1, layer_name="b")
    assert torch.equal(first, matrix(merge(name, parts, weights, {}, seed=1, layer_name="a")))
    assert not torch.equal(first, matrix(merge(name, parts, weights, {}, seed=2, layer_name="a")))
    assert not torch.equal(first, matrix(merge(name, parts, weights, {}, seed=1, layer_name="b")))


def test_a_convolution_is_a_matrix_of_its_rows(random_part) -> None:
    flat = [random_part(1, 3, 6, 18), random_part(2, 2, 6, 18)]
    conv = [LowRank(part.up, part.down, (6, 2, 3, 3)) for part in flat]
    assert torch.equal(merge("ties", conv, [1.0, 1.0], {}), merge("ties", flat, [1.0, 1.0], {}))
    assert merge("tsv_m", conv, [1.0, 1.0], {}).shape == (6, 2, 3, 3)


def test_explains_what_is_wrong(random_part) -> None:
    part, other = random_part(1, 3), random_part(1, 3, 6, 6)
    with pytest.raises(ValueError, match="no merge method 'average'.*linear"):
        merge("average", [part], [1.0], {})
    with pytest.raises(ValueError, match=r"no parameter alpha, density.*drop \(default 0.3\), window \(default 0.14\)"):
        merge("della", [part], [1.0], {"density": 0.5, "alpha": 1.0})
    with pytest.raises(ValueError, match="no parameter keep. Its parameters: none"):
        merge("linear", [part], [1.0], {"keep": 0.5})
    with pytest.raises(ValueError, match="exactly 2 LoRAs, not 3"):
        merge("slerp", [part] * 3, [1.0] * 3, {})
    with pytest.raises(ValueError, match="1 or more LoRAs, not 0"):
        merge("linear", [], [], {})
    with pytest.raises(ValueError, match="as many weights, not 1"):
        merge("linear", [part, part], [1.0], {})
    with pytest.raises(ValueError, match="shapes"):
        merge("linear", [part, other], [1.0, 1.0], {})


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *((name, "keep", value) for name in ("ties", "knots", "star") for value in (-0.1, 1.1, float("nan"))),
        *(("dare", "drop", value) for value in (-0.1, 1.0)),
        *(("della", name, value) for name, value in (("drop", 1.0), ("window", -1.0))),
        *(("breadcrumbs", name, 1.5) for name in ("drop_smallest", "drop_largest")),
        *(("slerp", "t", 1.5), ("np_lora", "mu", -1.0), ("tsv_m", "rank", -1.0), ("iso_cts", "common", 2.0)),
        *(("svc", "alpha", 0.0), ("ct_merging", "common_rank", -1.0), ("lora_lego", "clusters", -1.0)),
        *(("remove_subspace", name, -1.0) for name in ("column_space", "row_space")),
    ],
)
def test_refuses_parameters_out_of_range(name: str, parameter: str, value: float, random_part) -> None:
    with pytest.raises(ValueError, match=parameter):
        merge(name, [random_part(1, 3), random_part(2, 5)], [1.0, 1.0], {parameter: value})
