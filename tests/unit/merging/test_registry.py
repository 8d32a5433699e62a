from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from delta.linear_algebra.factors import LowRank, zeros
from delta.merging import merge, methods, registry
from delta.merging.registry import merge_method

PACKAGE = Path(registry.__file__).parent
NAMES = sorted(methods())
ALIKE = [name for name in NAMES if methods()[name].min_parts == 1]
STOCHASTIC = [name for name in NAMES if methods()[name].stochastic]
# k-means starts from the first part's units, and dropping draws in the order of the parts.
SYMMETRIC = [name for name in ALIKE if name not in STOCHASTIC]


def matrix(merged: LowRank | Tensor) -> Tensor:
    return merged if isinstance(merged, Tensor) else merged.to_dense()


def test_finds_the_methods_of_every_module() -> None:
    declared = {}
    for path in PACKAGE.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and any("merge_method" in ast.unparse(d) for d in node.decorator_list):
                declared[node.name] = source.splitlines()[node.decorator_list[0].lineno - 2]
    assert set(NAMES) == set(declared)
    # The line above says which paper a method is from, or that it is from none.
    assert all(line.startswith("# ") for line in declared.values())


@pytest.mark.parametrize("name", NAMES)
def test_describes_each_method(name: str) -> None:
    method = methods()[name]
    assert method.name == name and method.label and method.doc
    assert all(isinstance(value, float) for value in method.parameters.values())
    for parameter in method.parameters:
        assert parameter in method.doc, parameter


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


@pytest.mark.parametrize("kind", ["dense", "factors"])
def test_a_convolution_is_a_matrix_of_its_rows(kind: str, random_part) -> None:
    name = next(name for name in SYMMETRIC if methods()[name].kind == kind)
    flat = [random_part(1, 3, 6, 18), random_part(2, 2, 6, 18)]
    conv = [LowRank(part.up, part.down, (6, 2, 3, 3)) for part in flat]
    merged = merge(name, conv, [1.0, 1.0], {})
    assert merged.shape == ((6, 18) if kind == "dense" else (6, 2, 3, 3))
    assert torch.allclose(matrix(merged).flatten(1), matrix(merge(name, flat, [1.0, 1.0], {})), atol=1e-6)


@pytest.fixture
def toy(monkeypatch) -> Callable[..., None]:
    """A function that registers a method for the time of a test."""
    methods()
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    return lambda function, **options: merge_method("Toy", **options)(function)


def test_explains_what_is_wrong(toy, random_part) -> None:
    def plain(parts, weights):
        """The first."""
        return parts[0]

    def of_two(parts, weights, *, amount: float = 0.3, width: float = 0.14):
        """The second."""
        return parts[1]

    toy(plain)
    toy(of_two, min_parts=2, max_parts=2)
    part, other = random_part(1, 3), random_part(1, 3, 6, 6)
    with pytest.raises(ValueError, match="no merge method 'average'.*of_two, plain"):
        merge("average", [part], [1.0], {})
    with pytest.raises(ValueError, match=r"no parameter alpha, x.*amount \(default 0.3\), width \(default 0.14\)"):
        merge("of_two", [part], [1.0], {"x": 0.5, "alpha": 1.0})
    with pytest.raises(ValueError, match="no parameter keep. Its parameters: none"):
        merge("plain", [part], [1.0], {"keep": 0.5})
    with pytest.raises(ValueError, match="exactly 2 LoRAs, not 3"):
        merge("of_two", [part] * 3, [1.0] * 3, {})
    with pytest.raises(ValueError, match="1 or more LoRAs, not 0"):
        merge("plain", [], [], {})
    with pytest.raises(ValueError, match="as many weights, not 1"):
        merge("plain", [part, part], [1.0], {})
    with pytest.raises(ValueError, match="shapes"):
        merge("plain", [part, other], [1.0, 1.0], {})
    with pytest.raises(ValueError, match="Two merge methods are named 'plain'"):
        toy(plain)
