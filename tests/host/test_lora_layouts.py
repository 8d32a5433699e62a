"""Merges on the true layouts of models: every weight, under the names and in the adapters that real files use."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from .demo_loras import updates
from .tiny_models import LAYOUTS, is_of_flux2, normal, sample, tiny_model, tuned

TOLERANCE = 1e-6
NARROW = 32
STRENGTHS = (0.8, -0.6, 1.1)
DIFFUSERS_BLOCKS = ("down_", "mid_", "up_", "conv_", "time_embedding", "add_embedding")
# How names of each convention begin. Kohya names follow either the model's own numbering or that of diffusers.
NAMINGS = {
    "kohya": ("lora_unet_",),
    "kohya diffusers": tuple(f"lora_unet_{block}" for block in DIFFUSERS_BLOCKS),
    "wan fun": ("lora_unet_blocks_",),
    "ComfyUI": ("diffusion_model.",),
    "diffusers": ("unet.", "transformer."),
    "SimpleTuner": ("lycoris_",),
    "OneTrainer": ("lora_transformer_",),
}
LINEAR_KINDS = ("lora", "loha", "lokr", "factored lokr", "diff")
# Without the Tucker form of LoKr, which the host fails to apply.
KERNEL_KINDS = ("lora", "tucker", "loha", "tucker loha", "lokr", "factored lokr", "diff")
PIXEL_KINDS = ("lora", "flat lora", "loha", "lokr", "diff")
# What files under a naming call the two factors of a LoRA.
FACTORS = {
    "kohya": (("lora_up.weight", "lora_down.weight"),),
    "ComfyUI": (("lora_up.weight", "lora_down.weight"), ("lora_B.weight", "lora_A.weight")),
    "diffusers": (("lora_B.weight", "lora_A.weight"), ("lora.up.weight", "lora.down.weight")),
}

Shape = tuple[int, ...]


class Case(NamedTuple):
    """A layout, the naming of each file, and whether the model tells the merge which names mean one weight."""

    layout: str
    namings: tuple[str, ...]
    connected: bool = True

    def __str__(self) -> str:
        return f"{self.layout}: {', '.join(self.namings)}" + ("" if self.connected else ", no model")


CASES = (
    Case("sd15", ("ComfyUI", "kohya diffusers", "diffusers")),
    Case("sd15", ("kohya", "kohya diffusers"), connected=False),
    Case("sd15", ("ComfyUI", "SimpleTuner", "diffusers"), connected=False),
    Case("sdxl", ("ComfyUI", "kohya diffusers", "diffusers")),
    Case("sdxl", ("kohya", "kohya diffusers"), connected=False),
    Case("flux", ("ComfyUI", "diffusers")),
    Case("flux", ("kohya", "OneTrainer", "SimpleTuner")),
    Case("flux", ("diffusers", "OneTrainer", "ComfyUI")),
    Case("flux", ("kohya", "ComfyUI"), connected=False),
    Case("flux", ("ComfyUI", "diffusers"), connected=False),
    Case("wan", ("ComfyUI", "kohya", "ComfyUI")),
    Case("wan", ("kohya", "ComfyUI"), connected=False),
    Case("wan", ("kohya", "wan fun")),
)


class Merge(NamedTuple):
    """What core's stacking adds to each weight of the model, and the merge of the same files."""

    patcher: Any
    core: Mapping[str, torch.Tensor]
    lora: Mapping[str, torch.Tensor]


@lru_cache(maxsize=1)
def model(layout: str) -> Any:
    """The model of a layout for tests that do not sample it, the least wide one."""
    return tiny_model(layout, channels=NARROW)


@pytest.fixture(scope="module", autouse=True)
def forget_model() -> Iterator[None]:
    """The host's patchers cannot be deleted when Python ends."""
    yield
    model.cache_clear()


def key_map(patcher: Any) -> dict[str, Any]:
    import comfy.lora

    return comfy.lora.model_lora_keys_unet(patcher.model, {})


def layers(patcher: Any, naming: str) -> dict[Any, str]:
    """Every weight, or part of a fused one, that the naming can tell, and its first name there."""
    weights = patcher.model.state_dict()
    names: dict[Any, str] = {}
    for name, target in key_map(patcher).items():
        weight = target if isinstance(target, str) else target[0]
        if not name.startswith(NAMINGS[naming]) or weight not in weights or weight.endswith(".bias"):
            continue
        # SD 2 unCLIP's name of SDXL's label embedding. And kohya means the model's own numbering here.
        if "class_embedding" in name or (naming == "kohya" and name != own_name(weight)):
            continue
        if not is_of_flux2(name):
            names.setdefault(target, name)
    return names


def own_name(weight: str) -> str:
    return "lora_unet_" + weight.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")


