"""The page for developers is true: its examples work by being put there, and the files it names are there."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from delta.families import registry as family_registry
from delta.families.norm_sites import MODULATION, NORMS, find_sites
from delta.files.checkpoint import Checkpoint
from delta.hints.batch import draw_hints
from delta.linear_algebra.factors import LowRank
from delta.lora.adapters import Layer
from delta.lora.convert import convert_lora
from delta.lora.file import LoraModel, read_layers, write_layers
from delta.merging import merge, methods
from delta.merging import registry as method_registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/DEVELOPING.md").read_text(encoding="utf-8")
WIDTH = 4


def example(section: str) -> str:
    """The Python of a section of the page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    return code


@pytest.fixture
def put(tmp_path, monkeypatch) -> Iterator[Callable[[str, str], ModuleType]]:
    """A function that puts an example into a package as a module, and gives the module."""
    placed = []

    def place(section: str, package: str) -> ModuleType:
        (tmp_path / "example.py").write_text(example(section), encoding="utf-8")
        room = importlib.import_module(package)
        monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        placed.append(f"{package}.example")
        forget()
        return importlib.import_module(placed[-1])

    def forget() -> None:
        family_registry.families.cache_clear()
        method_registry._import_all.cache_clear()

    monkeypatch.setattr(method_registry, "_METHODS", methods())
    yield place
    for name in placed:
        package, _, module = name.rpartition(".")
        del sys.modules[name]
        delattr(sys.modules[package], module)
    forget()


@pytest.fixture
def toy(put) -> None:
    put("Add a family of models", "delta.families")


def test_a_merge_method_is_found_by_itself(put, monkeypatch):
    put("Add a merge method", "delta.merging")
    assert methods()["mean_of_all"].parameters == {"shrink": 1.0}
    one, two = torch.eye(WIDTH), torch.ones(WIDTH, WIDTH)
    parts = [LowRank(matrix, torch.eye(WIDTH), (WIDTH, WIDTH)) for matrix in (one, two)]
    merged = merge("mean_of_all", parts, [1.0, 3.0], {"shrink": 0.5})
    assert torch.allclose(merged.to_dense(), 0.25 * one + 0.75 * two)


def test_an_example_is_gone_after_its_test():
    assert "mean_of_all" not in methods() and family_registry.family_named("Toy") is None


def update(rows: int, seed: int) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, generator=generator) for size in ((rows, 2), (2, WIDTH))]
    return Layer(low_rank=LowRank(*factors, (rows, WIDTH)))


def test_a_family_is_named(toy):
    given = {
        "diffusion_model.toy_blocks.7.mix.qkv": update(3 * WIDTH, 1),
        "diffusion_model.toy_blocks.7.mix.out": update(WIDTH, 2),
        "diffusion_model.last": update(2 * WIDTH, 3),
    }
    apart = convert_lora(LoraModel(write_layers(given, torch.float32)), "diffusers")
    assert "family: Toy" in apart.report and "2 renamed, 1 split into 3" in apart.report
    assert set(read_layers(apart.model).layers) == {
        *(f"transformer.stages.7.attn.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
        "transformer.norm_out.linear",
    }
    back = read_layers(convert_lora(apart.model, "ComfyUI").model).layers
    assert back.keys() == given.keys()
    for name, layer in given.items():
        assert torch.allclose(back[name].dense(), layer.dense(), atol=1e-6)


def test_a_file_of_a_family_is_read(toy, tmp_path):
    parts = {f"stages.0.attn.{part}.weight": torch.randn(WIDTH, WIDTH) for part in ("to_q", "to_k", "to_v")}
    last = torch.randn(2 * WIDTH, WIDTH)
    save_file(parts | {"norm_out.linear.weight": last}, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.architecture == "Toy"
    whole = checkpoint.read("diffusion_model.toy_blocks.0.mix.qkv.weight").value
    assert torch.equal(whole, torch.cat(list(parts.values())))
    swapped = checkpoint.read("diffusion_model.last.weight").value
    assert torch.equal(swapped, torch.cat(last.chunk(2)[::-1]))


def test_the_norms_of_a_family_are_known(toy):
    shapes = {"mix.qkv.weight": (12, 4), "norm.weight": (4,), "table": (6, 4)}
    found = find_sites({f"diffusion_model.toy_blocks.0.{name}": shape for name, shape in shapes.items()})
    assert found.family == "Toy"
    assert found.tiers == {
        "diffusion_model.toy_blocks.0.norm.weight": NORMS,
        "diffusion_model.toy_blocks.0.table": MODULATION,
    }


def test_a_hint_is_drawn(put):
    module = put("Add a hint", "delta.hints")
    picture = torch.ones(2, 16, 24, 3)
    picture[:, :, :8] = 0.1
    hint = draw_hints(picture, module.dark, 0)
    assert hint.shape == picture.shape and hint[:, :, :8].min() == 1.0 and hint[:, :, 8:].max() == 0.0


def test_the_files_that_the_page_names_are_there():
    named = re.findall(r"`((?:delta|docs|js|locales|nodes|tests)/[\w./]*|\w+(?:\.zh)?\.md)`", PAGE)
    assert len(set(named)) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_fields_and_arguments_that_the_page_names_are_there():
    assert {"host", "styles"} <= family_registry.Family.__dataclass_fields__.keys()
    assert {"kind", "min_parts"} <= set(method_registry.MergeMethod.__dataclass_fields__)
