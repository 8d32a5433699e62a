"""The truncated SVD against torch.linalg.svd in float64, on every spectrum that could mislead it."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch.overrides import TorchFunctionMode

from delta.linear_algebra import svd
from delta.linear_algebra.factors import Truncation, small_problems
from delta.linear_algebra.noise import noise_floor
from delta.linear_algebra.rank import energy, error, fixed, full, knee
from delta.linear_algebra.svd import compress, truncated_svd

SPECTRA = {
    "nearly flat": lambda i: i**-0.2,
    "medium": lambda i: i**-0.5,
    "steep": lambda i: i**-1.0,
    "exponential": lambda i: torch.exp(-i / 8),
    "slow exponential": lambda i: torch.exp(-i / 60),
    "flat": torch.ones_like,
    "low rank": lambda i: (i <= 20).double(),
    "clusters": lambda i: 0.1 + 2.4 * (i <= 20) + 0.5 * (i <= 50) + 0.4 * (i <= 120),
    "close pair of levels": lambda i: torch.where(i <= 40, 1.0, 0.99),
    "few strong": lambda i: 1 + 3 * (i == 1) + (i == 2) + 0.3 * (i == 3),
}
SHAPES = [(600, 400), (400, 600), (400, 400), (600, 90)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The matrices are so small that threads which wait for a busy core cost more than all the rest."""
    with small_problems():
        yield


class Calls(TorchFunctionMode):
    """Counts the calls of a function on a square matrix of this size, and lets them fail where that is asked for."""

    def __init__(self, function, size: int, fails: bool = False) -> None:
        super().__init__()
        self.function, self.size, self.fails, self.count = function, size, fails, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is self.function and args[0].shape == (self.size, self.size):
            self.count += 1
            if self.fails:
                raise torch.linalg.LinAlgError("no convergence")
        return function(*args, **(kwargs or {}))


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_spectrum(name: str, rows: int, columns: int) -> torch.Tensor:
    if name == "noise":
        return random(rows, columns)
    count = min(rows, columns)
    left = torch.linalg.qr(random(rows, count, seed=2).double())[0]
    right = torch.linalg.qr(random(columns, count, seed=3).double())[0]
    return ((left * SPECTRA[name](torch.arange(1, count + 1).double())) @ right.T).float()


def true_residual(matrix: torch.Tensor, u: torch.Tensor, s: torch.Tensor, vh: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.double() - (u.double() * s.double()) @ vh.double()))


def assert_orthonormal(columns: torch.Tensor) -> None:
    torch.testing.assert_close(columns.T @ columns, torch.eye(columns.shape[1]), rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [*SPECTRA, "noise"])
def test_the_result_is_as_good_as_the_best(name: str, shape: tuple[int, int]) -> None:
    matrix = with_spectrum(name, *shape)
    best = torch.linalg.svdvals(matrix.double())
    for rank in (1, 8, 32):
        u, s, vh, residual = truncated_svd(matrix, rank)
        optimum = float(torch.linalg.vector_norm(best[rank:]))
        rounding = 1e-6 * float(torch.linalg.vector_norm(best))
        assert residual <= 1.005 * optimum + rounding
        assert residual == pytest.approx(true_residual(matrix, u, s, vh), rel=1e-5, abs=rounding / 10)
        assert s.double().square().sum() >= 0.95 * best[:rank].square().sum()
        assert_orthonormal(u)
        assert_orthonormal(vh.T)
        assert (s[:-1] >= s[1:]).all() and (s <= best[:rank] * (1 + 1e-5) + rounding).all()


def test_flat_spectra_keep_more_than_subspace_iteration() -> None:
    matrix = with_spectrum("nearly flat", 600, 400)
    best = torch.linalg.svdvals(matrix.double())[:32].square().sum()
    ours = truncated_svd(matrix, 32).S.double().square().sum()
    torch.manual_seed(0)
    assert ours > torch.svd_lowrank(matrix, 32, niter=7)[1].double().square().sum()
    assert ours > 0.99 * best


def test_a_smaller_tolerance_is_kept_too() -> None:
    matrix = with_spectrum("medium", 600, 400)
    optimum = float(torch.linalg.vector_norm(torch.linalg.svdvals(matrix.double())[16:]))
    errors = [truncated_svd(matrix, 16, tolerance).residual / optimum - 1 for tolerance in (0.1, 1e-3, 1e-5)]
    assert errors[0] < 0.1 and errors[1] < 1e-3 and errors[2] < 1e-5
    assert errors[2] < errors[0]


