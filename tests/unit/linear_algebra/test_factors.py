import math

import pytest
import torch

from delta.linear_algebra.factors import LowRank, concat, core_space, small_problems, zeros


def update(rows: int, columns: int, rank: int, seed: int = 0) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(rows, rank, generator=generator)
    return LowRank(up, torch.randn(rank, columns, generator=generator), (rows, columns))


def graded(rows: int, columns: int, rank: int, decay: float) -> LowRank:
    """An update whose singular values fall as decay ** k, in factors that are far from orthogonal."""
    exact = update(rows, columns, rank)
    left, _ = torch.linalg.qr(exact.up.double())
    right, _ = torch.linalg.qr(exact.down.double().T)
    mix = torch.randn(rank, rank, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    values = decay ** torch.arange(rank, dtype=torch.float64)
    up, down = left * values @ mix, torch.linalg.solve(mix, right.T)
    return LowRank(up.float(), down.float(), (rows, columns))


CASES = {
    "random": update(40, 24, 10),
    "wide": update(8, 90, 6),
    "rank above the smaller side": update(6, 5, 12),
    "graded": graded(40, 30, 12, 0.3),
    "duplicated": concat([update(30, 20, 4), update(30, 20, 4).scale(-0.5)]),
    "cancelling in part": concat([update(30, 20, 4), update(30, 20, 2, seed=3), update(30, 20, 4).scale(-1)]),
}


@pytest.mark.parametrize("name", CASES)
def test_truncation_has_the_error_of_the_dense_svd_at_every_rank(name):
    part = CASES[name]
    dense = part.up.double() @ part.down.double()
    values = torch.linalg.svdvals(dense)
    for rank in range(part.rank + 1):
        cut = part.truncate(rank)
        best = float(torch.linalg.vector_norm(values[rank:]))
        assert abs(float((cut.low_rank.to_dense() - dense).norm()) - best) <= 1e-5 * part.norm()
        assert abs(cut.residual - best) <= 1e-6 * part.norm()
        assert cut.low_rank.rank <= rank


def test_truncated_factors_are_balanced():
    cut = CASES["random"].truncate(6).low_rank
    assert torch.allclose(cut.up.norm(dim=0), cut.down.norm(dim=1), rtol=1e-5)


def test_a_diagonal_update_by_hand():
    part = LowRank(torch.diag(torch.tensor([3.0, 4.0])), torch.eye(2), (2, 2))
    cut = part.truncate(1)
    assert torch.allclose(cut.low_rank.to_dense(), torch.tensor([[0.0, 0.0], [0.0, 4.0]]), atol=1e-6)
    assert cut.singular_values.tolist() == pytest.approx([4, 3]) and cut.residual == pytest.approx(3)
    assert part.norm() == pytest.approx(5)


def test_concat_scale_norm_and_inner_are_those_of_the_dense_matrices():
    parts = [update(12, 9, 3, seed) for seed in range(3)]
    dense = [part.to_dense() for part in parts]
    assert torch.allclose(concat(parts).to_dense(), sum(dense), atol=1e-5)
    assert torch.allclose(parts[0].scale(-2.5).to_dense(), -2.5 * dense[0], atol=1e-5)
    assert parts[0].inner(parts[1]) == pytest.approx(float((dense[0] * dense[1]).sum()), rel=1e-5)
    assert parts[0].norm() == pytest.approx(float(dense[0].norm()), rel=1e-6)


def test_convolution_shapes_are_kept():
    part = LowRank(torch.ones(4, 2), torch.ones(2, 3 * 9), (4, 3, 3, 3))
    assert part.to_dense().shape == (4, 3, 3, 3) and part.truncate(1).low_rank.shape == (4, 3, 3, 3)


def test_core_space_loses_nothing_and_is_orthonormal():
    parts = [CASES["graded"], CASES["graded"].scale(0.5), update(40, 30, 5, seed=4)]
    space = core_space(parts)
    assert torch.allclose(space.left.T @ space.left, torch.eye(space.left.shape[1], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(space.right @ space.right.T, torch.eye(len(space.right), dtype=torch.float64), atol=1e-12)
    for core, part in zip(space.cores, parts):
        dense = part.up.double() @ part.down.double()
        assert (space.left @ core @ space.right - dense).norm() <= 1e-6 * dense.norm()
        assert (space.low_rank(core).to_dense() - dense).norm() <= 1e-6 * dense.norm()


def test_nothing_is_an_update_of_rank_zero():
    nothing = zeros((4, 3, 3, 3))
    assert nothing.rank == 0 and nothing.norm() == 0 and nothing.to_dense().abs().sum() == 0
    assert nothing.truncate(5).low_rank.rank == 0
    assert torch.equal(concat([nothing, nothing]).to_dense(), nothing.to_dense())
    flat = LowRank(torch.zeros(3, 2), torch.zeros(2, 4), (3, 4)).truncate(2)
    assert flat.low_rank.rank == 0 and flat.residual == 0 and math.isfinite(flat.low_rank.norm())


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="do not make an update of shape"):
        LowRank(torch.ones(3, 2), torch.ones(3, 4), (3, 4))
    with pytest.raises(ValueError, match="Rank -1 is negative"):
        update(3, 3, 2).truncate(-1)
    with pytest.raises(ValueError, match="no updates to add"):
        concat([])
    with pytest.raises(ValueError, match="cannot be added"):
        concat([update(3, 4, 1), update(4, 3, 1)])
    with pytest.raises(ValueError, match="no inner product"):
        update(3, 4, 1).inner(update(4, 3, 1))


def test_small_problems_give_the_threads_back():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), small_problems():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before
