"""Convert LoRA Names: what it writes, as the host's own loader reads it, and as Save LoRA writes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from .demo_loras import updates
from .layouts import TABLE, build, has, normal

RANK = 2
# A layout of each family whose names differ, and whether the host reads the names that diffusers has for it.
CASES = {"Flux": True, "ZImage": True, "WAN21_T2V": False, "HunyuanVideo": False}
PREFIX = "diffusion_model."


def lora(model: Any) -> dict[str, torch.Tensor]:
    """A LoRA of every matrix of a model, by ComfyUI's names."""
    tensors = {}
    for name, weight in model.model.diffusion_model.named_parameters():
        if weight.dim() == 2 and name.endswith(".weight"):
            layer = PREFIX + name.removesuffix(".weight")
            tensors[f"{layer}.lora_up.weight"] = normal(f"{name}.up", (weight.shape[0], RANK), 0)
            tensors[f"{layer}.lora_down.weight"] = normal(f"{name}.down", (RANK, weight.shape[1]), 0)
    return tensors


def applied(model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the host's own loader makes of the tensors."""
    import comfy.sd

    return updates(comfy.sd.load_lora_for_models(model, None, dict(tensors), 1.0, 0.0)[0])


def check(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert wanted and found.keys() == wanted.keys()
    for name, update in wanted.items():
        assert (found[name] - update).norm() <= 1e-6 * update.norm(), name


@pytest.fixture(params=CASES, scope="module")
def case(request, host) -> tuple[str, Any, dict[str, torch.Tensor], bool]:
    """The layout's name, its model, a LoRA of it, and whether the host reads its diffusers names."""
    layout = next(layout for layout in TABLE if layout.class_name == request.param and layout.only_meta is None)
    if not has(layout):
        pytest.skip(layout.since)
    model = build(layout)
    return layout.name, model, lora(model), CASES[request.param]


def convert(host, given: Mapping[str, torch.Tensor], naming: str, **connected: Any) -> tuple:
    return host.node("StyleDeltaConvertLoraNames").execute(given, naming, **connected).result


@pytest.mark.parametrize(
    "naming", ["kohya", "ComfyUI", "diffusers", "OneTrainer", "SimpleTuner LyCORIS", "musubi-tuner"]
)
def test_the_host_reads_what_comes_back_with_the_same_updates(host, case, naming):
    _, model, given, _ = case
    wanted = applied(model, given)
    there, report = convert(host, given, naming, model=model)
    if report.startswith("names proven"):
        check(applied(model, there), wanted)
    else:
        assert report.startswith(f"names for {naming}; ComfyUI does not read ")
    for target in ("kohya", "ComfyUI"):
        back, report = convert(host, there, target, model=model)
        assert report.startswith("names proven: ComfyUI reads all ")
        check(applied(model, back), wanted)


def test_the_names_are_the_same_without_a_model(host, case):
    _, model, given, _ = case
    for naming in ("kohya", "diffusers"):
        with_model, without = convert(host, given, naming, model=model)[0], convert(host, given, naming)[0]
        assert with_model.keys() == without.keys()


def test_names_for_diffusers_are_saved_and_told(host, case):
    _, model, given, is_read = case
    converted, first = convert(host, given, "diffusers", model=model)
    assert first.startswith("names proven" if is_read else "names for diffusers; ComfyUI does not read ")
    path, report = host.node("StyleDeltaSaveLora").execute(converted, "test_names/saved", "float32", model=model).result
    try:
        assert report.splitlines()[0] == first.splitlines()[0]
        loaded = host.node("StyleDeltaConvertLoraNames").execute(load_file(path), "ComfyUI", model=model).result[0]
    finally:
        os.unlink(path)
    check(applied(model, loaded), applied(model, given))