def test_the_same_seed_gives_the_same_bits() -> None:
    matrix = with_spectrum("medium", 300, 200)
    first, second = truncated_svd(matrix, 8), truncated_svd(matrix, 8, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], second[:3])) and first.residual == second.residual
    other = truncated_svd(matrix, 8, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first.U, other.U)


def test_the_global_seed_is_neither_used_nor_moved() -> None:
    state = torch.random.get_rng_state()
    truncated_svd(random(100, 90), 3)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_good_spectrum_never_needs_the_gram_matrix() -> None:
    with Calls(torch.linalg.eigh, 200) as calls:
        truncated_svd(with_spectrum("steep", 300, 200), 8)
    assert calls.count == 0


def test_a_tolerance_out_of_reach_takes_the_gram_matrix() -> None:
    matrix = with_spectrum("noise", 300, 200)
    with Calls(torch.linalg.eigh, 200) as calls:
        found = truncated_svd(matrix, 16, tolerance=1e-9)
    assert calls.count == 1
    optimum = torch.linalg.vector_norm(torch.linalg.svdvals(matrix.double())[16:])
    assert found.residual == pytest.approx(float(optimum), rel=1e-9)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)], ids=str)
@pytest.mark.parametrize("fails", [False, True], ids=["gram", "full"])
def test_a_large_rank_takes_the_gram_matrix_and_then_the_full_svd(shape: tuple[int, int], fails: bool) -> None:
    matrix = with_spectrum("medium", *shape)
    with Calls(torch.linalg.eigh, 200, fails) as calls:
        u, s, vh, residual = truncated_svd(matrix, 100)
    assert calls.count == 1
    best = torch.linalg.svdvals(matrix.double())
    torch.testing.assert_close(s.double(), best[:100], rtol=1e-5, atol=0)
    assert residual == pytest.approx(float(torch.linalg.vector_norm(best[100:])), rel=1e-6)
    assert_orthonormal(u)
    assert_orthonormal(vh.T)


def test_a_rank_above_the_matrix_is_the_whole_matrix() -> None:
    matrix = random(30, 20)
    u, s, vh, residual = truncated_svd(matrix, 64)
    assert u.shape == (30, 20) and s.shape == (20,) and vh.shape == (20, 20)
    torch.testing.assert_close((u * s) @ vh, matrix, rtol=0, atol=1e-5)
    assert residual < 1e-5


def test_rank_0_keeps_nothing() -> None:
    matrix = random(30, 20)
    u, s, vh, residual = truncated_svd(matrix, 0)
    assert u.shape == (30, 0) and s.shape == (0,) and vh.shape == (0, 20)
    assert residual == pytest.approx(float(matrix.double().norm()), rel=1e-12)


@pytest.mark.parametrize("shape", [(90, 120), (1, 7), (7, 1), (0, 5)], ids=str)
def test_nothing_in_nothing_out(shape: tuple[int, int]) -> None:
    u, s, vh, residual = truncated_svd(torch.zeros(shape), 4)
    assert residual == 0 and not s.any() and len(s) == min(4, *shape)
    assert_orthonormal(u)
    assert_orthonormal(vh.T)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1)], ids=str)
def test_a_single_row_or_column(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    u, s, vh, residual = truncated_svd(matrix, 1)
    torch.testing.assert_close((u * s) @ vh, matrix)
    assert residual < 1e-5 and float(s) == pytest.approx(float(matrix.norm()), rel=1e-6)


def test_few_nonzero_entries_do_not_break_the_iteration() -> None:
    matrix = torch.zeros(300, 200)
    matrix[range(25), range(25)] = torch.linspace(2, 1, 25)
    u, s, vh, residual = truncated_svd(matrix, 20)
    torch.testing.assert_close(s, torch.linspace(2, 1, 25)[:20], rtol=1e-5, atol=0)
    assert residual == pytest.approx(float(torch.linspace(2, 1, 25)[20:].norm()), rel=1e-5)
    assert_orthonormal(u)
    assert_orthonormal(vh.T)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scale_does_not_matter(scale: float) -> None:
    matrix = with_spectrum("medium", 300, 200)
    scaled = truncated_svd(matrix * scale, 8)
    torch.testing.assert_close(scaled.S.double() / scale, truncated_svd(matrix, 8).S.double(), rtol=1e-4, atol=0)


def test_other_types_are_cast_and_the_input_is_left_alone() -> None:
    matrix = with_spectrum("steep", 300, 200).bfloat16().requires_grad_()
    copy = matrix.detach().clone()
    found = truncated_svd(matrix, 8)
    assert {part.dtype for part in found[:3]} == {torch.float32} and not found.U.requires_grad
    assert torch.equal(matrix, copy)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    matrix = random(20, 30)
    matrix[3, 4] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        truncated_svd(matrix, 2)


def test_a_negative_rank_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="Rank -1 is negative"):
        truncated_svd(random(4, 4), -1)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\)"):
        truncated_svd(random(2, 3, 4), 1)


