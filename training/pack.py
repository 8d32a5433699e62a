"""From what was trained to the small files of tests/models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import storage
import torch
from torch import Tensor

from delta.extraction.extract import MemoryStore, Settings, extract
from delta.extraction.pair import compare
from delta.files.stored_weight import StoredWeight
from delta.linear_algebra.rank import RankChoice, fixed

# Of what is kept of a whole fine-tune.
FULL_RANK = 16


class Weights(NamedTuple):
    """A network as the extraction reads it."""

    name: str
    weights: Mapping[str, Tensor]
    architecture: str = "Stable Diffusion 1.5"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    def read(self, name: str) -> StoredWeight:
        return StoredWeight(self.weights[name])


def extracted(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What Extract LoRA keeps of a fine-tune: downs and ups of rank FULL_RANK, and changes of biases and norms whole."""
    pair = compare(Weights("tuned", tuned), Weights("base", base))
    found = extract(pair, Settings(RankChoice("fixed", FULL_RANK), ignore_noise=True))
    kept = {}
    for name, difference in found.differences.items():
        if difference.low_rank is None:
            kept[name] = difference.full
        else:
            layer = name.removesuffix(".weight")
            kept[f"{layer}.down"] = difference.low_rank.down.flatten(1)
            kept[f"{layer}.up"] = difference.low_rank.up.flatten(1)
    return kept


def changes(trained: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What was added to the weights that were trained."""
    return {name: weight - base[name] for name, weight in trained.items()}
