"""Every family through what the pack does with models and LoRAs, each result loaded by the host's own loader.

A cell of the matrix is `works`, `refused: ` and the words of the refusal, or `wrong: ` and what is wrong.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from .demo_loras import updates
from .layouts import CHANNELS, Layout, build, describe, normal

# The SVD of extraction is in float32; merges add up what is there.
EXTRACTED, MERGED = 1e-4, 1e-6
RANK = 2
SCALE = 0.1
NAMINGS = ("kohya", "ComfyUI", "diffusers")
PREFIX = "diffusion_model."
# The least width of a U-Net: nothing is sampled here.
NARROW = 32

Updates = Mapping[str, torch.Tensor]


class Wrong(AssertionError):
    """A result that is not what it is called."""


class Subject:
    """A layout's small model, what a pretended fine-tune moves in it, and the LoRAs that the pack makes of that."""

    def __init__(self, host: Any, base_dir: Path, layout: Layout):
        self.host, self.base_dir, self.layout = host, base_dir, layout
        self.channels = NARROW
        self.base = self._built()
        # Where heads have a width of their own, there may be none in a U-Net that narrow.
        if not all(weight.numel() for weight in self.base.model.diffusion_model.parameters()):
            self.channels = CHANNELS
            self.base = self._built()

    def _built(self) -> Any:
        return build(self.layout, description=describe(self.layout, channels=self.channels))

    @cached_property
    def wanted(self) -> Updates:
        """The change of every parameter."""
        return {PREFIX + name: change for name, change in self._changes(1).items()}

    def _changes(self, seed: int) -> dict[str, torch.Tensor]:
        return {
            name: _change(f"{seed}.{name}", weight)
            for name, weight in self.base.model.diffusion_model.named_parameters()
        }

    def tuned(self, seed: int) -> Any:
        changed = self._built()
        changes = self._changes(seed)
        with torch.no_grad():
            for name, weight in changed.model.diffusion_model.named_parameters():
                weight.add_(changes[name])
        return changed

    @cached_property
    def styled(self) -> Any:
        return self.tuned(1)

    def run(self, node: str, *arguments: Any, **others: Any) -> tuple:
        return self.host.node(f"StyleDelta{node}").execute(*arguments, **others).result

    @cached_property
    def extracted(self) -> tuple[Mapping[str, torch.Tensor], str]:
        """The LoRA of the change, and the report of the extraction."""
        return self.run("ExtractLora", self.styled, self.base, RANK, 0, True, True, "cpu")[:2]

    @cached_property
    def another(self) -> Mapping[str, torch.Tensor]:
        """The LoRA of another change."""
        return self.run("ExtractLora", self.tuned(2), self.base, RANK, 0, True, True, "cpu")[0]

    @cached_property
    def applied_extracted(self) -> Updates:
        return self.applied(self.extracted[0])

    @cached_property
    def renamed(self) -> dict[str, tuple[Mapping[str, torch.Tensor], Updates]]:
        """The other LoRA under namings that are not kohya's, and what the host makes of it; what is refused is left out."""
        found = {}
        for naming in NAMINGS[1:]:
            # The column of a naming tells why it is refused.
            with contextlib.suppress(ValueError), self.saved(self.another, naming) as tensors:
                found[naming] = tensors, self.applied(tensors)
        return found

    @contextlib.contextmanager
    def saved(
        self, lora: Mapping[str, torch.Tensor], naming: str, model: bool = True
    ) -> Iterator[Mapping[str, torch.Tensor]]:
        """A LoRA as Save LoRA writes it under a naming, with the model connected or not."""
        connected = {"model": self.base} if model else {}
        path, report = self.run("SaveLora", lora, "test_families/saved", "float32", naming, **connected)
        try:
            check_first_line(report, model)
            yield load_file(path)
        finally:
            os.unlink(path)

    def applied(self, tensors: Mapping[str, torch.Tensor]) -> Updates:
        """What the host's own loader makes of the tensors of a file."""
        import comfy.sd

        loaded, _ = comfy.sd.load_lora_for_models(self.base, None, dict(tensors), 1.0, 0.0)
        return updates(loaded)


def _change(name: str, weight: torch.Tensor) -> torch.Tensor:
    if weight.dim() < 2:
        change = normal(name, weight.shape, 0)
    else:
        up, down = (
            normal(f"{name}.up", (weight.shape[0], RANK), 0),
            normal(f"{name}.down", (RANK, weight[0].numel()), 0),
        )
        change = (up @ down).reshape(weight.shape)
    return change * (SCALE * weight.norm() / change.norm())


def check_first_line(report: str, connected: bool = True) -> None:
    """The first line says that the names are proven; without a model it may say that they are not."""
    line = report.splitlines()[0]
    if not line.startswith("names proven" if connected else ("names proven", "names unproven")):
        raise Wrong(f"the report begins with: {line}")


def check(found: Updates, wanted: Updates, tolerance: float) -> None:
    """Raises Wrong for an update that is missing, too much, or of other values."""
    if missing := sorted(wanted.keys() - found.keys()):
        raise Wrong(f"{len(missing)} updates are missing, such as {missing[0]}")
    if extra := sorted(found.keys() - wanted.keys()):
        raise Wrong(f"{len(extra)} updates too much, such as {extra[0]}")
    errors = {name: float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted}
    worst = max(errors, key=errors.__getitem__)
    if not errors[worst] < tolerance:
        raise Wrong(f"{worst} is off by {errors[worst]:.2g}")


