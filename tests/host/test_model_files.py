"""Files of every layout that the host has, under ComfyUI's names and as diffusers itself converts them."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from . import layouts

# What the host takes off the names of a diffusion model.
PREFIXES = ("model.diffusion_model.", "model.model.", "net.", "model.", "")
LINEAR1 = {".linear1.weight": 7 * 3072, ".linear1.bias": 7 * 3072}
# A layout, and what converts its released files to diffusers. Most converters ask for no certain width; rows by the ends of
# names are for those that do.
CONVERTERS = {
    "wan": ("wan_transformer", {}),
    "wan_i2v": ("wan_transformer", {}),
    "ltx": ("ltx_transformer_checkpoint", {}),
    "hunyuan_video": ("hunyuan_video_transformer", LINEAR1),
    "lumina": ("lumina2", {".attention.qkv.weight": 2304 + 2 * 768}),
    "flux": (
        "flux_transformer_checkpoint",
        LINEAR1 | {"_attn.qkv.weight": 3 * 3072},
    ),
    "sd35_medium": ("sd3_transformer_checkpoint", {}),
    "auraflow": ("auraflow_transformer_checkpoint", {}),
    "z_image": ("z_image_transformer_checkpoint", {}),
    "flux2_dev": ("flux2_transformer_checkpoint", {}),
}
# HunyuanVideo as Tencent releases it, from which the converter starts.
TENCENT = (
    (r"(img|txt)_attn\.norm\.(query|key)_norm\.\w+$", lambda m: f"{m[1]}_attn_{m[2][0]}_norm.weight"),
    (r"(single_blocks\.\d+)\.norm\.(query|key)_norm\.\w+$", lambda m: f"{m[1]}.{m[2][0]}_norm.weight"),
    (r"_attn\.(qkv|proj)\.", r"_attn_\1."),
    (r"_mod\.lin\.", "_mod.linear."),
    (r"modulation\.lin\.", "modulation.linear."),
    (r"mlp\.0\.", "mlp.fc1."),
    (r"mlp\.2\.", "mlp.fc2."),
    (r"t_embedder\.in_layer\.", "t_embedder.mlp.0."),
    (r"t_embedder\.out_layer\.", "t_embedder.mlp.2."),
    (r"c_embedder\.in_layer\.", "c_embedder.linear_1."),
    (r"c_embedder\.out_layer\.", "c_embedder.linear_2."),
    (r"(time_in|guidance_in)\.in_layer\.", r"\1.mlp.0."),
    (r"(time_in|guidance_in)\.out_layer\.", r"\1.mlp.2."),
)


@pytest.fixture(scope="module")
def checkpoint(host) -> type:
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.delta.files.checkpoint").Checkpoint


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """The weights of a layout. Skips the test where the host does not have it."""
    layout = layouts.LAYOUTS[name]
    if not layouts.has(layout):
        pytest.skip(layout.since)
    network = layouts.meta(layout).diffusion_model
    return {name: tuple(weight.shape) for name, weight in network.named_parameters()}


def write_header(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A float32 file of these tensors, whose numbers take no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


# The host makes tensors of tensors for its upscaler.
@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning", "ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_every_layout_is_read_behind_every_prefix(checkpoint, tmp_path, name):
    shapes = shapes_of(name)
    for prefix in PREFIXES:
        write_header(tmp_path / "model.SAFETENSORS", {prefix + name: shape for name, shape in shapes.items()})
        read = checkpoint(tmp_path / "model.SAFETENSORS")
        assert read.shapes == {f"diffusion_model.{name}": shape for name, shape in shapes.items()}
        assert read.architecture and not read.left_out and not read.notes


def weights_of(name: str, rows: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Random weights of a layout, matrices one column wide."""
    found = {}
    for weight, (first, *rest) in shapes_of(name).items():
        first = next((count for ending, count in rows.items() if weight.endswith(ending)), first)
        # Newer hosts call these otherwise than the released files.
        key = re.sub(r"(query_norm|key_norm)\.weight$", r"\1.scale", weight)
        found[key] = torch.randn(first, *(rest if first == 1 else [1] * len(rest)))
    if name.startswith("sd3"):
        found["pos_embed"] = torch.randn(1, 4, 2)
    # Older hosts have it, and nothing uses it.
    found.pop("norm_final.weight", None)
    return found


def released(name: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    rules = TENCENT if name == "hunyuan_video" else ()
    renamed = {}
    for weight, value in weights.items():
        for ours, theirs in rules:
            weight = re.sub(ours, theirs, weight)
        renamed[weight] = value.clone()
    return renamed


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_file_that_diffusers_converts_is_converted_back(checkpoint, tmp_path, name):
    """Every number of every weight: parts in their order, halves that change places, names of norms."""
    # After the host, which prepares torchvision.
    from diffusers.loaders import single_file_utils

    converter, rows = CONVERTERS[name]
    weights = weights_of(name, rows)
    convert = getattr(single_file_utils, f"convert_{converter}_to_diffusers")
    theirs = convert(released(name, weights))
    save_file({key: value.contiguous().clone() for key, value in theirs.items()}, tmp_path / "model.safetensors")
    read = checkpoint(tmp_path / "model.safetensors")
    assert read.shapes.keys() == {f"diffusion_model.{key}" for key in weights} and not read.notes
    for key, value in weights.items():
        assert torch.equal(read.read(f"diffusion_model.{key}").value, value), key
