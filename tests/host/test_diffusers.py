"""A saved LoRA changes every weight in diffusers as it does in ComfyUI."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from . import layouts
from .tiny_models import CONFIGS, tiny_model

RANKS, ALPHA = (2, 3, 5), 3.0
STRENGTHS = (0.8, -0.5)
UNET_CHANNELS = 32
HOST_BLOCKS = "kohya, host's blocks"
ENCODERS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
# What diffusers leaves out of a file with kohya's names for Flux, without an error.
FLUX_OUTSIDE = ("_img_in", "_txt_in", "_time_in", "_vector_in", "_guidance_in", "_final_layer")
# Layout, names of the LoRAs' layers, parts of the names that the LoRAs do without, and the naming they are saved under.
# "kohya" has diffusers' blocks, in which diffusers leaves out the added embedding of SDXL without an error.
CASES = [
    ("sd15", "kohya", (), "as it is"),
    ("sd15", "kohya", (), "diffusers"),
    ("sd15", HOST_BLOCKS, (), "kohya"),
    ("sd15", HOST_BLOCKS, (), "diffusers"),
    ("sdxl", "kohya", ("_add_embedding",), "as it is"),
    ("sdxl", "kohya", (), "diffusers"),
    ("sdxl", HOST_BLOCKS, (), "as it is"),
    ("sdxl", HOST_BLOCKS, ("_label_emb",), "kohya"),
    ("sdxl", HOST_BLOCKS, (), "diffusers"),
    ("flux", HOST_BLOCKS, (*FLUX_OUTSIDE, "_linear1"), "as it is"),
    ("flux", HOST_BLOCKS, (), "diffusers"),
    ("flux", "diffusers", (), "as it is"),
    ("flux", "diffusers", (), "diffusers"),
]
# Under kohya's names, diffusers divides the first layer of Flux's single blocks at the released model's width only.
WIDE = {"hidden_size": 3072, "num_heads": 24, "axes_dim": [16, 56, 56], "depth": 0, "depth_single_blocks": 1}
WIDE_DIFFUSERS = {
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "axes_dims_rope": (16, 56, 56),
    "num_layers": 0,
    "num_single_layers": 1,
}


class Place(NamedTuple):
    """Where the host keeps a weight of diffusers: its key, its rows as narrow() takes them, what swaps their halves."""

    key: str
    rows: tuple[int, int, int] | None = None
    swap: Callable[[Tensor], Tensor] | None = None


class Layout(NamedTuple):
    """A layout in both programs: the host's models, diffusers' layers, and where the host keeps them."""

    kind: str
    patchers: list[Any]
    shapes: dict[str, torch.Size]
    places: dict[str, Place]


@pytest.fixture(scope="module")
def peer(host) -> ModuleType:
    """The module `diffusers_peer`."""
    from . import diffusers_peer

    return diffusers_peer


def layout_of(peer: ModuleType, kind: str, **config: Any) -> Layout:
    """The layout; `config` changes the settings of diffusers' denoising model."""
    patchers = [tiny_model(kind, channels=UNET_CHANNELS), text_encoders(2 if kind == "sdxl" else 1)]
    shapes = peer.layer_shapes(kind, **config)
    places = {name: place for name, place in denoiser_places(kind, patchers[0]).items() if name in shapes}
    for name in shapes:
        part, path = name.split(".", 1)
        if part in ENCODERS:
            places[name] = Place(f"{ENCODERS[part]}.transformer.text_model.{path}.weight")
    assert places.keys() == shapes.keys()
    return Layout(kind, patchers, shapes, places)


def denoiser_places(kind: str, patcher: Any) -> dict[str, Place]:
    """Where the host keeps the layers of diffusers' denoising model, by its own tables."""
    import comfy.utils

    config = patcher.model.model_config.unet_config
    part, convert = ("transformer", "flux_to_diffusers") if kind == "flux" else ("unet", "unet_to_diffusers")
    table = getattr(comfy.utils, convert)(config)
    places = {}
    for name, where in table.items():
        key, *rest = (where,) if isinstance(where, str) else where
        places[f"{part}.{name.removesuffix('.weight')}"] = Place(f"diffusion_model.{key}", *rest)
    return places


def text_encoders(count: int) -> Any:
    """The host's CLIP text models, one or two, small and under the names that its loader looks for."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.model_patcher import ModelPatcher

    config = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
        "max_position_embeddings": 77,
        "eos_token_id": 1,
    }
    cpu = torch.device("cpu")
    both = nn.Module()
    for name in list(ENCODERS.values())[:count]:
        encoder = nn.Module()
        encoder.transformer = CLIPTextModel(config, torch.float32, cpu, comfy.ops.disable_weight_init)
        both.add_module(name, encoder)
    return ModelPatcher(both, load_device=cpu, offload_device=cpu)


def applied_by_comfyui(layout: Layout, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The update of every weight that a LoRA changes, in diffusers' parts and by diffusers' names."""
    import comfy.lora
    import comfy.lora_convert

    model, encoders = (patcher.model for patcher in layout.patchers)
    keys = comfy.lora.model_lora_keys_clip(encoders, comfy.lora.model_lora_keys_unet(model, {}))
    loaded = comfy.lora.load_lora(comfy.lora_convert.convert_lora(tensors), keys)
    whole = {}
    for patcher in (original.clone() for original in layout.patchers):
        patcher.add_patches(loaded)
        for key, patches in patcher.patches.items():
            shape = comfy.utils.get_attr(patcher.model, key).shape
            whole[key] = comfy.lora.calculate_weight(patches, torch.zeros(shape), key)
    assert whole.keys() <= {place.key for place in layout.places.values()}
    places = {name: place for name, place in layout.places.items() if place.key in whole}
    parts = {f"{name}.weight": part_of(whole[place.key], place) for name, place in places.items()}
    return {name: update for name, update in parts.items() if update.any()}