@pytest.mark.parametrize("shape", [(60, 50), (60, 20, 3, 3), (60, 40, 1, 1), (12, 5, 2, 3, 3), (40,)], ids=str)
def test_compressing_keeps_the_shape_and_balances_the_factors(shape: tuple[int, ...]) -> None:
    update = random(*shape)
    found = compress(update, 6)
    assert isinstance(found, Truncation)
    part, values = found.low_rank, found.singular_values
    count = min(6, shape[0], math.prod(shape[1:]))
    assert part.shape == shape and part.rank == count == len(values) and values.dtype == torch.float64
    assert float((update.double() - part.to_dense()).norm()) == pytest.approx(found.residual, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(part.up.norm(dim=0), part.down.norm(dim=1))
    torch.testing.assert_close(part.up.norm(dim=0).square().double(), values, rtol=1e-4, atol=0)


def fail_with_out_of_memory(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Lets the first products of truncated_svd fail; returns a list that collects the tile size of each product."""
    tiles = []

    def failing(real):
        def product(operand: svd._Operand, columns: torch.Tensor) -> torch.Tensor:
            tiles.append(operand.tile)
            if len(tiles) <= times:
                raise torch.OutOfMemoryError("no memory")
            return real(operand, columns)

        return product

    for name in ("times", "transposed_times"):
        monkeypatch.setattr(svd._Operand, name, failing(getattr(svd._Operand, name)))
    return tiles


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)], ids=str)
@pytest.mark.parametrize("rank", [8, 100], ids=["iteration", "gram"])
def test_tiles_of_the_matrix_give_what_the_whole_matrix_gives(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], rank: int
) -> None:
    matrix = with_spectrum("medium", *shape)
    whole = truncated_svd(matrix, rank)
    monkeypatch.setattr(svd, "TILE_ELEMENTS", 1000)
    tiles = fail_with_out_of_memory(monkeypatch, 1)
    tiled = truncated_svd(matrix, rank)
    assert len(tiles) > 1 and set(tiles[1:]) == {1000}
    torch.testing.assert_close(tiled.S, whole.S, rtol=1e-5, atol=0)
    assert tiled.residual == pytest.approx(whole.residual, rel=1e-6)
    torch.testing.assert_close((tiled.U * tiled.S) @ tiled.Vh, (whole.U * whole.S) @ whole.Vh, rtol=0, atol=1e-4)


def test_the_cpu_takes_over_where_tiles_are_still_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = with_spectrum("medium", 300, 200)
    whole = truncated_svd(matrix, 8)
    tiles = fail_with_out_of_memory(monkeypatch, 2)
    found = truncated_svd(matrix, 8)
    assert tiles[1] == svd.TILE_ELEMENTS and set(tiles[2:]) == {tiles[0]}
    assert all(torch.equal(one, other) for one, other in zip(found[:3], whole[:3])) and found.residual == whole.residual


def test_memory_that_even_the_cpu_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with_out_of_memory(monkeypatch, 3)
    with pytest.raises(torch.OutOfMemoryError):
        truncated_svd(random(100, 90), 4)


@pytest.mark.parametrize(
    ("rows", "columns", "elements", "widths"),
    [(3, 10, 10**9, [10]), (3, 10, 12, [4, 4, 2]), (3, 2, 1, [1, 1]), (0, 4, 5, [4]), (0, 0, 5, [0])],
)
def test_tiles_cover_every_column_once(rows: int, columns: int, elements: int, widths: list[int]) -> None:
    matrix = random(rows, columns).half()
    tiles = list(svd._Operand(matrix, matrix.device).tiles(elements))
    assert [tile.shape[1] for _, tile in tiles] == widths and {tile.dtype for _, tile in tiles} == {torch.float32}
    assert torch.equal(torch.cat([tile for _, tile in tiles], 1), matrix.float())


POLICIES = {
    "fixed below the start": fixed(20),
    "fixed above it": fixed(70),
    "fixed above the matrix": fixed(999),
    "nothing": fixed(0),
    "energy": energy(0.8),
    "error": error(0.5),
    "high energy": energy(0.99),
    "noise": noise_floor(0.1 / 40),
    "noise and energy": lambda *spectrum: min(noise_floor(0.14 / 40)(*spectrum), energy(0.8)(*spectrum)),
    "fixed and energy": lambda *spectrum: min(fixed(40)(*spectrum), energy(0.8)(*spectrum)),
    "knee": knee(),
    "full": full(),
}


@pytest.mark.parametrize("shape", [(500, 400), (400, 500)], ids=str)
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_gets_the_rank_that_the_full_spectrum_gives_it(name: str, shape: tuple[int, int]) -> None:
    matrix, policy = with_spectrum("medium", *shape), POLICIES[name]
    best = torch.linalg.svdvals(matrix.double())
    wanted = min(policy(best, shape, 0.0), len(best))
    found = compress(matrix, policy, start=8)
    rank = found.low_rank.rank
    # Values that are found are slightly below the true ones.
    assert abs(rank - wanted) <= (0 if name.startswith(("fixed", "knee")) else 1)
    assert len(found.singular_values) >= rank
    optimum = float(torch.linalg.vector_norm(best[rank:]))
    assert found.residual <= 1.01 * optimum + 1e-6 * float(best.norm())
    rest = matrix.double() - found.low_rank.up.double() @ found.low_rank.down.double()
    assert found.residual == pytest.approx(float(rest.norm()), rel=1e-5, abs=1e-6)


def test_a_policy_is_met_without_the_full_spectrum() -> None:
    matrix, asked = with_spectrum("medium", 600, 400), []

    def policy(values: torch.Tensor, shape: tuple[int, ...], rest: float) -> int:
        asked.append((len(values), shape))
        assert rest > 0 and rest + float(values.square().sum()) == pytest.approx(float(matrix.double().norm()) ** 2)
        return energy(0.6)(values, shape, rest)

    with Calls(torch.linalg.eigh, 400) as calls:
        found = compress(matrix.reshape(600, 100, 2, 2), policy, start=8)
    assert calls.count == 0 and asked == [(count, (600, 100, 2, 2)) for count in (8, 16, 32)]
    assert 16 < found.low_rank.rank < 32 == len(found.singular_values)
    kept = found.singular_values[: found.low_rank.rank]
    assert float(kept.square().sum()) >= 0.6 * float(matrix.double().norm()) ** 2 * (1 - 1e-6)
    again = compress(matrix.reshape(600, 100, 2, 2), energy(0.6), start=8)
    assert torch.equal(found.low_rank.up, again.low_rank.up) and found.residual == again.residual


def test_a_rank_that_is_asked_for_is_what_comes_next() -> None:
    asked = []
    compress(random(300, 200), lambda values, shape, rest: asked.append(len(values)) or 25, start=4)
    assert asked == [4, 25]


@pytest.mark.parametrize("policy", [energy(1.0), error(0.0), knee()], ids=["energy", "error", "knee"])
def test_zeros_below_the_rounding_are_not_looked_for(policy) -> None:
    matrix = with_spectrum("low rank", 300, 200) @ torch.diag(torch.linspace(1, 2, 200))
    best = torch.linalg.svdvals(matrix.double())
    best[20:] = 0
    with Calls(torch.linalg.eigh, 200) as calls:
        found = compress(matrix, policy, start=24)
    assert calls.count == 0 and found.low_rank.rank == policy(best, (300, 200), 0.0)


@pytest.mark.parametrize("policy", [energy(0.9), error(0.1), knee(), noise_floor(1.0)])
def test_a_policy_keeps_nothing_of_nothing(policy) -> None:
    found = compress(torch.zeros(60, 50), policy)
    assert found.low_rank.rank == 0 and found.residual == 0


@pytest.mark.parametrize("rank", [-1, lambda values, shape, rest: -1], ids=["number", "policy"])
def test_a_negative_rank_is_refused_by_compressing_too(rank) -> None:
    with pytest.raises(ValueError, match="Rank -1 is negative"):
        compress(random(20, 30), rank)
