"""The size-fidelity curve of style: how much of a style each kind of delta carries, and what is left of the subject.

Pictures are drawn by the demo's trained models (tests/models), and judged by a classifier that has seen the drawings alone.
Sizes are those of a float16 file of the live numbers. The nets are the thin ones, which compute what ComfyUI computes
(tests/host/test_trained_models.py compares them).
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests/harness"), str(ROOT / "training")]

import deltas  # noqa: E402
import torch  # noqa: E402
from drawings import BASE_MAKER, MAKERS, STYLES  # noqa: E402
from pack import KEPT  # noqa: E402
from pack import Weights as Source  # noqa: E402
from PIL import Image  # noqa: E402
from studio import Studio, Verdict, every_subject, stored  # noqa: E402
from torch import Tensor  # noqa: E402

from delta.charts import plots  # noqa: E402
from delta.extraction.extract import Settings, extract  # noqa: E402
from delta.extraction.pair import compare  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402

WORK, PLOT = ROOT / ".dev/training", ROOT / "tests/pictures/style_curve.png"
# The base is asked for every subject with these seeds, a delta for every so many of them.
EVERY, SEEDS = 6, (0, 1)
EXTRACTED, BUDGET, TRAINED, NORMS = "extracted by rank", "extracted by budget", "trained as LoRA", "trained norms"
RANKS = (4, 16, 32)
SIZES_MB = (3.3, 1.6, 0.8, 0.4, 0.1)
BYTES = 2
# The LoRA that is asked for every subject with these seeds too, as it is and made smaller.
BEST, SMALL_MB = "noto", 0.95

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


class Candidate(NamedTuple):
    """A delta: its line in the plot, its name, the weights it makes and how many numbers it needs."""

    line: str
    name: str
    weights: Weights
    numbers: int


class Point(NamedTuple):
    """What was measured of a delta."""

    style: str
    line: str
    kilobytes: float
    verdict: Verdict


def lora(base: Weights, style: str) -> Iterator[Candidate]:
    """The LoRA of rank 16 that was trained for a style, and what is left of it in a file of less than a megabyte."""
    trained = stored(f"styles/{style}_lora16")
    weights = with_pairs(base, trained)
    yield Candidate(TRAINED, "trained as lora16", weights, numbers(trained))
    small = RankChoice("size", SMALL_MB)
    yield Candidate(TRAINED, f"lora16, {1000 * SMALL_MB:g} kB by budget", *extracted(base, weights, small))


def candidates(base: Weights, style: str) -> Iterator[Candidate]:
    """Every delta of a style."""
    yield from lora(base, style)
    for name, line in {"lora4": TRAINED, "norms_biases": NORMS, "norms": NORMS}.items():
        trained = stored(f"styles/{style}_{name}")
        yield Candidate(line, f"trained as {name}", with_pairs(base, trained), numbers(trained))
    if style in KEPT:
        yield from parts_of_a_fine_tune(base, style)


def parts_of_a_fine_tune(base: Weights, style: str) -> Iterator[Candidate]:
    """What can be taken of a whole fine-tune: of the trained one where it lies in the work folder, else of what is kept of it."""
    kept, whole = stored(f"styles/{style}_full"), WORK / f"{style}_full.pt"
    tuned = with_pairs(base, kept)
    yield Candidate(EXTRACTED, f"fine-tune as kept ({KEPT[style].describe()})", tuned, numbers(kept))
    if whole.is_file():
        tuned = torch.load(whole, weights_only=True, map_location="cpu")
        yield Candidate("", "whole fine-tune", tuned, numbers(tuned))
    for rank in RANKS:
        choice = RankChoice("fixed", rank)
        yield Candidate(EXTRACTED, f"extracted, rank {rank}", *extracted(base, tuned, choice))
    for size in SIZES_MB:
        choice = RankChoice("size", size)
        yield Candidate(BUDGET, f"extracted, {1000 * size:g} kB by budget", *extracted(base, tuned, choice))
    yield Candidate("", "extracted, knee", *extracted(base, tuned, RankChoice("knee")))
    swaps = {
        "norms of the fine-tune": deltas.is_norm,
        "attention of the fine-tune": lambda name: ".attn" in name,
        "decoder half of the fine-tune": lambda name: name.startswith("output_blocks"),
    }
    for name, belongs in swaps.items():
        part = {key: weight for key, weight in tuned.items() if belongs(key)}
        yield Candidate("", name, part, numbers(part))


def plot(points: list[Point], path: Path) -> None:
    """Draw the curves of makers and of looks, the style above and the subject below, means over the styles."""
    charts = []
    for share in ("style", "subject"):
        found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        for point in points:
            if point.line:
                kind = "makers" if point.style in MAKERS else "looks"
                size = float(f"{point.kilobytes:.1g}")
                found[f"{kind}, {point.line}"][size].append(100 * getattr(point.verdict, share))
        series = {name: [(size, sum(all_) / len(all_)) for size, all_ in line.items()] for name, line in found.items()}
        charts.append(plots.curves(series, f"Pictures with the right {share}", "kB (float16)", "%", log_x=True))
    picture = (255 * plots.stack(charts)[0]).round().byte().numpy()
    Image.fromarray(picture).save(path, optimize=True)


def tell_all(studio: Studio, subjects: list[str], name: str, style: str, weights: Weights) -> None:
    """Print what the judge says of every subject, with each seed."""
    found = [studio.verdict(studio.pictures(weights, subjects, seed), subjects, style) for seed in SEEDS]
    subject, styled = (" and ".join(f"{share:.1%}" for share in shares) for shares in zip(*found))
    print(f"  {name:34} subject {subject}, style {styled}", flush=True)


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    studio, subjects = Studio(Path(os.environ["STYLEDELTA_HOST_DIR"]) / "comfy/sd1_tokenizer"), every_subject()
    print(f"{len(subjects)} captions, seeds {' and '.join(map(str, SEEDS))}", flush=True)
    tell_all(studio, subjects, "base", BASE_MAKER, {})
    for _, name, weights, _ in lora(studio.base, BEST):
        tell_all(studio, subjects, f"{BEST}, {name}", BEST, weights)
    texts, points = subjects[::EVERY], []
    for style in STYLES:
        if style == BASE_MAKER:
            continue
        left = studio.verdict(studio.pictures({}, texts, 0), texts, style)
        print(f"{style + f', {len(texts)} captions':38} kB  subject  style")
        print(f"  {'nothing':34} {0:7.0f}  {left.subject:6.0%}  {left.style:5.0%}", flush=True)
        for line, name, weights, count in candidates(studio.base, style):
            found, size = studio.verdict(studio.pictures(weights, texts, 0), texts, style), count * BYTES / 1000
            points.append(Point(style, line, size, found))
            print(f"  {name:34} {size:7.0f}  {found.subject:6.0%}  {found.style:5.0%}", flush=True)
    plot(points, PLOT)


if __name__ == "__main__":
    main()