def part_of(update: Tensor, place: Place) -> Tensor:
    part = update.narrow(*place.rows) if place.rows else update
    return place.swap(part) if place.swap else part


def lora(layout: Layout, naming: str, without: tuple[str, ...], seed: int) -> dict[str, Tensor]:
    """A LoRA of every layer, but those whose name has one of the parts in `without`."""
    generator = torch.Generator().manual_seed(seed)
    up, down = ("lora_B", "lora_A") if naming == "diffusers" else ("lora_up", "lora_down")
    tensors = {}
    for number, (name, shape) in enumerate(file_layers(layout, naming).items()):
        if any(part in name for part in without):
            continue
        rank, ones = RANKS[number % len(RANKS)], (1,) * (len(shape) - 2)
        tensors[f"{name}.{up}.weight"] = torch.randn(shape[0], rank, *ones, generator=generator)
        tensors[f"{name}.{down}.weight"] = torch.randn(rank, *shape[1:], generator=generator)
        if naming != "diffusers":
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def file_layers(layout: Layout, naming: str) -> dict[str, torch.Size]:
    """The layers of a file with these names, and the shapes of their weights."""
    # Several layers of diffusers' may be one of the host's.
    whole = layout.patchers[0].model.state_dict() if naming == HOST_BLOCKS else {}
    layers = {}
    for name, shape in layout.shapes.items():
        key = layout.places[name].key
        layers[file_name(layout, name, naming)] = whole[key].shape if key in whole else shape
    return layers


def file_name(layout: Layout, name: str, naming: str) -> str:
    """The name that a layer of diffusers' has in a file."""
    part, path = name.split(".", 1)
    if naming == "diffusers":
        return f"{part}.text_model.{path}" if part in ENCODERS else name
    if part in ENCODERS:
        number = "" if layout.kind == "sd15" else "2" if part.endswith("2") else "1"
        return f"lora_te{number}_text_model_{path.replace('.', '_')}"
    if naming == HOST_BLOCKS:
        path = layout.places[name].key.removeprefix("diffusion_model.").removesuffix(".weight")
    return f"lora_unet_{path.replace('.', '_')}"


def save_merge(host, loras: list[dict[str, Tensor]], naming: str, model: Any | None = None) -> Path:
    """Save the sum of two LoRAs at STRENGTHS in float32, with the model connected or not."""
    inputs = {f"lora_{n}": tensors for n, tensors in enumerate(loras, 1)}
    inputs |= {f"strength_{n}": strength for n, strength in enumerate(STRENGTHS, 1)}
    merged = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, **inputs).result[0]
    save = host.node("StyleDeltaSaveLora").execute
    return Path(save(merged, "test_loras/peer", "float32", naming, model).result[0])


def check(
    host, peer: ModuleType, layout: Layout, loras: list, naming: str, model: Any | None = None, **config: Any
) -> None:
    """Compare what both programs make of the saved merge of two LoRAs."""
    path = save_merge(host, loras, naming, model)
    try:
        ours = applied_by_comfyui(layout, load_file(path))
        theirs = peer.applied_by_diffusers(layout.kind, path, **config)
    finally:
        path.unlink()
    assert ours and ours.keys() == theirs.keys()
    for name, update in ours.items():
        assert (theirs[name] - update).norm() <= 1e-5 * update.norm(), name


@pytest.mark.parametrize(("kind", "names", "without", "naming"), CASES)
def test_a_saved_merge_is_the_same_in_diffusers(host, peer, kind, names, without, naming):
    layout = layout_of(peer, kind)
    loras = [lora(layout, names, without, seed) for seed in (1, 2)]
    check(host, peer, layout, loras, naming)


def whole_flux() -> Any:
    """A model of these widths that has a block of each kind, as a family is known by, without memory for its weights."""
    from comfy.model_patcher import ModelPatcher

    cpu = torch.device("cpu")
    flux = dataclasses.replace(layouts.LAYOUTS["flux"], config=CONFIGS["flux"] | WIDE | {"depth": 1})
    return ModelPatcher(layouts.meta(flux), load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize("naming", ["as it is", "kohya", "diffusers"])
def test_fused_layers_of_flux_are_the_same_in_diffusers(host, peer, monkeypatch, naming):
    monkeypatch.setitem(CONFIGS, "flux", CONFIGS["flux"] | WIDE)
    layout = layout_of(peer, "flux", **WIDE_DIFFUSERS)
    # The layers outside the blocks tell the family, which names for diffusers need.
    others = (*(() if naming == "diffusers" else FLUX_OUTSIDE), "_linear2", "_modulation", "lora_te")
    loras = [lora(layout, HOST_BLOCKS, others, seed) for seed in (1, 2)]
    for model in (None, whole_flux()) if naming == "diffusers" else (None,):
        check(host, peer, layout, loras, naming, model, **WIDE_DIFFUSERS)
