"""Whether LoRAs get along: how far their directions coincide, and whether they pull the same way.

Two updates of a weight write into the spans of their left singular vectors and react to those of their right ones. How
far two spans coincide is told by the cosines of their principal angles (Björck and Golub 1973, Mathematics of
Computation 27); whether the updates add up or cancel, by the cosine between the updates themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from string import ascii_uppercase
from typing import NamedTuple

import torch
from torch import Tensor

from ..blocks.paths import block_of, block_order, count_by_block
from ..charts.charts import Charts, Heatmap, Note
from ..files.adapter_names import naming
from ..linear_algebra.factors import LowRank, small_problems
from ..linear_algebra.rank import energy
from ..progress import Step
from ..report_text import text_table
from .addresses import ModelNames
from .file import left_out
from .sources import MergeInput, Source, alike, read_sources

# The directions that hold this share of a layer's energy stand for the layer; the rest is mostly noise of the training.
LEADING_ENERGY = 0.9
# A cosine of 0.1 makes the sum of two equally strong updates 5 % longer or shorter than if they were unrelated.
NOTABLE = 0.1
NAMED_BLOCKS = 3
# What is said of two LoRAs, and what helps, by the kind of their relation.
SENTENCES = {
    "alike": (
        "pull the same way in {blocks}: what they share counts twice there.",
        "Lower one of the strengths, or merge them by svc, knots or ties.",
    ),
    "opposed": (
        "pull against each other in {blocks}: what one adds, the other takes away.",
        "Switch one of them off there by block weights, such as `{block}=0`, or merge them by ties or tsv_m.",
    ),
    "tangled": (
        "share directions in {blocks}, but neither add up nor cancel there: stacked, they interfere with each other.",
        "Merge them by tsv_m, or lower the strengths.",
    ),
    "same inputs": (
        "react to the same inputs in {blocks}, but write to different outputs: they can be stacked.",
        "Lower the strengths if the picture is overdone.",
    ),
    "same outputs": (
        "write to the same outputs in {blocks}, but react to different inputs: they can be stacked.",
        "Lower the strengths if the picture is overdone.",
    ),
}


class Overlap(NamedTuple):
    """How far two spans coincide, and how far random spans of their dimensions do on average; both in 0..1."""

    shared: float
    chance: float

    @property
    def notable(self) -> bool:
        """Whether a tenth of what chance leaves apart is shared."""
        return self.shared - self.chance >= NOTABLE * (1 - self.chance) and self.chance < 1


class Directions(NamedTuple):
    """An update, its Frobenius norm, and orthonormal bases of its leading directions.

    outputs: [m, K]; inputs: [n, K]; float64.
    """

    update: LowRank
    norm: float
    outputs: Tensor
    inputs: Tensor


class Meeting(NamedTuple):
    """Two updates of one weight. inner: their Frobenius inner product; norms: the Frobenius norm of each."""

    outputs: Overlap
    inputs: Overlap
    inner: float
    norms: tuple[float, float]


class Relation(NamedTuple):
    """Several meetings in one. outputs, inputs: means weighted by the product of the norms; cosine: -1..1."""

    outputs: Overlap
    inputs: Overlap
    cosine: float
    layers: int


class Pair(NamedTuple):
    """Two LoRAs by their letters. blocks: where both have an update; alone: paths of layers that only one of them has."""

    names: tuple[str, str]
    blocks: dict[str, Relation]
    alone: tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


class Comparison(NamedTuple):
    """report: plain text; charts: heat-maps; pairs: the figures."""

    report: str
    charts: Charts
    pairs: list[Pair]


def compare_loras(
    inputs: Sequence[MergeInput],
    model: ModelNames | None = None,
    on_step: Step = lambda done, total: None,
) -> Comparison:
    """Compare every two LoRAs, layer by layer. `model` tells which weight a name means.

    Strengths, times block factors, count by their sign and against each other within a block; layers at strength 0 are
    left out. Raises ValueError for fewer than two LoRAs, for one without low-rank layers or without a layer in common
    with any other where no model tells what it is for, and for LoRAs of different models.
    """
    inputs = [MergeInput(*row) for row in inputs]
    if not 2 <= len(inputs) <= len(ascii_uppercase):
        raise ValueError(
            f"A comparison needs 2 to {len(ascii_uppercase)} LoRAs, not {len(inputs)}. "
            "Connect a LoRA stack of several rows, or more LORA_MODELs."
        )
    sources = [read.layers for read in read_sources(inputs, model)]
    updates = [_low_rank(row, source) for row, source in zip(inputs, sources)]
    _require_relatives(inputs, updates, model is not None)
    with small_problems():
        meetings = _meetings(updates, on_step)
    pairs = [_pair(updates, i, j, meetings[i, j]) for i, j in combinations(range(len(inputs)), 2)]
    return Comparison(_report(inputs, sources, updates, pairs), _charts(inputs, pairs), pairs)


def overlap(one: Tensor, two: Tensor) -> Overlap:
    """The mean squared cosine of the principal angles between the spans of orthonormal columns [d, r1] and [d, r2]."""
    smaller, larger = sorted((one.shape[1], two.shape[1]))
    return Overlap(float((one.T @ two).square().sum()) / smaller, larger / len(one))


def leading_directions(update: LowRank) -> Directions:
    """The directions that hold 90 % of the energy of an update; none for an update of nothing."""
    svd = update.svd()
    count = energy(LEADING_ENERGY)(svd.values, svd.shape)
    norm = float(torch.linalg.vector_norm(svd.values))
    return Directions(update, norm, svd.left @ svd.u[:, :count], svd.right.T @ svd.vt[:count].T)


def meet(one: Directions, two: Directions) -> Meeting:
    """How two updates of one weight are related. Both have at least one direction."""
    return Meeting(
        overlap(one.outputs, two.outputs),
        overlap(one.inputs, two.inputs),
        one.update.inner(two.update),
        (one.norm, two.norm),
    )


def relate(meetings: Sequence[Meeting]) -> Relation:
    """The layers of a block, or of a whole model, in one. Strong layers count more."""
    weights = torch.tensor([math.prod(meeting.norms) for meeting in meetings], dtype=torch.float64)
    weights /= weights.sum()
    outputs, inputs = (
        Overlap(*(weights @ torch.tensor([meeting[side] for meeting in meetings], dtype=torch.float64)).tolist())
        for side in (0, 1)
    )
    norms = [math.hypot(*norms) for norms in zip(*(meeting.norms for meeting in meetings))]
    return Relation(outputs, inputs, sum(meeting.inner for meeting in meetings) / math.prod(norms), len(meetings))


def _low_rank(row: MergeInput, source: Source) -> Source:
    """The layers that can be compared."""
    found = {
        identity: layer
        for identity, layer in source.items()
        if layer.layer.low_rank is not None and layer.layer.low_rank.rank and layer.strength
    }
    if not found:
        raise ValueError(
            f"{row.model.name} has no low-rank layer at a strength other than 0, so there is nothing to compare. "
            "Choose another LoRA, or raise its strength."
        )
    return found


def _require_relatives(inputs: Sequence[MergeInput], updates: Sequence[Source], connected: bool) -> None:
    """Refuse a LoRA that is for another model, as far as that can be told."""
    for index, (row, source) in enumerate(zip(inputs, updates)):
        others = set().union(*(other for i, other in enumerate(updates) if i != index))
        if not connected and not others & source.keys():
            raise ValueError(
                f"{row.model.name} has no layer in common with the others; it has {naming(row.model)}. If it is for the "
                "same model, connect it so that the names can be matched; otherwise compare LoRAs for the same kind of model."
            )


def _meetings(updates: Sequence[Source], on_step: Step) -> dict[tuple[int, int], dict[str, list[Meeting]]]:
    """Every meeting of two LoRAs, by their numbers and the block."""
    found: dict[tuple[int, int], dict[str, list[Meeting]]] = {pair: {} for pair in combinations(range(len(updates)), 2)}
    shared = [
        identity
        for identity in dict.fromkeys(identity for source in updates for identity in source)
        if sum(identity in source for source in updates) > 1
    ]
    for done, identity in enumerate(shared, start=1):
        rows = {index: source[identity] for index, source in enumerate(updates) if identity in source}
        given = [row.layer.low_rank.scale(row.strength) for row in rows.values()]
        first = next(iter(rows.values()))
        directions = dict(zip(rows, map(leading_directions, alike(given, first.name))))
        present = [index for index in rows if directions[index].outputs.shape[1]]
        for i, j in combinations(present, 2):
            found[i, j].setdefault(block_of(first.path), []).append(meet(directions[i], directions[j]))
        on_step(done, len(shared))
    return found


def _pair(updates: Sequence[Source], i: int, j: int, meetings: Mapping[str, list[Meeting]]) -> Pair:
    blocks = {block: relate(meetings[block]) for block in sorted(meetings, key=block_order)}
    one, two = updates[i], updates[j]
    alone = tuple(
        [layer.path for identity, layer in source.items() if identity not in other]
        for source, other in ((one, two), (two, one))
    )
    return Pair((ascii_uppercase[i], ascii_uppercase[j]), blocks, alone)


def _report(
    inputs: Sequence[MergeInput], sources: Sequence[Source], updates: Sequence[Source], pairs: Sequence[Pair]
) -> str:
    lines = [f"comparison of {len(inputs)} LoRAs"]
    for letter, row, source, compared in zip(ascii_uppercase, inputs, sources, updates):
        rules = f", blocks {row.block_weights}" if row.block_weights else ""
        lines.append(f"{letter}: {row.model.name}, model {row.strength_model:g}, clip {row.strength_clip:g}{rules}")
        if others := len(source) - len(compared):
            lines.append(f"   {others} layers not compared (bias, norm, dense or strength 0)")
        lines += [f"   {line}" for line in left_out(row.model)]
    for pair in pairs:
        lines += ["", *verdict(pair)]
    for pair in pairs:
        lines += ["", *_table(pair)]
    return "\n".join(lines)


def verdict(pair: Pair) -> list[str]:
    """In plain sentences, whether two LoRAs can be stacked, where they fight, and what helps."""
    both = " and ".join(pair.names)
    if not pair.blocks:
        return [f"{both} have no layer in common: they can be stacked at full strength."]
    lines = []
    for kind, (finding, remedy) in SENTENCES.items():
        rows = [row for row in pair.blocks.items() if kind_of(row[1]) == kind]
        # By the digits that are shown: rounding must not shuffle equal blocks.
        rows.sort(key=lambda row: -abs(round(row[1].cosine, 2)))
        if rows:
            finding, remedy = finding.format(blocks=_named(rows)), remedy.format(block=rows[0][0])
            lines.append(f"{both} {finding} {_figures(*rows[0])} {remedy}")
    return lines or [f"{both} barely overlap: they can be stacked at full strength."]


def kind_of(relation: Relation) -> str | None:
    """Which of the `SENTENCES` is true of two LoRAs in a block; None where they barely overlap."""
    if abs(relation.cosine) >= NOTABLE:
        return "alike" if relation.cosine > 0 else "opposed"
    if relation.outputs.notable:
        return "tangled" if relation.inputs.notable else "same outputs"
    return "same inputs" if relation.inputs.notable else None


def _named(rows: Sequence[tuple[str, Relation]]) -> str:
    """The first blocks, and how many more there are."""
    named = [block for block, _ in rows[:NAMED_BLOCKS]]
    more = len(rows) - len(named)
    if more:
        named.append(f"{more} more {'block' if more == 1 else 'blocks'}")
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _figures(block: str, relation: Relation) -> str:
    return (
        f"In {block} they share {_share(relation.outputs)} of their output directions and {_share(relation.inputs)} of "
        f"their input directions; the cosine is {_cosine(relation)}."
    )


def _table(pair: Pair) -> list[str]:
    one, two = pair.names
    total = sum(relation.layers for relation in pair.blocks.values())
    lines = [f"{one} and {two}: {total} layers in common"]
    rows = [
        (block, _share(relation.outputs), _share(relation.inputs), _cosine(relation), str(relation.layers))
        for block, relation in pair.blocks.items()
    ]
    if rows:
        lines += text_table([("block", "outputs", "inputs", "cosine", "layers"), *rows])
    lines += [
        f"only {name} has {len(paths)} layers: {count_by_block(paths)}"
        for name, paths in zip(pair.names, pair.alone)
        if paths
    ]
    return lines


def _share(overlap: Overlap) -> str:
    shared, chance = (f"{part:.0%}" if part >= 0.1 else f"{part:.1%}" for part in overlap)
    return f"{shared} (chance {chance})"


def _cosine(relation: Relation) -> str:
    """Adding 0 takes the sign off a number that is rounded to 0."""
    return f"{round(relation.cosine, 2) + 0.0:.2f}"


def _charts(inputs: Sequence[MergeInput], pairs: Sequence[Pair]) -> Charts:
    """Overlap of outputs and inputs and the cosine, blocks by pairs, above the names of the LoRAs."""
    names = Note([f"{letter}: {row.model.name}" for letter, row in zip(ascii_uppercase, inputs)])
    blocks = sorted({block for pair in pairs for block in pair.blocks}, key=block_order)
    if not blocks:
        return [[Note(["no layer in common"])], [names]]
    columns = ["-".join(pair.names) for pair in pairs]
    maps = []
    for title, figure, signed in (
        ("Outputs shared", lambda relation: relation.outputs.shared, False),
        ("Inputs shared", lambda relation: relation.inputs.shared, False),
        ("Cosine", lambda relation: relation.cosine, True),
    ):
        table = [
            [figure(pair.blocks[block]) if block in pair.blocks else math.nan for pair in pairs] for block in blocks
        ]
        maps.append(Heatmap(title, blocks, columns, table, signed))
    return [maps, [names]]
