"""What the pack says of deltas, measured on weights that were really trained: the demo's models in tests/models.

Where the folder of the training has the weights as they were before they were made small, what is asked of single weights
is asked of those; each table tells. The nets are the thin ones, which compute what ComfyUI computes. Give the names of
questions, such as `spectra merges`, to ask these alone.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests/harness"), str(ROOT / "training")]

import torch  # noqa: E402
from control import ControlNet  # noqa: E402
from delta.charts.text_table import text_table  # noqa: E402
from diffusion import KEPT, noised  # noqa: E402
from drawings import BASE_MAKER, STYLES  # noqa: E402
from pack import Weights as Source  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from stages import WHOLE  # noqa: E402
from studio import Studio, every_subject, stored  # noqa: E402
from style import with_pairs  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.func import functional_call  # noqa: E402
from unet import started  # noqa: E402
from warps import edges  # noqa: E402

from delta.blocks.rules import parse_block_weights  # noqa: E402
from delta.control_lora.extract import ControlLoraJob, extract_control_lora  # noqa: E402
from delta.control_lora.net_file import ControlNetFile  # noqa: E402
from delta.extraction.extract import Extracted, Settings, extract  # noqa: E402
from delta.extraction.pair import compare  # noqa: E402
from delta.families.norm_sites import MODULATION, NORMS  # noqa: E402
from delta.families.registry import DENOISER  # noqa: E402
from delta.files.checkpoint import Checkpoint  # noqa: E402
from delta.linear_algebra.factors import LowRank  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402
from delta.lora.adapters import Layer  # noqa: E402
from delta.lora.merge import merge_loras  # noqa: E402
from delta.lora.sources import SourceLayer  # noqa: E402
from delta.merging.registry import methods  # noqa: E402
from delta.norms.difference import explained_share, extract_norms  # noqa: E402

ORIGINALS = ROOT / ".dev/training"
TUNED_STYLES = [style for style in STYLES if style != BASE_MAKER]
# Captions that pictures are drawn of, with so many steps, and how often the base's pictures are noised for outputs.
CAPTIONS, STEPS, NOISED, SEED = 24, 8, 3, 1906
ENERGY_AT = (1, 2, 4, 8, 16, 32)
RANKS = (1, 2, 4, 8, 16, 32, 64)
CONTROL_RANKS = (4, 8, 16, 32, 64)
PAIRED = (("night", "noto"), ("poster", "fluent"))
# Half way from noise to picture, in SD's 1000 steps: where Norm Report measures.
HALF = 499
FLOAT8 = torch.float8_e4m3fn

Weights = dict[str, Tensor]


class Tuned(NamedTuple):
    """A whole fine-tune and its base, in float32. origin: where the numbers are from."""

    weights: Weights
    base: Weights
    origin: str


@dataclass(frozen=True)
class Lab:
    """What outputs are measured with: the studio, and captions with the base's own pictures of them."""

    studio: Studio
    texts: list[str]

    @cached_property
    def pictures(self) -> Tensor:
        """The base's pictures [n, 3, 64, 64]."""
        return self.draw({})

    @cached_property
    def latents(self) -> Tensor:
        """Their latents [n, 4, 8, 8]."""
        with torch.no_grad():
            return self.studio.vae.encoder(self.pictures)

    @cached_property
    def conditions(self) -> tuple[Tensor, Tensor]:
        """Contexts and biases of the captions."""
        return self.studio.captions(self.texts)

    @cached_property
    def noisy(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents with noise at all times, the times, and the captions."""
        latents = self.latents.repeat(NOISED, 1, 1, 1)
        noisy, _, times = noised(latents, torch.Generator().manual_seed(SEED))
        context, bias = self.conditions
        return noisy, times, context.repeat(NOISED, 1, 1), bias.repeat(NOISED, 1)

    def draw(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Pictures of all captions with weights in place of the base's."""
        return self.studio.pictures(weights, self.texts, SEED, STEPS)

    def output(self, weights: Mapping[str, Tensor], control: object = None) -> Tensor:
        """What the UNet predicts of the noisy latents, [n, 4, 8, 8]."""
        with torch.no_grad():
            return functional_call(self.studio.net, {**self.studio.base, **weights}, (*self.noisy, control))

    def judged(self, weights: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
        """Of pictures drawn with weights: the share with the right subject, and the judge's mean probability of each style."""
        wanted = torch.tensor([every_subject().index(text) for text in self.texts])
        with torch.no_grad():
            of_subject, of_style = self.studio.judge(self.draw(weights), wanted)
        right = (of_subject.argmax(1) == wanted).float().mean().item()
        return right, dict(zip(STYLES, of_style.softmax(1).mean(0).tolist(), strict=True))


def lab() -> Lab:
    subjects = every_subject()
    tokenizer = Path(os.environ["STYLEDELTA_HOST_DIR"]) / "comfy/sd1_tokenizer"
    return Lab(Studio(tokenizer), subjects[:: len(subjects) // CAPTIONS][:CAPTIONS])


def original(name: str) -> Weights | None:
    """Weights of the training's own folder."""
    path = ORIGINALS / f"{name}.pt"
    return torch.load(path, weights_only=True, map_location="cpu") if path.is_file() else None


def tuned(style: str) -> Tuned:
    """The fine-tune of a style as it was trained, else as it was kept."""
    weights, base = original(f"{style}_full"), original("base")
    if weights and base:
        return Tuned(weights, base, "fine-tune as trained")
    return kept(style)


def kept(style: str) -> Tuned:
    """The fine-tune of a style out of tests/models: factors, biases and norms."""
    base = stored("base")
    return Tuned({**base, **with_pairs(base, stored(f"styles/{style}_full"))}, base, "fine-tune as kept")


def with_lora(style: str) -> Tuned:
    """The base with the style's LoRA of rank 16, where it was not trained whole."""
    base = stored("base")
    return Tuned({**base, **with_pairs(base, stored(f"styles/{style}_lora16"))}, base, "LoRA of rank 16")


def controlled() -> Tuned:
    """The control net and its base."""
    net, base = original("canny"), original("base")
    return Tuned(net, base, "as trained") if net and base else Tuned(stored("canny"), stored("base"), "as kept")


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[written(cell) for cell in row] for row in rows]
    print(f"\n{title}\n", *text_table([head, *cells]), sep="\n", flush=True)


def written(cell: object) -> str:
    """Three digits of a number, none of one that rounds to 0."""
    return (f"{cell:.3g}" if abs(cell) >= 5e-4 else "0") if isinstance(cell, float) else str(cell)


def distance(one: Tensor, other: Tensor, unit: Tensor) -> float:
    """||one - other|| / ||unit||."""
    return float(torch.linalg.vector_norm(one - other) / torch.linalg.vector_norm(unit))


def is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1


def matrices(one: Tuned) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The matrices that a fine-tune has from its base: name, change [m, n], base's weight [m, n]."""
    for name, weight in one.weights.items():
        if is_matrix(weight) and name in one.base:
            before = one.base[name].flatten(1)
            yield name, weight.flatten(1) - before, before


# 1. Spectra


def spectra(_: Lab) -> None:
    """Are the changes that training makes flat? Of live weights."""
    noise = [(torch.randn(weight.shape), weight) for _, _, weight in matrices(kept("noto"))]
    name, _, *shares = spectrum_row("white noise in these shapes", noise)
    rows = [[name, "", *shares]]
    for style in WHOLE:
        rows.append(spectrum_row(f"{style}, {tuned(style).origin}", [row[1:] for row in matrices(tuned(style))]))
    net = controlled()
    rows.append(spectrum_row(f"canny net, {net.origin}", [row[1:] for row in matrices(net)]))
    rows += [spectrum_row(f"{style} LoRA of rank 16", list(lora_changes(style))) for style in TUNED_STYLES]
    head = ["change", "distance", "peak", "flattest layer", *(f"rank {rank}" for rank in ENERGY_AT)]
    show("Energy of the leading directions; peak: the strongest by the edge of noise, median of layers", head, rows)


def lora_changes(style: str) -> Iterator[tuple[Tensor, Tensor]]:
    base, adapter = stored("base"), stored(f"styles/{style}_lora16")
    for name, weight in with_pairs(base, adapter).items():
        yield (weight - base[name]).flatten(1), base[name].flatten(1)


def spectrum_row(name: str, changes: Sequence[tuple[Tensor, Tensor]]) -> list[object]:
    values = [torch.linalg.svdvals(change) for change, _ in changes]
    sizes = [float(torch.linalg.vector_norm(one)) for one in values]
    edges_of = [size * (m**-0.5 + n**-0.5) for size, (m, n) in zip(sizes, (change.shape for change, _ in changes))]
    peaks = [float(one[0]) / edge for one, edge in zip(values, edges_of) if edge]
    whole = math.hypot(*(float(torch.linalg.vector_norm(weight)) for _, weight in changes))
    energy = [sum(float(one[:rank].square().sum()) for one in values) / math.hypot(*sizes) ** 2 for rank in ENERGY_AT]
    median = float(torch.tensor(peaks).median())
    return [name, math.hypot(*sizes) / whole, median, min(peaks), *(f"{share:.0%}" for share in energy)]


# 2. Predicted and measured error


def errors(lab: Lab) -> None:
    """Does the relative error of the weights tell that of the outputs?"""
    rows = []
    for style in WHOLE:
        one = tuned(style)
        before, after = lab.output(one.base), lab.output(one.weights)
        for rank in RANKS:
            found = extracted(one, Settings(RankChoice("fixed", rank), ignore_noise=True))
            output, told = lab.output(applied(one.base, found)), relative_error(found)
            missing = distance(output, after, after - before)
            rows.append([f"{style}, {one.origin}", rank, told, missing, missing / told, distance(output, after, after)])
    head = ["fine-tune", "rank", "error of weights", "missing of the change", "by the error", "of all output"]
    show("Extract LoRA: the report's relative error, and what the UNet's outputs lack", head, rows)
    control_errors(lab)


def extracted(one: Tuned, settings: Settings) -> Extracted:
    return extract(compare(Source("tuned", one.weights), Source("base", one.base)), settings)


def relative_error(found: Extracted) -> float:
    """What the report calls the overall relative error."""
    parts = [difference for difference in (found.differences | found.lost).values() if difference.low_rank is not None]
    return math.hypot(*(part.residual for part in parts)) / math.hypot(*(part.norm for part in parts))


def applied(base: Mapping[str, Tensor], found: Extracted, prefix: str = "") -> Weights:
    """The weights of a base after what was extracted was put on it."""
    weights = dict(base)
    for name, difference in found.differences.items():
        own = name.removeprefix(prefix)
        change = difference.full if difference.low_rank is None else difference.low_rank.to_dense()
        weights[own] = base[own] + change.view(base[own].shape)
    return weights


def control_errors(lab: Lab) -> None:
    one, hint = controlled(), hints(lab)
    net = control_outputs(lab, one.weights, hint)
    copied = {name: weight for name, weight in one.base.items() if name in one.weights and is_matrix(weight)}
    before = control_outputs(lab, {**one.weights, **copied}, hint)
    plain, steered = lab.output(one.base), lab.output(one.base, net)
    rows = []
    for rank in CONTROL_RANKS:
        job = control_lora(one.weights, one.base, rank)
        found = control_outputs(lab, rebuilt(job, one.base), hint)
        told = number(r"overall relative error: (\S+)", job)
        missing = distance(flat(found), flat(net), flat(net) - flat(before))
        whole = distance(flat(found), flat(net), flat(net))
        drawn = distance(lab.output(one.base, found), steered, steered - plain)
        rows.append([rank, told, missing, missing / told, whole, drawn])
    head = ["rank", "error of weights", "missing of the change", "by the error", "of all outputs", "of what it steers"]
    show(f"Extract Control-LoRA: the same for the canny net {one.origin}", head, rows)


def hints(lab: Lab) -> Tensor:
    """The edges of the base's pictures, for every noisy latent."""
    return edges(lab.pictures).repeat(NOISED, 1, 1, 1)


def control_outputs(lab: Lab, weights: Mapping[str, Tensor], hint: Tensor) -> tuple[list[Tensor], Tensor]:
    with torch.no_grad():
        return functional_call(ControlNet(), dict(weights), (*lab.noisy, hint))


def flat(outputs: tuple[list[Tensor], Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in (*outputs[0], outputs[1])])


def control_lora(net: Mapping[str, Tensor], base: Mapping[str, Tensor], rank: int) -> ControlLoraJob:
    """The pack's own extraction, of files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "net.safetensors", Path(folder) / "base.safetensors"
        save_file({name: weight.contiguous() for name, weight in net.items()}, paths[0])
        save_file({f"model.{DENOISER}{name}": weight.contiguous() for name, weight in base.items()}, paths[1])
        settings = Settings(RankChoice("fixed", rank))
        return extract_control_lora(ControlNetFile(paths[0]), Checkpoint(paths[1]), settings)


def rebuilt(job: ControlLoraJob, base: Mapping[str, Tensor]) -> Weights:
    """The net that ComfyUI makes of a Control-LoRA and a base."""
    weights = {name: weight for name, weight in base.items() if name in ControlNet().state_dict()} | job.lora.whole
    for layer, part in job.lora.factors.items():
        name = f"{layer}.weight"
        weights[name] = base[name] + part.to_dense().view(base[name].shape)
    return weights


def number(pattern: str, job: ControlLoraJob) -> float:
    return float(re.search(pattern, job.report)[1])


# 3. Is it the right base?


def bases(lab: Lab) -> None:
    """Do distance and peak tell a wrong base, and does a fine-tune pass?"""
    one, hint, rows = controlled(), hints(lab), []
    net = flat(control_outputs(lab, one.weights, hint))
    for name, base in base_candidates(lab, one.base):
        job = control_lora(one.weights, base, 16)
        found = flat(control_outputs(lab, rebuilt(job, base), hint))
        far, peak = (number(rf"{words} (\S+) times", job) for words in ("from the base:", "of the change:"))
        warnings = [word for word in ("distance", "flat") if re.search(rf"WARNING.*{word}", job.report)]
        told = number(r"overall relative error: (\S+)", job)
        rows.append([name, far, peak, ", ".join(warnings) or "none", told, distance(found, net, net)])
    head = ["base", "distance", "peak", "warnings", "error of weights at rank 16", "of all outputs"]
    show(f"The canny net {one.origin} against bases", head, rows)


def base_candidates(lab: Lab, base: Weights) -> Iterator[tuple[str, Weights]]:
    yield "its own", base
    for style in WHOLE:
        one = tuned(style)
        # On the net's own base, so that no rounding of the kept one comes in between.
        yield f"{style}'s fine-tune", {name: base[name] + one.weights[name] - one.base[name] for name in base}
    padding = lab.studio.captions.end
    yield "its own before training", untrained(padding, 1906)
    yield "another before training", untrained(padding, 7)
    yield "its own, channels in another order", permuted(base)


def untrained(padding: Tensor, seed: int) -> Weights:
    return {name: weight.detach() for name, weight in started(padding, seed).named_parameters()}


def permuted(base: Weights) -> Weights:
    """Weights of the same spectra whose directions have nothing to do with those of the base."""
    generator, result = torch.Generator().manual_seed(SEED), {}
    for name, weight in base.items():
        for side in range(min(weight.ndim, 2)):
            weight = weight.index_select(side, torch.randperm(weight.shape[side], generator=generator))
        result[name] = weight
    return result


# 4. Merge methods


def merges(lab: Lab) -> None:
    """Which method keeps both styles, at its defaults and strengths of 1?"""
    for pair in PAIRED:
        base = lab.studio.base
        loras = [with_lora(style).weights for style in pair]
        plain, *styled = (lab.output(weights) for weights in (base, *loras))
        changes = [output - plain for output in styled]
        given = {"no LoRA": base, **{f"{style} alone": lora for style, lora in zip(pair, loras)}}
        given["linear, half of each"] = merge(base, pair, "linear", 0.5)
        rows = [merge_row(lab, name, weights, plain, changes, pair) for name, weights in given.items()]
        merged = [merge_row(lab, name, merge(base, pair, name), plain, changes, pair) for name in methods()]
        rows += sorted(merged, key=lambda row: -row[3])
        one, two = pair
        head = ["method", one, two, "less of both", "subject", f"way to {one}", f"way to {two}", "off their sum"]
        head += [f"far from {one}", f"far from {two}"]
        show(f"{one} + {two}: the judge's probabilities, and the outputs' change", head, rows)


def merge(base: Weights, pair: Sequence[str], method: str, strength: float = 1.0) -> Weights:
    """The weights of the base with both LoRAs merged on it."""
    adapters = [stored(f"styles/{style}_lora16") for style in pair]
    sources = [lora_source(base, adapter, strength) for adapter in adapters]
    layers = merge_loras(sources, method, {}, RankChoice("full")).layers
    return {**base, **{f"{name}.weight": base[f"{name}.weight"] + layer.dense() for name, layer in layers.items()}}


def lora_source(base: Weights, adapter: Weights, strength: float) -> dict[str, SourceLayer]:
    """A stored LoRA as the merge reads it."""
    source = {}
    for name, down in adapter.items():
        if name.endswith(".down"):
            layer = name.removesuffix(".down")
            part = LowRank(adapter[f"{layer}.up"], down.flatten(1), tuple(base[f"{layer}.weight"].shape))
            source[layer] = SourceLayer(layer, tuple(layer.split(".")), Layer(low_rank=part), strength)
    return source


def merge_row(
    lab: Lab, name: str, weights: Weights, plain: Tensor, changes: Sequence[Tensor], pair: Sequence[str]
) -> list[object]:
    """way: how much of a style's change of the outputs is in that of the merge, 1 for all; far: distance from the style by
    the size of its change; off: from the sum of both changes, by its size."""
    subject, odds = lab.judged(weights)
    change, both = lab.output(weights) - plain, sum(changes)
    ways = [float((change * one).sum() / one.square().sum()) for one in changes]
    far = [distance(change, one, one) for one in changes]
    probabilities = [odds[style] for style in pair]
    return [name, *probabilities, min(probabilities), subject, *ways, distance(change, both, both), *far]


# 5. Pairs of float8


def float8(lab: Lab) -> None:
    """What the noise floor makes of two files of float8."""
    rows = []
    for style in WHOLE:
        one = tuned(style)
        before, after = lab.output(one.base), lab.output(one.weights)
        for name, found in float8_extractions(one):
            weights = applied(one.base, found, DENOISER)
            output = distance(lab.output(weights), after, after - before)
            subject, odds = lab.judged(weights)
            error = true_error(one, weights)
            rows.append([style, name, ranks(found), relative_error(found), error, output, subject, odds[style]])
        subject, odds = lab.judged(one.weights)
        rows.append([style, f"the {one.origin}", "", "", 0.0, 0.0, subject, odds[style]])
    head = ["style", "extraction", "rank", "error reported", "true error", "missing of the change", "subject", "style"]
    show("Base and fine-tune rounded to float8, extracted, and put on the base as it was", head, rows)


def float8_extractions(one: Tuned) -> Iterator[tuple[str, Extracted]]:
    with tempfile.TemporaryDirectory() as folder:
        rounded = compare(*(checkpoint(Path(folder), name, w, FLOAT8) for name, w in files_of(one)))
        yield "rank 0, noise floor", extract(rounded, Settings(RankChoice("full")))
        yield "rank 0, ignore noise", extract(rounded, Settings(RankChoice("full"), ignore_noise=True))
        yield "rank 16, noise floor", extract(rounded, Settings(RankChoice("fixed", 16)))
        yield "rank 16, ignore noise", extract(rounded, Settings(RankChoice("fixed", 16), ignore_noise=True))
        exact = compare(*(checkpoint(Path(folder), f"exact_{name}", w, torch.float32) for name, w in files_of(one)))
        yield "rank 16 of float32", extract(exact, Settings(RankChoice("fixed", 16)))


def files_of(one: Tuned) -> tuple[tuple[str, Weights], tuple[str, Weights]]:
    return ("tuned", one.weights), ("base", one.base)


def checkpoint(folder: Path, name: str, weights: Weights, dtype: torch.dtype) -> Checkpoint:
    """A file whose matrices are of this type; norms and biases are float32, as files of float8 often have them finer."""
    path = folder / f"{name}.safetensors"
    tensors = {f"model.{DENOISER}{key}": w.to(dtype) if is_matrix(w) else w for key, w in weights.items()}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return Checkpoint(path)


def ranks(found: Extracted) -> str:
    """Median and highest rank."""
    parts = [part.low_rank.rank for part in (found.differences | found.lost).values() if part.low_rank is not None]
    return f"{sorted(parts)[len(parts) // 2]}, at most {max(parts)}"


def true_error(one: Tuned, weights: Weights) -> float:
    """The distance of all matrices from those of the fine-tune, by its own from the base."""
    missing = [one.weights[name] - weights[name] for name, *_ in matrices(one)]
    return math.hypot(*(float(part.norm()) for part in missing)) / math.hypot(
        *(float(change.norm()) for _, change, _ in matrices(one))
    )


# 6. Norms


def norms(lab: Lab) -> None:
    """Does the explained share of Norm Report tell what the judge sees?"""
    rows = []
    for style in TUNED_STYLES:
        one = kept(style) if style in WHOLE else with_lora(style)
        for name, weights in norm_candidates(one, style):
            subject, odds = lab.judged(weights)
            empty, drawn = (
                [half_way(lab, each, latents) for each in (one.base, weights, one.weights)]
                for latents in (torch.zeros_like(lab.latents), lab.latents)
            )
            shares = [f"{explained_share(*outputs):.0%}" for outputs in (empty, drawn)]
            rows.append([style, name, *shares, single_shares(drawn), subject, odds[style]])
    head = [
        "style",
        "norms in place of all",
        "share without latent",
        "with",
        "single captions with",
        "subject",
        "style",
    ]
    show("The explained share, and what the judge sees", head, rows)


def norm_candidates(one: Tuned, style: str) -> Iterator[tuple[str, Weights]]:
    def named(name: str, weights: Weights) -> Source:
        return Source(name, {DENOISER + key: weight for key, weight in weights.items()})

    if style in WHOLE:
        sources = [named(name, weights) for name, weights in files_of(one)]
        found = extract_norms(*sources, (NORMS, MODULATION), parse_block_weights("")).deltas
        changes = {name.removeprefix(DENOISER): change for name, change in found.items()}
        yield "of the fine-tune", {**one.base, **{name: one.base[name] + change for name, change in changes.items()}}
    for kind in ("norms", "norms_biases"):
        yield f"trained as {kind}", {**one.base, **with_pairs(one.base, stored(f"styles/{style}_{kind}"))}
    yield f"all: {one.origin}", one.weights


def half_way(lab: Lab, weights: Weights, latents: Tensor) -> Tensor:
    """Predictions at the step where Norm Report measures."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(SEED))
    noisy = KEPT[HALF].sqrt() * latents + (1 - KEPT[HALF]).sqrt() * noise
    with torch.no_grad():
        return functional_call(lab.studio.net, weights, (noisy, torch.full((len(noisy),), HALF), *lab.conditions))


def single_shares(outputs: Sequence[Tensor]) -> str:
    """The explained shares of single captions."""
    shares = [explained_share(*rows) for rows in zip(*outputs)]
    return f"{min(shares):.0%} to {max(shares):.0%}"


QUESTIONS: dict[str, Callable[[Lab], None]] = {
    question.__name__: question for question in (spectra, errors, bases, merges, float8, norms)
}


def main(names: Sequence[str]) -> None:
    there = lab()
    for name in names or QUESTIONS:
        QUESTIONS[name](there)


if __name__ == "__main__":
    main(sys.argv[1:])
