"""Layouts of model files: which weight of ComfyUI's a tensor holds, told from the names of all tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..families.architectures import ARCHITECTURES, SCALE_NORMS, Architecture, flat
from .headers import StoredTensor

DENOISER = "diffusion_model."
DENOISER_PREFIXES = ("model.diffusion_model.", DENOISER, "model.model.")
# How the names of a diffusion model without any prefix begin.
BARE_BEGINNINGS = (
    *("input_blocks.", "middle_block.", "output_blocks.", "double_blocks.", "single_blocks.", "joint_blocks."),
    *("blocks.", "layers.", "transformer_blocks.", "double_layers.", "single_layers.", "double_stream_blocks."),
)
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

# Diffusers names of weights that carry no LoRA and are therefore not in the tables of architectures.
SD3 = "Stable Diffusion 3"
DIFFUSERS_NAMES = {
    SD3: (
        (r"transformer_blocks\.(\d+)\.(attn2?)\.norm_([qk])\.", r"joint_blocks.\1.x_block.\2.ln_\3."),
        (r"transformer_blocks\.(\d+)\.attn\.norm_added_([qk])\.", r"joint_blocks.\1.context_block.attn.ln_\2."),
        (r"transformer_blocks\.(\d+)\.norm1_context\.linear\.", r"joint_blocks.\1.context_block.adaLN_modulation.1."),
        (r"time_text_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
        (r"time_text_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
        (r"time_text_embed\.text_embedder\.linear_1\.", "y_embedder.mlp.0."),
        (r"time_text_embed\.text_embedder\.linear_2\.", "y_embedder.mlp.2."),
        (r"pos_embed\.pos_embed$", "pos_embed"),
        (r"pos_embed\.proj\.", "x_embedder.proj."),
        (r"(context_embedder\.)", r"\1"),
        (r"norm_out\.linear\.", "final_layer.adaLN_modulation.1."),
        (r"proj_out\.", "final_layer.linear."),
    ),
    "Z-Image": (
        (r"(.+\.attention)\.norm_([qk])\.", r"\1.\2_norm."),
        (r"all_final_layer\.2-1\.", "final_layer."),
        (r"all_x_embedder\.2-1\.", "x_embedder."),
        (r"((layers|\w+_refiner)\.\d+\.(attention|ffn)_norm[12]\.)", r"\1"),
        (r"(cap_embedder\.|t_embedder\.|x_pad_token$|cap_pad_token$)", r"\1"),
    ),
}
# The share of a file's names that an architecture must know to be the file's.
MOSTLY = 0.6
# Layouts that ComfyUI does not load, or renames in ways that no table here holds.
FOREIGN = {
    "condition_embedder.": "Wan for diffusers",
    "context_embedder.token_refiner.": "HunyuanVideo for diffusers",
    "double_blocks.0.img_attn_qkv.": "HunyuanVideo by Tencent",
    "double_stream_modulation_img.linear.": "FLUX.2 for diffusers",
    "joint_transformer_blocks.": "AuraFlow for diffusers",
    "time_caption_embed.": "Lumina 2 for diffusers",
    "time_embed.emb.": "LTX-Video for diffusers",
}


class Target(NamedTuple):
    """The weight that a tensor holds, or the part of it; third: which third of the tensor's rows it takes."""

    name: str
    part: int = 0
    parts: int = 1
    third: int | None = None
    change: Callable[[Tensor], Tensor] | None = None


def targets_of(tensors: Mapping[str, StoredTensor]) -> dict[str, list[Target]]:
    """What the tensors of a component hold, by their names; those that hold nothing of a model are not in it."""
    level = "text_model." if FLAT_CLIP in tensors else ""
    targets = {name: found for name in tensors if (found := _text_targets(level + name, tensors))}
    rest = [name for name in tensors if name not in targets]
    prefix = next((prefix for prefix in DENOISER_PREFIXES if any(name.startswith(prefix) for name in rest)), "")
    bodies = {name.removeprefix(prefix): name for name in rest if name.startswith(prefix)}
    _refuse_foreign(bodies, tensors)
    for body, target in _denoiser_targets(list(bodies), known=bool(prefix)).items():
        targets[bodies[body]] = [target._replace(name=DENOISER + target.name)]
    return targets


def _text_targets(name: str, tensors: Mapping[str, StoredTensor]) -> list[Target]:
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


def _refuse_foreign(bodies: Mapping[str, str], tensors: Mapping[str, StoredTensor]) -> None:
    for body, name in bodies.items():
        for mark, kind in FOREIGN.items():
            if body.startswith(mark):
                raise ValueError(
                    f"{tensors[name].file.name} is {kind}, whose names are not ComfyUI's. Use the version for ComfyUI."
                )


def _denoiser_targets(names: list[str], known: bool) -> dict[str, Target]:
    """What the tensors of a diffusion model hold. known: whether that is what they are; otherwise the names tell."""
    architecture = architecture_of(names)
    if architecture:
        targets = {name: target for name in names if (target := _target(architecture, name))}
        if any(target.name != name for name, target in targets.items()):
            return _with_halves_swapped(targets) if architecture.name == SD3 else targets
    if known or architecture or any(name.startswith(BARE_BEGINNINGS) for name in names):
        return {name: Target(name) for name in names}
    return {}


def architecture_of(names: list[str]) -> Architecture | None:
    """The architecture that knows most of these names of tensors; None where no one knows the better part."""
    hits = {each: sum(_target(each, name) is not None for name in names) for each in ARCHITECTURES}
    best = max(hits, key=hits.__getitem__)
    return best if names and hits[best] >= MOSTLY * len(names) else None


def _target(architecture: Architecture, name: str) -> Target | None:
    """What a tensor under ComfyUI's or diffusers' name holds."""
    module, _, ending = name.rpartition(".")
    place = architecture.places.get(flat(module))
    if place is None:
        rules = DIFFUSERS_NAMES.get(architecture.name, ())
        renamed = (re.sub(f"^{theirs}", ours, name) for theirs, ours in rules if re.match(theirs, name))
        return next((Target(new) for new in renamed), None)
    weight, part = place
    if part is None:
        return Target(name)
    if ending == "weight" and weight.comfy.endswith(SCALE_NORMS):
        ending = "scale"
    return Target(f"{weight.comfy}.{ending}", part, len(weight.parts), change=_swap_halves if weight.swapped else None)


def _with_halves_swapped(targets: dict[str, Target]) -> dict[str, Target]:
    """Stable Diffusion 3 has shift and scale the other way round in its last norms, as the last block has."""
    numbers = [int(match[1]) for name in targets if (match := re.match(r"transformer_blocks\.(\d+)\.", name))]
    swapped = ("norm_out.linear.", f"transformer_blocks.{max(numbers, default=0)}.norm1_context.linear.")
    return {
        name: target._replace(change=_swap_halves) if name.startswith(swapped) else target
        for name, target in targets.items()
    }


def _swap_halves(value: Tensor) -> Tensor:
    return torch.cat(value.chunk(2)[::-1])


def transpose(value: Tensor) -> Tensor:
    return value.T.contiguous()
