"""From what was trained to the small files of tests/models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import storage
import torch
from stages import DELTAS, Training
from torch import Tensor

from delta.extraction.extract import Settings, extract
from delta.extraction.pair import compare
from delta.files.stored_weight import StoredWeight
from delta.linear_algebra.rank import RankChoice

# What is kept of a whole fine-tune: as little as the judge sees no loss at (`python dev.py bench style`).
KEPT = {"noto": RankChoice("size", 3.3), "night": RankChoice("fixed", 16)}


class Weights(NamedTuple):
    """A network as the extraction reads it."""

    name: str
    weights: Mapping[str, Tensor]
    architecture: str = "Stable Diffusion 1.5"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    def read(self, name: str) -> StoredWeight:
        # A copy, because the extraction subtracts in place.
        return StoredWeight(self.weights[name].detach().to("cpu", torch.float32, copy=True), 0.0)


def extracted(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor], choice: RankChoice) -> dict[str, Tensor]:
    """What Extract LoRA keeps of a fine-tune: downs and ups, and changes of biases and norms whole."""
    pair = compare(Weights("tuned", tuned), Weights("base", base))
    found = extract(pair, Settings(choice, ignore_noise=True))
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


def write_models(training: Training, folder: Path) -> dict[str, int]:
    """Write all that was trained, and return the bytes of each file by its name under the folder."""
    base = {name: weight.detach().cpu() for name, weight in training.base.named_parameters()}
    files = {
        "vae": storage.halves(training.decoder.state_dict()),
        "base": storage.quantised(base),
        "judge": storage.quantised(training.judge.state_dict()),
        "canny": storage.quantised(training.canny()),
    }
    for style, kind in DELTAS:
        trained = {name: weight.cpu() for name, weight in training.style(style, kind).items()}
        files[f"styles/{style}_{kind}"] = stored_style(style, kind, trained, base)
    return {name: storage.write(folder / f"{name}.safetensors", tensors) for name, tensors in files.items()}


def stored_style(style: str, kind: str, trained: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the file of a style holds: factors as int8, changes of norms and biases as float16."""
    if kind == "full":
        trained = extracted(trained, base, KEPT[style])
    return storage.halves(changes(trained, base)) if kind.startswith("norms") else storage.quantised(trained)