def told(report: str) -> int:
    """How many weights a report says that it leaves out."""
    return sum(map(int, re.findall(r"left out, [^:]*: (\d+)", report)))


def check_told(found: Updates, wanted: Updates, report: str, tolerance: float) -> None:
    """As `check`, where what is missing may be told in the report."""
    missing = wanted.keys() - found.keys()
    if len(missing) != told(report):
        raise Wrong(f"{len(missing)} weights are missing and {told(report)} told, such as {sorted(missing)[:1]}")
    check(found, {name: wanted[name] for name in wanted if name not in missing}, tolerance)


def extract_models(subject: Subject) -> None:
    _, report = subject.extracted
    check_first_line(report)
    check_told(subject.applied_extracted, subject.wanted, report, EXTRACTED)


def extract_files(subject: Subject) -> None:
    folder = subject.base_dir / "models/diffusion_models"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"tuned": subject.styled, "base": subject.base}
    names = {role: f"test_families_{role}.safetensors" for role in files}
    try:
        for role, model in files.items():
            weights = dict(model.model.diffusion_model.named_parameters())
            save_file(
                {f"model.{PREFIX}{name}": w.detach().contiguous() for name, w in weights.items()}, folder / names[role]
            )
        chosen = [f"diffusion_models/{names[role]}" for role in ("tuned", "base")]
        lora, report, *_ = subject.run("ExtractLoraFiles", *chosen, RANK, 0, True, True, "cpu", True)
    finally:
        for name in names.values():
            (folder / name).unlink(missing_ok=True)
    check_first_line(report, connected=False)
    check_told(subject.applied(lora), subject.wanted, report, EXTRACTED)


def save_as(naming: str) -> Callable[[Subject], None]:
    def save(subject: Subject) -> None:
        lora, _ = subject.extracted
        with subject.saved(lora, naming) as tensors:
            check(subject.applied(tensors), subject.applied_extracted, EXTRACTED)

    return save


def merge(connected: bool) -> Callable[[Subject], None]:
    def run(subject: Subject) -> None:
        one, first = subject.extracted[0], subject.applied_extracted
        for renamed, second in subject.renamed.values():
            stacked = {name: first.get(name, 0) + second.get(name, 0) for name in {*first, *second}}
            inputs = {"lora_1": one, "lora_2": renamed} | ({"model": subject.base} if connected else {})
            merged = subject.run("MergeLoras", "linear", "", 0, 0, **inputs)[0]
            check(subject.applied(merged), stacked, MERGED)

    return run


def norms(subject: Subject) -> None:
    lora, report, *_ = subject.run("ExtractNorms", subject.styled, subject.base, True, True, True, "")
    check_first_line(report)
    found = subject.applied(lora)
    check(found, {name: subject.wanted[name] for name in found if name in subject.wanted}, MERGED)


def block_weights(subject: Subject) -> None:
    lora, _ = subject.extracted
    whole = subject.applied_extracted
    _, report, *_ = subject.run("BakeBlockWeights", lora, 1.0, 1.0, "all blocks", "", model=subject.base)
    blocks = re.findall(r"^  - ([\w.]+): 1, \d+ layers$", report, re.MULTILINE)
    numbered = [block for block in blocks if re.search(r"\.\d+$", block)] or blocks
    kept: dict[str, torch.Tensor] = {}
    for rule in (f"{numbered[0]}=0", f"*=0, {numbered[0]}=1"):
        baked = subject.run("BakeBlockWeights", lora, 1.0, 1.0, "all blocks", rule, model=subject.base)[0]
        found = subject.applied(baked)
        if twice := kept.keys() & found.keys():
            raise Wrong(f"{numbered[0]} is not apart from the rest: {sorted(twice)[0]}")
        kept |= found
    # The block and the rest make up the whole.
    check(kept, whole, MERGED)


def layer_swap(subject: Subject) -> None:
    for part in ("attention", "feed-forward"):
        swapped, report = subject.run("LayerSwap", subject.base, subject.styled, 1.0, part, "all blocks", "")
        count = int(re.search(r"swapped (\d+) weights", report)[1])
        found = {name for name in subject.wanted if name in swapped.patches or name in swapped.object_patches}
        if not count or count != len(found):
            raise Wrong(f"{part}: {count} weights are said to be swapped, {len(found)} are")


COLUMNS: Mapping[str, Callable[[Subject], None]] = {
    "extract": extract_models,
    "extract from files": extract_files,
    **{f"save as {naming}": save_as(naming) for naming in NAMINGS},
    "merge": merge(connected=True),
    "merge, no model": merge(connected=False),
    "norms": norms,
    "block weights": block_weights,
    "layer swap": layer_swap,
}


def cell(subject: Subject, column: str) -> str:
    """What becomes of a family in a column."""
    try:
        COLUMNS[column](subject)
    except Wrong as error:
        return f"wrong: {error}"
    except ValueError as error:
        return f"refused: {error}"
    return "works"


def row(host: Any, base_dir: Path, layout: Layout) -> dict[str, str]:
    """All cells of a layout."""
    subject = Subject(host, base_dir, layout)
    return {column: cell(subject, column) for column in COLUMNS}
