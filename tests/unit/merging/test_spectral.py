from __future__ import annotations

import pytest
import torch
from torch import Tensor

from delta.merging import merge


def diagonal(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float32))


def dense(name: str, parts: list, weights: list[float], **parameters: float) -> Tensor:
    return merge(name, parts, weights, parameters).to_dense().double()


def thin_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    return left[:, :rank], values[:rank], right[:rank]


def orthogonalised(columns: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(columns, full_matrices=False)
    return left @ right


def stacked(groups: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    left, values, right = zip(*groups)
    return orthogonalised(torch.cat(left, 1)), torch.cat(values), orthogonalised(torch.cat(right, 0).T).T


def test_knots_by_hand(part_of) -> None:
    # Both have outputs e1 and e2, so U is the identity up to signs, and S V_i^T is dW_i itself: TIES by rows.
    # Kept of each: the 2 largest of 4, [3, 0, 0, 4] and [1, 0, 0, -6]; elected + and -, means (3 + 1) / 2 and -6.
    # The rows of [dW_1 dW_2] are orthogonal: (3, 0, 1, 0) and (0, 4, 0, -6).
    merged = dense("knots", [part_of([[3, 0], [0, 4]]), part_of([[1, 0], [0, -6]])], [1.0, 1.0], keep=0.5)
    assert torch.allclose(merged, torch.tensor([[2.0, 0.0], [0.0, -6.0]], dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("keep", [0.2, 0.5, 1.0])
def test_knots_equals_the_dense_formula(keep: float, pair) -> None:
    parts, weights, deltas = pair
    left, values, right = thin_svd(torch.cat(deltas, dim=1))
    aligned = [values[:, None] * block for block in right.split(14, dim=1)]
    count = round(keep * aligned[0].numel())
    kept = [torch.where(a.abs() >= a.abs().flatten().sort(descending=True).values[count - 1], a, 0.0) for a in aligned]
    agree = [torch.where(a * sum(kept) > 0, a, 0.0) for a in kept]
    expected = left @ (sum(agree) / sum((a != 0).double() for a in agree).clamp(min=1))
    assert torch.allclose(dense("knots", parts, weights, keep=keep), expected, atol=1e-5)
    assert merge("knots", parts, weights, {"keep": keep}).rank == 8


def test_tsv_m_of_orthogonal_parts_is_their_sum(part_of) -> None:
    merged = dense("tsv_m", [part_of(diagonal(3, 0, 0)), part_of(diagonal(0, 5, 0))], [1.0, 2.0])
    assert torch.allclose(merged, diagonal(3, 10, 0).double(), atol=1e-5)


def test_tsv_m_averages_what_is_shared(part_of) -> None:
    # U = V = [e1 e1]: the partial isometry is [e1 e1] / sqrt(2) on both sides, so 3 and 5 give (3 + 5) / 2.
    merged = dense("tsv_m", [part_of(diagonal(3, 0)), part_of(diagonal(5, 0))], [1.0, 1.0])
    assert torch.allclose(merged, diagonal(4, 0).double(), atol=1e-5)


def test_tsv_m_keeps_the_strongest(part_of) -> None:
    parts = [part_of(diagonal(3, 1, 0, 0)), part_of(diagonal(0, 0, 5, 2))]
    assert torch.allclose(dense("tsv_m", parts, [1.0, 1.0], rank=1.0), diagonal(3, 0, 5, 0).double(), atol=1e-5)
    # The paper's min(m, n) / N is 4 / 2 here.
    assert torch.allclose(dense("tsv_m", parts, [1.0, 1.0]), diagonal(3, 1, 5, 2).double(), atol=1e-5)


@pytest.mark.parametrize(("rank", "count"), [(0.0, 7), (2.0, 2)])
def test_tsv_m_equals_the_dense_formula(rank: float, count: int, pair) -> None:
    parts, weights, deltas = pair
    groups = [(u[:, :count], s[:count], vt[:count]) for u, s, vt in map(thin_svd, deltas)]
    left, values, right = stacked(groups)
    assert torch.allclose(dense("tsv_m", parts, weights, rank=rank), left * values @ right, atol=1e-5)


def test_iso_c_by_hand(part_of) -> None:
    # 1 * diag(3, 0, 0) + 2 * diag(1, -1, 0) has the singular values 5 and 2 on two of three directions: both become
    # 3.5, the sign stays, and the empty third direction stays empty.
    merged = dense("iso_c", [part_of(diagonal(3, 0, 0)), part_of(diagonal(1, -1, 0))], [1.0, 2.0])
    assert torch.allclose(merged, diagonal(3.5, -3.5, 0).double(), atol=1e-5)


def test_iso_c_equals_the_dense_formula(pair) -> None:
    parts, weights, deltas = pair
    left, values, right = thin_svd(sum(deltas))
    assert torch.allclose(dense("iso_c", parts, weights), values.mean() * left @ right, atol=1e-5)


def test_iso_cts_by_hand(part_of) -> None:
    # The sum is diag(9, 3, 2, 1): K = 4. common = 1/2 leaves 2 common directions, values 9 and 3, and one for each
    # part. Off e1 and e2 the first part has 2 at e3, the second 1 at e4. The mean of 9, 3, 2, 1 is 3.75.
    parts = [part_of(diagonal(9, 0, 2, 0)), part_of(diagonal(0, 3, 0, 1))]
    merged = dense("iso_cts", parts, [1.0, 1.0], common=0.5)
    assert torch.allclose(merged, 3.75 * torch.eye(4, dtype=torch.float64), atol=1e-5)


def test_iso_cts_with_all_directions_common_is_iso_c(pair) -> None:
    parts, weights, _ = pair
    assert torch.allclose(dense("iso_cts", parts, weights, common=1.0), dense("iso_c", parts, weights), atol=1e-5)


@pytest.mark.parametrize(("common", "shared", "each"), [(0.8, 6, 1), (0.5, 4, 2), (0.0, 0, 4)])
def test_iso_cts_equals_the_dense_formula(common: float, shared: int, each: int, pair) -> None:
    parts, weights, deltas = pair
    u, s, vt = (part[..., :shared] if i < 2 else part[:shared] for i, part in enumerate(thin_svd(sum(deltas))))
    groups = [(u, s, vt)]
    for delta in deltas:
        left, values, right = thin_svd(delta - u @ u.T @ delta)
        groups.append((left[:, :each], values[:each], right[:each]))
    left, values, right = stacked(groups)
    assert torch.allclose(dense("iso_cts", parts, weights, common=common), values.mean() * left @ right, atol=1e-5)


def test_star_by_hand(part_of) -> None:
    # 6 + 3 + 1: 6 reaches 0.6 of 10 and becomes 10; for 0.7 it takes 6 and 3, times 10 / 9. The second has one value.
    parts = [part_of(diagonal(6, -3, 1)), part_of(diagonal(0, 0, 2))]
    assert torch.allclose(dense("star", parts, [1.0, -1.0], keep=0.6), diagonal(10, 0, -2).double(), atol=1e-5)
    expected = diagonal(60 / 9, -30 / 9, -2).double()
    assert torch.allclose(dense("star", parts, [1.0, -1.0], keep=0.7), expected, atol=1e-5)


@pytest.mark.parametrize("keep", [0.0, 0.4, 0.9, 1.0])
def test_star_equals_the_dense_formula(keep: float, pair) -> None:
    parts, weights, deltas = pair
    expected = torch.zeros(20, 14, dtype=torch.float64)
    for delta in deltas:
        left, values, right = thin_svd(delta)
        count = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= (keep - 1e-9) * values.sum())
        expected += left[:, :count] * (values[:count] * values.sum() / values[:count].sum()) @ right[:count]
    assert torch.allclose(dense("star", parts, weights, keep=keep), expected, atol=1e-5)


def test_svc_by_hand(part_of) -> None:
    # Along e1 the sum answers 4, the parts 3 and 1: s = 4/3 and 4, factor 2 / (4/3 + 4) = 3/8. Along e2 only the first
    # answers: s = 1 and 0, which alpha = 1 raises to 1: factor 1. With alpha = 1/2 it is 2 / 1.5.
    parts = [part_of(diagonal(3, 2)), part_of(diagonal(1, 0))]
    assert torch.allclose(dense("svc", parts, [1.0, 1.0]), diagonal(1.5, 2).double(), atol=1e-5)
    assert torch.allclose(dense("svc", parts, [1.0, 1.0], alpha=0.5), diagonal(1.5, 8 / 3).double(), atol=1e-5)


def test_svc_of_equal_parts_is_one_of_them(random_part) -> None:
    part = random_part(1, 3)
    merged = dense("svc", [part] * 3, [1.0] * 3)
    assert torch.allclose(merged, part.to_dense().double(), atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_svc_equals_the_dense_formula(alpha: float, pair) -> None:
    parts, weights, deltas = pair
    left, values, right = thin_svd(sum(deltas))
    calibrated = values.clone()
    for r in range(len(values)):
        answer = left[:, r] @ sum(deltas)
        own = [left[:, r] @ delta for delta in deltas]
        calibrated[r] *= len(own) / sum(max(alpha, float(answer @ a / (a @ a))) for a in own)
    assert torch.allclose(dense("svc", parts, weights, alpha=alpha), left * calibrated @ right, atol=1e-5)


def test_ct_merging_by_hand(part_of) -> None:
    # Both parts have the output e1, which makes it the consensus; e2 and e3 belong to one each. The scales are
    # sqrt((16 + 4) / 2) = sqrt(10) and sqrt((9 + 1) / 2) = sqrt(5), the consensus has their mean.
    parts = [part_of(diagonal(4, 2, 0)), part_of(diagonal(3, 0, 1))]
    expected = diagonal((10**0.5 + 5**0.5) / 2, 10**0.5, 5**0.5).double()
    assert torch.allclose(dense("ct_merging", parts, [1.0, 1.0]), expected, atol=1e-5)


def test_ct_merging_has_no_consensus_of_strangers(part_of) -> None:
    # All eigenvalues of the mean projector are 1/2: each direction is supported by one part only.
    parts = [part_of(diagonal(4, 2, 0)), part_of(diagonal(0, 0, 3))]
    expected = diagonal(10**0.5, 10**0.5, 3).double()
    assert torch.allclose(dense("ct_merging", parts, [1.0, 1.0]), expected, atol=1e-5)


def test_ct_merging_does_not_cut_between_equals(part_of) -> None:
    # e1 and e2 are supported alike, so one place for the consensus is no place: both stay with the parts, where
    # sharing averages the scales.
    parts = [part_of(diagonal(4, 2, 0)), part_of(diagonal(3, 1, 0))]
    mean = (10**0.5 + 5**0.5) / 2
    for common_rank in (0.0, 1.0, 2.0):
        merged = dense("ct_merging", parts, [1.0, 1.0], common_rank=common_rank)
        assert torch.allclose(merged, diagonal(mean, mean, 0).double(), atol=1e-5)


@pytest.mark.parametrize("common_rank", [0, 1, 2])
def test_ct_merging_equals_the_dense_formula(common_rank: int, pair) -> None:
    parts, weights, deltas = pair
    tasks = [thin_svd(delta) for delta in deltas]
    scales = [values.square().mean().sqrt() for _, values, _ in tasks]
    _, vectors = torch.linalg.eigh(sum(u @ u.T for u, _, _ in tasks) / 2)
    consensus = vectors.flip(1)[:, :common_rank]
    a, values, b = torch.linalg.svd(consensus.T @ sum(deltas), full_matrices=False)
    c = consensus @ a
    groups = [(c, torch.ones_like(values) * sum(scales) / 2, b)]
    for (u, s, vt), scale in zip(tasks, scales):
        groups.append((u - c @ c.T @ u, torch.ones_like(s) * scale, vt - vt @ b.T @ b))
    left, values, right = zip(*groups)
    # 8 + common_rank columns span 8 dimensions on the left: the partial isometry there.
    polar = [torch.cat(left, 1), torch.cat(right, 0).T]
    for index, columns in enumerate(polar):
        x, singular, y = thin_svd(columns)
        polar[index] = x @ y
    expected = polar[0] * torch.cat(values) @ polar[1].T
    assert torch.allclose(dense("ct_merging", parts, weights, common_rank=common_rank), expected, atol=1e-5)