def kinds(shape: Shape, naming: str) -> tuple[str, ...]:
    """The adapters that a weight of this shape can have."""
    if naming == "wan fun":
        return ("lora",) if len(shape) == 2 else ("diff",)
    if len(shape) == 1:
        return "norm", "diff"
    if len(shape) == 2:
        return LINEAR_KINDS
    if len(shape) == 4:
        return KERNEL_KINDS if shape[2] > 1 else PIXEL_KINDS
    return ("lora", "loha", "diff") if len(shape) == 5 else ("diff",)


def parts(kind: str, shape: Shape, rank: int, factors: tuple[str, str]) -> dict[str, Shape]:
    """The tensors of an adapter by their endings, with their shapes."""
    if kind in ("norm", "diff"):
        return {"w_norm" if kind == "norm" else "diff": shape}
    (m, n), kernel = shape[:2], shape[2:]
    columns, ones = torch.Size(shape[1:]).numel(), (1,) * len(kernel)
    up, down = factors
    k = math.gcd(m, n, 8)
    return {
        "lora": {up: (m, rank, *ones), down: (rank, n, *kernel)},
        "flat lora": {up: (m, rank), down: (rank, columns)},
        "tucker": {
            "lora_up.weight": (m, rank, *ones),
            "lora_down.weight": (rank, n, *ones),
            "lora_mid.weight": (rank, rank, *kernel),
        },
        "loha": {
            "hada_w1_a": (m, rank),
            "hada_w1_b": (rank, columns),
            "hada_w2_a": (m, rank),
            "hada_w2_b": (rank, columns),
        },
        "tucker loha": {
            "hada_w1_a": (rank, m),
            "hada_w1_b": (rank, n),
            "hada_t1": (rank, rank, *kernel),
            "hada_w2_a": (rank, m),
            "hada_w2_b": (rank, n),
            "hada_t2": (rank, rank, *kernel),
        },
        "lokr": {"lokr_w1": (k, k), "lokr_w2": (m // k, n // k, *kernel)},
        "factored lokr": {"lokr_w1": (k, k), "lokr_w2_a": (m // k, rank), "lokr_w2_b": (rank, columns // k)},
    }[kind]


def lora_file(patcher: Any, naming: str, seed: int) -> dict[str, torch.Tensor]:
    """A file with an adapter for every weight that the naming can tell; kinds, ranks and alphas change with the seed."""
    weights = {name: tuple(weight.shape) for name, weight in patcher.model.state_dict().items()}
    spellings = FACTORS.get(naming, FACTORS["kohya"])
    shapes: dict[str, Shape] = {}
    alphas: dict[str, torch.Tensor] = {}
    for number, (target, name) in enumerate(layers(patcher, naming).items(), start=seed):
        weight, offset = (target, None) if isinstance(target, str) else target[:2]
        shape = weights[weight] if offset is None else (offset[2], *weights[weight][1:])
        choice = kinds(shape, naming)
        kind, rank = choice[number % len(choice)], 1 + number % 3
        named = parts(kind, shape, rank, spellings[number % len(spellings)])
        # A part of a fused weight has no bias of its own in the host.
        if (
            weight.removesuffix(".weight") + ".bias" in weights
            and isinstance(target, str)
            and (kind == "norm" or number % 2)
        ):
            named["b_norm" if kind == "norm" else "diff_b"] = shape[:1]
        if kind not in ("norm", "diff") and number % 4:
            alphas[f"{name}.alpha"] = torch.tensor(0.5 * rank + 1)
        shapes |= {joined(name, ending): part for ending, part in named.items()}
    file = {name: normal(name, shape, seed) for name, shape in shapes.items()} | alphas
    return {renamed(name, naming): tensor for name, tensor in file.items()}


def joined(name: str, ending: str) -> str:
    """The name of a tensor; attention processors of early diffusers have an underscore there."""
    return f"{name}_{ending}" if ".processor." in name and ending.startswith("lora.") else f"{name}.{ending}"


def renamed(name: str, naming: str) -> str:
    return name.replace("lora_unet_", "lora_unet__") if naming == "wan fun" else name


def load(host: Any, patcher: Any, names: list[str], strengths: tuple[float, ...] = STRENGTHS) -> Any:
    """The model with the files stacked on it by core."""
    for name, strength in zip(names, strengths):
        (patcher,) = host.node("LoraLoaderModelOnly")().load_lora_model_only(patcher, name, strength)
    return patcher


def assert_same(ours: Mapping[str, torch.Tensor], core: Mapping[str, torch.Tensor]) -> None:
    assert ours.keys() == core.keys()
    errors = {key: relative(ours[key], expected) for key, expected in core.items()}
    assert [key for key, error in errors.items() if not error < TOLERANCE] == []


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).double().norm() / expected.double().norm())


@pytest.fixture(scope="module")
def lora_folder(base_dir: Path) -> Path:
    return base_dir / "models/loras"


@pytest.fixture(scope="module", params=CASES, ids=str)
def merge(request: pytest.FixtureRequest, host: Any, lora_folder: Path) -> Iterator[Merge]:
    case = request.param
    patcher = model(case.layout)
    names = [f"test_layouts_{number}.safetensors" for number in range(len(case.namings))]
    try:
        for seed, (name, naming) in enumerate(zip(names, case.namings)):
            save_file(lora_file(patcher, naming, seed), lora_folder / name)
        stack = [(name, strength, strength) for name, strength in zip(names, STRENGTHS)]
        inputs = {"lora_stack": stack} | ({"model": patcher} if case.connected else {})
        lora = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, **inputs).result[0]
        yield Merge(patcher, updates(load(host, patcher, names)), lora)
    finally:
        for name in names:
            (lora_folder / name).unlink(missing_ok=True)


def test_a_merge_equals_stacking(merge, host):
    applied = host.node("StyleDeltaApplyLora").execute(merge.patcher, merge.lora, 1.0, 1.0).result[0]
    assert_same(updates(applied), merge.core)


def test_a_saved_merge_equals_stacking(merge, host, lora_folder):
    saved = host.node("StyleDeltaSaveLora").execute(merge.lora, "test_layouts/merged", "float32").result[0]
    link = lora_folder / "test_layouts_merged.safetensors"
    try:
        link.hardlink_to(saved)
        assert_same(updates(load(host, merge.patcher, [link.name], (1.0,))), merge.core)
    finally:
        os.unlink(saved)
        link.unlink(missing_ok=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_core_takes_every_tensor_of_the_files(host, caplog, case):
    import comfy.lora
    import comfy.lora_convert

    patcher = model(case.layout)
    weights = {name for name in patcher.model.state_dict() if name.startswith("diffusion_model.")}
    patched = [set() for _ in case.namings]
    for seed, naming in enumerate(case.namings):
        tensors = comfy.lora_convert.convert_lora(lora_file(patcher, naming, seed))
        patches = comfy.lora.load_lora(tensors, key_map(patcher))
        patched[seed] = {key if isinstance(key, str) else key[0] for key in patches}
    assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert {name for name in weights if name.endswith(".weight")} <= set.union(*patched) <= weights
    assert len(set.intersection(*patched)) > len(weights) / 4


@pytest.mark.parametrize(
    ("layout", "diffusers", "own"),
    [
        ("sd15", "down_blocks_1_attentions_0_proj_in", "input_blocks_4_1_proj_in"),
        ("sd15", "down_blocks_2_downsamplers_0_conv", "input_blocks_9_0_op"),
        ("sd15", "down_blocks_3_resnets_1_conv2", "input_blocks_11_0_out_layers_3"),
        ("sd15", "up_blocks_0_upsamplers_0_conv", "output_blocks_2_1_conv"),
        ("sd15", "up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_k", "output_blocks_11_1_transformer_blocks_0_attn2_to_k"),
        ("sdxl", "down_blocks_1_attentions_1_transformer_blocks_1_ff_net_2", "input_blocks_5_1_transformer_blocks_1_ff_net_2"),
        ("sdxl", "down_blocks_2_attentions_0_transformer_blocks_2_attn1_to_q", "input_blocks_7_1_transformer_blocks_2_attn1_to_q"),
        ("sdxl", "mid_block_attentions_0_proj_out", "middle_block_1_proj_out"),
        ("sdxl", "up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv"),
        ("sdxl", "add_embedding_linear_2", "label_emb_0_2"),
    ],
)  # fmt: skip
def test_the_unets_are_numbered_as_the_released_models(host, layout, diffusers, own):
    names = key_map(model(layout))
    assert names[f"lora_unet_{diffusers}"] == names[f"lora_unet_{own}"]
    assert names[f"lora_unet_{own}"] in model(layout).model.state_dict()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tiny_models_can_be_sampled(host, layout):
    patcher = tiny_model(layout)
    latent = sample(patcher, layout)
    assert latent.isfinite().all() and latent.std() > 0.1
    assert 0.01 < relative(sample(tuned(layout), layout), latent) < 1
    assert torch.equal(sample(patcher, layout), latent)
    assert relative(sample(patcher, layout, seed=1), latent) > 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rank", [0, 3])
def test_a_tuned_model_has_moved_in_every_weight(host, layout, rank):
    changed = tuned(layout, rank=rank, scale=0.2, channels=NARROW)
    base, changed = (dict(p.model.diffusion_model.state_dict()) for p in (model(layout), changed))
    for name, weight in changed.items():
        update = weight - base[name]
        assert update.norm() == pytest.approx(float(0.2 * base[name].norm()), rel=1e-4), name
        if rank and update.dim() > 1:
            values = torch.linalg.svdvals(update.flatten(1))
            assert values[:rank].norm() >= (1 - 1e-6) * values.norm(), name
