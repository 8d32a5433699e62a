"""A Control-LoRA of a full ControlNet: the difference of its encoder from the base model, in factors, the rest whole."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from ..charts.charts import Charts
from ..extraction.extract import Difference, Extracted, Settings, Store, extract
from ..extraction.job import costs, counts, difference_charts, noise_lines, settings_key
from ..extraction.pair import Pair
from ..families.registry import DENOISER
from ..files.checkpoint import Checkpoint
from ..linear_algebra.factors import LowRank
from ..linear_algebra.rank import RankChoice, parameters_per_rank
from ..lora.costs import BYTES_PER_NUMBER, cost_report
from ..lora.file import RECIPE
from ..progress import Step
from .format import FIRST, ControlLora, context_width, family, is_base_matrix, listed, stores_whole
from .net_file import ControlNetFile

SUMMARY = "styledelta.control_lora"
# What the header of a safetensors file takes for a tensor, and for the metadata, at most.
BYTES_PER_ENTRY, BYTES_OF_METADATA = 200, 20_000
# A net that was trained from its base stays near it: unrelated weights have a distance of about 1.4 times their size. The
# trained net is 0.28 from its base, 0.3 from fine-tunes of it, and 1 from the base before training (`dev.py bench trained`).
FAR = 0.7
# Training has strong directions. A matrix of independent numbers has none above sqrt(m) + sqrt(n) deviations, by which the
# strongest direction of every layer is measured here. That tells a change like noise, and no wrong base: between trained weights
# that have nothing to do with each other it is 1.8 times noise, from the trained net to its base 4.2 (`dev.py bench trained`).
FLAT = 1.3


class ControlLoraJob(NamedTuple):
    """lora: the result in float32; report: plain text; charts: of the report."""

    lora: ControlLora
    report: str
    charts: Charts


@dataclass(frozen=True)
class BaseMatch:
    """How the changed matrices of a net stand to its base.

    distance: norm of net - base by that of the base; peak: the strongest singular value of the change, by the strongest that
    independent numbers of its norm have, as the median of the layers.
    """

    distance: float
    peak: float

    def lines(self) -> list[str]:
        """What to tell, with a warning where the base looks wrong."""
        lines = [
            f"distance of the net from the base: {self.distance:.3g} times the base's own size; strongest direction of the "
            f"change: {self.peak:.3g} times that of noise (median of the layers)"
        ]
        if self.distance > FAR:
            lines.append(
                f"WARNING: the distance is above {FAR:g}: this net was probably not trained from this base. Choose the model that it "
                "was trained on, or keep the full ControlNet."
            )
        if self.peak < FLAT:
            lines.append(
                f"WARNING: the spectrum is flat (below {FLAT:g} times noise): the change is like noise, and no "
                "usual rank captures it. Keep the full ControlNet."
            )
        return lines


def extract_control_lora(
    net: ControlNetFile,
    base: Checkpoint,
    settings: Settings,
    bytes_per_number: int = BYTES_PER_NUMBER,
    provenance: Sequence[Mapping[str, Any]] = (),
    store: Store | None = None,
    on_step: Step = lambda done, total: None,
) -> ControlLoraJob:
    """A net as the difference from its base. The ranks are chosen as for a LoRA; see `lora_extract.extract`.

    bytes_per_number: of the file that a size in `settings` is meant for. A layer whose factors would take as much room as
    its weight is stored whole; one without a difference is left out. Raises ValueError for a base of another kind, a size
    that does not even hold what must be whole, and as `extract` and the readers do.
    """
    net.base = base
    names = _matrices(net, base)
    from_base = set(names)
    rest = [name for name in net.shapes if name not in from_base]
    within = replace(settings, choice=_choice_within(settings, net, names, rest, bytes_per_number))
    found = extract(Pair(net, base, names, net.notes), within, store, on_step)
    lora = ControlLora(f"{net.name} minus {base.name}", {}, {_bare(name): net.read(name).value for name in rest})
    for name, difference in found.differences.items():
        if stores_whole(difference.low_rank):
            lora.whole[_bare(name)] = net.read(name).value.reshape(base.shapes[name])
            found.differences[name] = difference._replace(residual=0.0)
        else:
            part = difference.low_rank
            lora.factors[_bare(name).removesuffix(".weight")] = LowRank(part.up, part.down, base.shapes[name])
    lora.metadata = _metadata(net, lora, found, settings, provenance)
    charts = difference_charts(found.differences | found.lost)
    return ControlLoraJob(lora, _report(net, base, lora, found, settings), charts)


def size_mb(lora: ControlLora, bytes_per_number: int) -> float:
    """The size of the file in MB."""
    numbers = sum(tensor.numel() for tensor in lora.whole.values())
    numbers += sum(part.up.numel() + part.down.numel() for part in lora.factors.values())
    return numbers * bytes_per_number / 1e6


def room_for_factors(choice: RankChoice, whole_numbers: int, entries: int, bytes_per_number: int) -> RankChoice:
    """A size for a whole file as one for its factors alone, at the bytes that `rank` reckons with.

    Raises ValueError for a size in which nothing is left for them.
    """
    fixed = whole_numbers * bytes_per_number + entries * BYTES_PER_ENTRY + BYTES_OF_METADATA
    room = choice.value * 1e6 - fixed
    if room <= 0:
        raise ValueError(
            f"A size of {choice.value:g} MB leaves no room for factors: what must be stored whole takes {fixed / 1e6:.2f} MB. "
            "Give a larger size in Rank Policy."
        )
    return replace(choice, value=room / 1e6 * BYTES_PER_NUMBER / bytes_per_number, text_encoder_mb=0.0)


def rank_summary(factors: Mapping[str, LowRank]) -> dict[int, int]:
    """How many layers have each rank, lowest first."""
    return dict(sorted(Counter(part.rank for part in factors.values()).items()))


def _bare(name: str) -> str:
    return name.removeprefix(DENOISER)


def _matrices(net: ControlNetFile, base: Checkpoint) -> list[str]:
    """The weights that the net has from its base. Raises ValueError where the base does not fit."""
    ours, theirs = net.context_width, context_width(base.shapes)
    if theirs is None or ours != theirs:
        what = "no U-Net" if theirs is None else family(theirs)
        raise ValueError(
            f"{net.name} is for {family(ours)}, but {base.name} is {what}. Choose the model that the net was trained on."
        )
    names = [name for name, shape in net.shapes.items() if is_base_matrix(_bare(name), shape)]
    for name in names:
        if math.prod(base.shapes.get(name, (0,))) != math.prod(net.shapes[name]):
            where = f"{base.shapes[name]}" if name in base.shapes else "not there"
            raise ValueError(
                f"{_bare(name)} is {net.shapes[name]} in {net.name}, but {where} in {base.name}. Choose the model that the net "
                "was trained on."
            )
    return names


def _choice_within(
    settings: Settings, net: ControlNetFile, names: Sequence[str], rest: Sequence[str], bytes_per_number: int
) -> RankChoice:
    """The choice of ranks; a size is lowered by what the file holds besides the factors that it is spread over."""
    if settings.choice.mode != "size":
        return settings.choice
    numbers = sum(math.prod(net.shapes[name]) for name in rest)
    for name in names:
        own = settings.choice_for(net.shapes[name])
        if own.mode != "size":
            shape = net.shapes[name]
            numbers += min(int(own.value) * parameters_per_rank(shape), math.prod(shape))
    return room_for_factors(settings.choice, numbers, len(rest) + 2 * len(names), bytes_per_number)


def _base_match(base: Checkpoint, differences: Mapping[str, Difference]) -> BaseMatch:
    norms = [float(torch.linalg.vector_norm(base.read(name).value)) for name in differences]
    peaks = []
    for difference in differences.values():
        rows, columns = difference.low_rank.up.shape[0], difference.low_rank.down.shape[1]
        noise = difference.norm * (rows**-0.5 + columns**-0.5)
        peaks.append(float(difference.values[0]) / noise)
    distance = math.hypot(*(difference.norm for difference in differences.values())) / (math.hypot(*norms) or 1.0)
    return BaseMatch(distance, float(torch.tensor(peaks).median()))


def _metadata(
    net: ControlNetFile,
    lora: ControlLora,
    found: Extracted,
    settings: Settings,
    provenance: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    sources = list(provenance) or [{"name": net.name}, {"name": net.base.name}]
    differences = [*found.differences.values(), *found.lost.values()]
    norm = math.hypot(*(difference.norm for difference in differences))
    residual = math.hypot(*(difference.residual for difference in differences))
    summary = {
        "family": family(net.context_width),
        "base": sources[-1],
        "layers_by_rank": rank_summary(lora.factors),
        "relative_residual": residual / norm if norm else 0.0,
    }
    recipe = {"method": "extract Control-LoRA", "sources": sources, **settings_key(settings)}
    return {RECIPE: json.dumps(recipe), SUMMARY: json.dumps(summary)}


def _report(net: ControlNetFile, base: Checkpoint, lora: ControlLora, found: Extracted, settings: Settings) -> str:
    whole = [name for name in found.differences if _bare(name) in lora.whole]
    lines = [
        f"{net.name} minus {base.name}, for {family(net.context_width)}: {settings.choice.describe()}"
        + ("" if settings.conv is None else f", convolutions {settings.conv.describe()}"),
        f"size: {size_mb(lora, 2):.2f} MB as float16, {size_mb(lora, 4):.2f} MB as float32; the full net takes "
        f"{sum(map(math.prod, net.shapes.values())) * 2 / 1e6:.2f} MB as float16",
        *(["the file contains a difference; the base was added to it"] if net.is_difference else []),
        f"{len(lora.whole) - len(whole)} biases, norms and layers of its own whole, with {FIRST}",
    ]
    if whole:
        lines.append(f"stored whole, because factors would be no smaller: {listed([_bare(name) for name in whole])}")
    lines += [*counts(found)[1:], *net.notes, *_base_match(base, found.differences | found.lost).lines()]
    lines.append(f"{len(lora.factors)} layers as factors, {found.unchanged} unchanged and left out")
    return "\n".join([*lines, *noise_lines(found.differences), cost_report(costs(found.differences | found.lost))])
