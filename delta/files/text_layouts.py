"""Layouts of text encoders in model files: which weight of ComfyUI's a tensor holds, told from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .headers import StoredTensor
from .targets import Target, transpose

# How names of text encoders begin in files, and in ComfyUI behind `text_encoders.`; {} is the kind of CLIP.
TEXT_BEGINNINGS = (
    ("cond_stage_model.transformer.text_model.", "clip_l.transformer.text_model."),
    ("cond_stage_model.transformer.", "clip_l.transformer.text_model."),
    ("conditioner.embedders.0.transformer.text_model.", "clip_l.transformer.text_model."),
    ("text_encoders.", ""),
    ("text_model.", "{}.transformer.text_model."),
    ("text_projection.", "{}.transformer.text_projection."),
    ("encoder.block.", "t5xxl.transformer.encoder.block."),
    ("encoder.final_layer_norm.", "t5xxl.transformer.encoder.final_layer_norm."),
    ("shared.", "t5xxl.transformer.shared."),
)
# The text encoder of transformers 5 leaves out the level `text_model.`; this name tells it.
FLAT_CLIP = "embeddings.token_embedding.weight"
CLIP_WIDTHS = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}
OPEN_CLIP_PREFIXES = ("cond_stage_model.model.", "conditioner.embedders.0.model.", "conditioner.embedders.1.model.")
OPEN_CLIP = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "text_projection.weight": "text_projection.weight",
}
OPEN_CLIP_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
QKV_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def text_targets(tensors: Mapping[str, StoredTensor]) -> dict[str, list[Target]]:
    """What the tensors of text encoders hold, by their names; tensors of other models are not in it."""
    level = "text_model." if FLAT_CLIP in tensors else ""
    return {name: found for name in tensors if (found := _targets(level + name, tensors))}


def _targets(name: str, tensors: Mapping[str, StoredTensor]) -> list[Target]:
    for prefix in OPEN_CLIP_PREFIXES:
        if name.startswith(prefix):
            clip = _kind_of_clip(tensors.get(f"{prefix}ln_final.weight"), "clip_g")
            return _open_clip_targets(name.removeprefix(prefix), f"text_encoders.{clip}.transformer.")
    for theirs, ours in TEXT_BEGINNINGS:
        if name.startswith(theirs):
            norm = tensors.get("text_model.final_layer_norm.weight", tensors.get("final_layer_norm.weight"))
            ours = ours.format(_kind_of_clip(norm, "clip_l"))
            return [Target(f"text_encoders.{ours}{name.removeprefix(theirs)}")]
    return []


def _kind_of_clip(last_norm: StoredTensor | None, default: str) -> str:
    return default if last_norm is None else CLIP_WIDTHS.get(last_norm.shape[0], default)


def _open_clip_targets(name: str, prefix: str) -> list[Target]:
    if name in OPEN_CLIP:
        return [Target(prefix + OPEN_CLIP[name], change=transpose if name == "text_projection" else None)]
    match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
    if match is None:
        return []
    number, layer, ending = match.groups()
    block = f"{prefix}text_model.encoder.layers.{number}"
    if layer == "attn.in_proj":
        return [Target(f"{block}.self_attn.{part}.{ending}", third=n) for n, part in enumerate(QKV_PROJECTIONS)]
    return [Target(f"{block}.{OPEN_CLIP_LAYERS[layer]}.{ending}")] if layer in OPEN_CLIP_LAYERS else []
