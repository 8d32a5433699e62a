"""One name for a layer, whatever the file calls it.

Kohya, diffusers/PEFT, ComfyUI, SimpleTuner and OneTrainer name the same weight differently. The name here is the
diffusers one with underscores; U-Net blocks in the original (compvis) numbering are renumbered. It is used to bring
files together where no model is connected that could tell.
"""

from __future__ import annotations

import re

PREFIXES = (
    "base_model.model.",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
    "unet.",
    "transformer.",
    "diffusion_model.",
)
TEXT_ENCODERS = (
    (r"lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.transformer\.", "te2_"),
    (r"lora_te1?_|text_encoder\.|text_encoders\.clip_[lh]\.transformer\.", "te1_"),
    (r"lora_te3_|text_encoder_3\.|text_encoders\.t5xxl\.transformer\.", "te3_"),
)
RESNET_PARTS = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
OUTER_PARTS = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
}
BLOCKS_PER_LEVEL = 3


# How the name of a layer begins, and the path that this beginning stands for.
BLOCK_PATTERNS = (
    (r"te(\d)_(?:text_model_|transformer_)?(?:encoder_)?", lambda n: ("text", f"te{n}")),
    (r"down_blocks_(\d+)_downsamplers_0_", lambda level: ("input", str(BLOCKS_PER_LEVEL * (level + 1)))),
    (r"down_blocks_(\d+)_\w+?_(\d+)_", lambda level, index: ("input", str(1 + BLOCKS_PER_LEVEL * level + index))),
    (r"up_blocks_(\d+)_upsamplers_0_", lambda level: ("output", str(BLOCKS_PER_LEVEL * level + 2))),
    (r"up_blocks_(\d+)_\w+?_(\d+)_", lambda level, index: ("output", str(BLOCKS_PER_LEVEL * level + index))),
    (r"mid_block_", lambda: ("middle",)),
    (r"(?:single_transformer_blocks|single_blocks)_(\d+)_", lambda n: ("single", str(n))),
    (r"double_blocks_(\d+)_", lambda n: ("double", str(n))),
    (r"joint_blocks_(\d+)_", lambda n: ("joint", str(n))),
    (r"transformer_blocks_(\d+)_", lambda n: ("transformer", str(n))),
    (r"blocks_(\d+)_", lambda n: ("block", str(n))),
    (r"layers_(\d+)_", lambda n: ("layer", str(n))),
)


def layer_id(name: str) -> str:
    """The common name of a layer, from its name in a file without the adapter's ending."""
    for pattern, encoder in TEXT_ENCODERS:
        if match := re.match(pattern, name):
            return encoder + name[match.end() :].replace(".", "_")
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    flat = name.replace(".processor.", ".").replace(".", "_")
    flat = re.sub(r"_to_out_0$", "_to_out", flat)
    return _renumbered(flat)


def _renumbered(name: str) -> str:
    """A U-Net layer in diffusers numbering; other names are returned as they are."""
    if name in OUTER_PARTS:
        return OUTER_PARTS[name]
    if match := re.fullmatch(r"input_blocks_(\d+)_(\d)_(.+)", name):
        level, index = divmod(int(match[1]) - 1, BLOCKS_PER_LEVEL)
        if match[3] == "op":
            return f"down_blocks_{level}_downsamplers_0_conv"
        return f"down_blocks_{level}_{_module(match[2], index)}_{_part(match[3])}"
    if match := re.fullmatch(r"output_blocks_(\d+)_(\d)_(.+)", name):
        level, index = divmod(int(match[1]), BLOCKS_PER_LEVEL)
        if match[3] == "conv":
            return f"up_blocks_{level}_upsamplers_0_conv"
        return f"up_blocks_{level}_{_module(match[2], index)}_{_part(match[3])}"
    if match := re.fullmatch(r"middle_block_(\d)_(.+)", name):
        module = "attentions_0" if match[1] == "1" else f"resnets_{int(match[1]) // 2}"
        return f"mid_block_{module}_{_part(match[2])}"
    return name


def _module(slot: str, index: int) -> str:
    return f"{'resnets' if slot == '0' else 'attentions'}_{index}"


def _part(part: str) -> str:
    part = RESNET_PARTS.get(part, part)
    return re.sub(r"_to_out_0$", "_to_out", part)


def layer_path(identity: str) -> tuple[str, ...]:
    """The path of a layer for block rules and reports, in the names that `block_weights.weight_path` gives.

    `identity` is what `layer_id` answers; te1_... becomes text.te1..., U-Net blocks get their original numbers.
    """
    for pattern, block in BLOCK_PATTERNS:
        if match := re.match(pattern, identity):
            numbers = [int(group) for group in match.groups() if group is not None]
            return (*block(*numbers), *_modules(identity[match.end() :]))
    return tuple(_modules(identity))


def _modules(rest: str) -> list[str]:
    return re.findall(r"(?:to|proj|self|cross|img|txt|time|skip)_[a-z]+|[^_]+", rest)
