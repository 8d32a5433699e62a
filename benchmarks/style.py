"""The size-fidelity curve of style: how much of a style each kind of delta carries, and what is left of the subject.

Pictures are drawn by the demo's trained models (tests/models), and judged by a classifier that has seen the drawings alone.
Sizes are those of a float16 file of the live numbers. The nets are the thin ones, which compute what ComfyUI computes
(tests/host/test_trained_models.py compares them).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests/harness"), str(ROOT / "training")]

import deltas  # noqa: E402
import torch  # noqa: E402
from drawings import BASE_MAKER, STYLES  # noqa: E402
from pack import Weights as Source  # noqa: E402
from studio import Studio, every_subject, stored  # noqa: E402
from torch import Tensor  # noqa: E402

from delta.extraction.extract import Settings, extract  # noqa: E402
from delta.extraction.pair import compare  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402

# Of the subjects: every so many of them, for a base with two seeds and for a delta with one.
BASE_EVERY, EVERY, SEEDS = 1, 4, (0, 1)
RANKS = (1, 2, 4, 8)
SIZES_MB = (0.4, 0.2, 0.1, 0.05, 0.02)
BYTES = 2

Weights = dict[str, Tensor]


def numbers(weights: Mapping[str, Tensor]) -> int:
    return sum(weight.numel() for weight in weights.values())


def with_pairs(base: Weights, adapter: Mapping[str, Tensor]) -> Weights:
    """The weights that a stored LoRA, with changes of biases and norms or without, makes of the base's."""
    changed = {}
    for name, value in adapter.items():
        if name.endswith(".down"):
            layer = name.removesuffix(".down")
            weight = base[f"{layer}.weight"]
            changed[f"{layer}.weight"] = weight + (adapter[f"{layer}.up"] @ value.flatten(1)).view(weight.shape)
        elif not name.endswith(".up"):
            changed[name] = base[name] + value
    return changed


def extracted(base: Weights, tuned: Weights, choice: RankChoice) -> tuple[Weights, int]:
    """The weights after our own extraction was applied, and how many numbers it keeps."""
    found = extract(compare(Source("tuned", {**base, **tuned}), Source("base", base)), Settings(choice))
    changed, count = {}, 0
    for name, difference in found.differences.items():
        part = difference.low_rank
        change = difference.full if part is None else (part.up.flatten(1) @ part.down.flatten(1)).view(base[name].shape)
        count += difference.full.numel() if part is None else part.up.numel() + part.down.numel()
        changed[name] = base[name] + change
    return changed, count


def candidates(base: Weights, style: str) -> Iterator[tuple[str, Weights, int]]:
    """Every delta of a style: its name, the weights it makes and how many numbers it needs."""
    full = stored(f"styles/{style}_full")
    tuned = with_pairs(base, full)
    yield "fine-tune, as kept (rank 16)", tuned, numbers(full)
    for rank in RANKS:
        yield (f"extracted, rank {rank}", *extracted(base, tuned, RankChoice("fixed", rank)))
    for size in SIZES_MB:
        yield (f"extracted, {1000 * size:g} kB by budget", *extracted(base, tuned, RankChoice("size", size)))
    yield ("extracted, knee", *extracted(base, tuned, RankChoice("knee")))
    for name in ("lora16", "lora4", "norms_biases", "norms"):
        trained = stored(f"styles/{style}_{name}")
        yield f"trained as {name}", with_pairs(base, trained), numbers(trained)
    swaps = {
        "norms of the fine-tune": deltas.is_norm,
        "attention of the fine-tune": lambda name: ".attn" in name,
        "decoder half of the fine-tune": lambda name: name.startswith("output_blocks"),
    }
    for name, belongs in swaps.items():
        part = {key: weight for key, weight in tuned.items() if belongs(key)}
        yield name, part, numbers(part)


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    studio, subjects = Studio(Path(os.environ["STYLEDELTA_HOST_DIR"]) / "comfy/sd1_tokenizer"), every_subject()
    texts = subjects[::BASE_EVERY]
    for seed in SEEDS:
        found = studio.verdict(studio.pictures({}, texts, seed), texts, BASE_MAKER)
        print(f"base, seed {seed}, {len(texts)} captions: subject {found.subject:.0%}, maker {found.style:.0%}")
    texts = subjects[::EVERY]
    for style in STYLES:
        if style == BASE_MAKER:
            continue
        print(f"{style}, {len(texts)} captions{'':16} kB  subject  style")
        for name, weights, count in candidates(studio.base, style):
            found = studio.verdict(studio.pictures(weights, texts, 0), texts, style)
            print(f"  {name:34} {count * BYTES / 1000:7.0f}  {found.subject:6.0%}  {found.style:5.0%}", flush=True)


if __name__ == "__main__":
    main()
