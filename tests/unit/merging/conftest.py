from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from delta.linear_algebra.factors import LowRank, small_problems


def _part_of(matrix: Tensor | list) -> LowRank:
    matrix = torch.as_tensor(matrix, dtype=torch.float32)
    return LowRank(matrix, torch.eye(matrix.shape[1]), tuple(matrix.shape))


def _random_part(seed: int, rank: int, rows: int = 20, columns: int = 14) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(rows, rank, generator=generator)
    down = torch.randn(rank, columns, generator=generator)
    # Spread spectra, so that no two singular values are close.
    return LowRank(up * 2.0 ** -torch.arange(rank), down, (rows, columns))


def _regauged(part: LowRank) -> LowRank:
    generator = torch.Generator().manual_seed(part.rank)
    gauge = torch.eye(part.rank) + 0.3 * torch.randn(part.rank, part.rank, generator=generator)
    return replace(part, up=part.up @ gauge, down=torch.linalg.inv(gauge) @ part.down)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """All matrices here are tiny: a second thread only waits for its turn on a busy machine."""
    with small_problems():
        yield


@pytest.fixture
def part_of() -> Callable[[Tensor | list], LowRank]:
    """The update that is this matrix."""
    return _part_of


@pytest.fixture
def random_part() -> Callable[..., LowRank]:
    """(seed, rank) -> a random update of a 20 x 14 weight."""
    return _random_part


@pytest.fixture
def regauged() -> Callable[[LowRank], LowRank]:
    """The same update in other factors."""
    return _regauged


@pytest.fixture
def pair() -> tuple[list[LowRank], list[float], list[Tensor]]:
    """Two random updates of rank 3 and 5, signed weights, and weight * dW in float64."""
    parts, weights = [_random_part(1, 3), _random_part(2, 5)], [0.8, -1.3]
    return parts, weights, [w * p.up.double() @ p.down.double() for p, w in zip(parts, weights)]
