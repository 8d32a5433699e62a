from __future__ import annotations

import torch

from delta.linear_algebra.factors import LowRank
from delta.merging import merge


def test_two_clusters_by_hand(part_of) -> None:
    # Units of the first part: 4 e1 e1^T and 1 e2 e2^T; of the second: 9 e1 e1^T. Two clusters join the e1 e1^T.
    # Units (b, a) are (2, 2) and (3, 3) along e1: their mean (2.5, 2.5) has their mean length, so it is not rescaled,
    # and b a^T = 6.25. r = k = 2, so the output factor is 1.
    parts = [part_of([[4, 0], [0, 1]]), part_of([[9, 0], [0, 0]])]
    for seed in range(5):
        merged = merge("lora_lego", parts, [1.0, 1.0], {}, seed=seed)
        assert merged.rank == 2
        assert torch.allclose(merged.to_dense(), torch.diag(torch.tensor([6.25, 1.0])), atol=1e-5)


def test_one_cluster_by_hand(part_of) -> None:
    # Units (b, a) = ((3, 0), (3, 0)) and ((3, 0), (0, 3)): the mean is ((3, 0), (1.5, 1.5)) of squared length 13.5; the
    # units' is 18. Rescaled: b a^T = 18 / 13.5 * 3 * (1.5, 1.5) = (6, 6). r = k = 1.
    parts = [part_of([[9, 0], [0, 0]]), part_of([[0, 9], [0, 0]])]
    merged = merge("lora_lego", parts, [1.0, 1.0], {"clusters": 1.0})
    assert merged.rank == 1
    assert torch.allclose(merged.to_dense(), torch.tensor([[6.0, 6.0], [0.0, 0.0]]), atol=1e-5)


def test_every_unit_its_own_cluster(pair) -> None:
    parts, weights, deltas = pair
    # k = 8 units, r = 5: nothing is averaged, and the sum is scaled by sqrt(5 / 8).
    merged = merge("lora_lego", parts, weights, {"clusters": 99.0}).to_dense().double()
    assert torch.allclose(merged, (5 / 8) ** 0.5 * sum(deltas), atol=1e-5)


def test_duplicates_give_one_of_them(random_part) -> None:
    part = random_part(1, 4)
    merged = merge("lora_lego", [part, part], [1.0, 1.0], {}, seed=3).to_dense()
    assert torch.allclose(merged, part.to_dense(), atol=1e-5)


def test_the_sign_of_a_unit_is_free(part_of) -> None:
    # (b, a) and (-b, -a) are one unit; the SVD may give either.
    flipped = LowRank(torch.tensor([[-2.0], [0.0]]), torch.tensor([[-2.0, 0.0]]), (2, 2))
    merged = merge("lora_lego", [part_of([[4, 0], [0, 0]]), flipped], [1.0, 1.0], {})
    assert torch.allclose(merged.to_dense(), torch.tensor([[4.0, 0.0], [0.0, 0.0]]), atol=1e-5)


def test_a_negative_weight_keeps_opposite_units_apart(part_of) -> None:
    part = part_of([[4, 0], [0, 0]])
    merged = merge("lora_lego", [part, part], [1.0, -1.0], {"clusters": 2.0}).to_dense()
    assert merged.abs().max() < 1e-5


def test_clusters_equal_a_search_over_all_partitions(pair) -> None:
    parts, weights, deltas = pair
    units = []
    for delta in deltas:
        left, values, right = torch.linalg.svd(delta)
        rank = int((values > 1e-6).sum())
        units += [(left[:, j], right[j], values[j].sqrt()) for j in range(rank)]
    directions = torch.stack([torch.cat([b, a]) for b, a, _ in units])

    def outcome(labels: list[int]) -> tuple[float, torch.Tensor]:
        """k-means cost of a partition into two, signs taken from the leading eigenvector, and the merged matrix."""
        cost, merged = 0.0, torch.zeros(20, 14, dtype=torch.float64)
        for label in (0, 1):
            index = [j for j in range(8) if labels[j] == label]
            if not index:
                return float("inf"), merged
            gram = directions[index] @ directions[index].T
            options = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * len(index))
            options = options.reshape(-1, len(index))
            signs = options[(options @ gram * options).sum(dim=1).argmax()]
            cost += 2.0 * len(index) - float(signs @ gram @ signs) / len(index)
            raw = torch.stack([units[j][2] * directions[j] for j in index]) * signs[:, None]
            mean = raw.mean(dim=0) * raw.norm(dim=1).mean() / raw.mean(dim=0).norm()
            merged = merged + torch.outer(mean[:20], mean[20:])
        return cost, merged * (5 / 2) ** 0.5

    found = merge("lora_lego", parts, weights, {"clusters": 2.0}, seed=1).to_dense().double()
    outcomes = [outcome([(code >> j) & 1 for j in range(8)]) for code in range(128)]
    costs = torch.tensor([cost for cost, _ in outcomes])
    distances = torch.tensor([float((found - merged).abs().max()) for _, merged in outcomes])
    # k-means finds a local optimum: one of the partitions, and among the better ones.
    assert distances.min() < 1e-5
    assert costs[distances.argmin()] <= costs[costs.isfinite()].median()
