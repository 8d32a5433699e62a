"""Presets for the sound and for the pictures of a model that makes both: every layer is on one side."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from . import layouts

# By the first name of a layer, or the first inside a block, as the host spells them.
PICTURES = {
    "adaln_single", "prompt_adaln_single", "caption_projection", "patchify_proj", "proj_out", "scale_shift_table",
    "prompt_scale_shift_table", "av_ca_a2v_gate_adaln_single", "av_ca_video_scale_shift_adaln_single",
    "video_embeddings_connector", "attn1", "attn2", "ff", "audio_to_video_attn", "scale_shift_table_a2v_ca_video",
}  # fmt: skip
SOUND = {
    "audio_adaln_single", "audio_prompt_adaln_single", "audio_caption_projection", "audio_patchify_proj",
    "audio_proj_out", "audio_scale_shift_table", "audio_prompt_scale_shift_table", "av_ca_v2a_gate_adaln_single",
    "av_ca_audio_scale_shift_adaln_single", "audio_embeddings_connector", "audio_attn1", "audio_attn2", "audio_ff",
    "video_to_audio_attn", "scale_shift_table_a2v_ca_audio",
}  # fmt: skip
FILE = "test_audio_and_video.safetensors"


def part_of(name: str) -> str:
    """Of a weight, what the sets above call it by."""
    parts = name.split(".")[1:]
    return parts[2] if parts[0] == "transformer_blocks" else parts[0]


@pytest.fixture(params=["ltx2", "ltx2.3"])
def model(request, host):
    layout = layouts.LAYOUTS[request.param]
    if not layouts.has(layout):
        pytest.skip(f"This host has no {request.param}.")
    return layouts.build(layout)


@pytest.fixture
def lora(base_dir, model):
    """A file with an update of every weight of the model but biases and norms; the names of those weights."""
    tensors, names = {}, []
    for name, weight in model.model.diffusion_model.named_parameters():
        layer = f"diffusion_model.{name}"
        if weight.dim() != 2 or name.endswith(".bias"):
            continue
        names.append(layer)
        if name.endswith(".weight"):
            layer = layer.removesuffix(".weight")
            tensors[f"{layer}.lora_up.weight"] = torch.ones(weight.shape[0], 1)
            tensors[f"{layer}.lora_down.weight"] = torch.ones(1, weight.shape[1])
        else:
            tensors[f"{layer}.diff"] = torch.ones(weight.shape)
    path = base_dir / "models/loras" / FILE
    save_file(tensors, path)
    yield names
    path.unlink()


def changed(host, model, preset: str) -> tuple[dict[str, float], set[str]]:
    """The strengths of patched weights, and the weights that were replaced."""
    stack = host.node("StyleDeltaAddLora").execute(FILE, 1.0, 0.0, preset, "").result[0]
    patched = host.node("StyleDeltaApplyLoraStack").execute(model, stack).result[0]
    return {name: rows[0][0] for name, rows in patched.patches.items()}, set(patched.object_patches)


def test_each_layer_is_switched_with_its_side(host, model, lora):
    assert PICTURES.isdisjoint(SOUND) and {part_of(name) for name in lora} <= PICTURES | SOUND
    sides = {
        "audio only": {name for name in lora if part_of(name) in SOUND},
        "video only": {name for name in lora if part_of(name) in PICTURES},
    }
    assert all(len(names) > 30 for names in sides.values())
    for preset, names in sides.items():
        strengths, replaced = changed(host, model, preset)
        assert strengths.keys() | replaced == names and set(strengths.values()) == {1.0}, preset


def test_each_layer_is_halved_with_its_side(host, model, lora):
    for preset, halved in (("audio at half", SOUND), ("video at half", PICTURES)):
        strengths, replaced = changed(host, model, preset)
        assert strengths.keys() | replaced == set(lora)
        assert all(strength == (0.5 if part_of(name) in halved else 1.0) for name, strength in strengths.items())
