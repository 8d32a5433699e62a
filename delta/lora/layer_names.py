"""One name for a layer, whatever the file calls it.

Kohya, diffusers/PEFT, ComfyUI, SimpleTuner and OneTrainer name the same weight differently. The name here is the
diffusers one with underscores; U-Net blocks in the original (compvis) numbering are renumbered. It is used to bring
files together where no model is connected that could tell.
"""

from __future__ import annotations

import re

from ..families.architectures import PER_LEVEL, UNETS, flat

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
    (r"lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.transformer\.", "te2"),
    (r"lora_te1?_|text_encoder\.|text_encoders\.clip_[lh]\.transformer\.", "te1"),
    (r"lora_te3_|text_encoder_3\.|text_encoders\.t5xxl\.transformer\.", "te3"),
)
# How the name of a layer begins, and the path that this beginning stands for.
BLOCK_PATTERNS = (
    (r"te(\d)_(?:text_model_|transformer_)?(?:encoder_)?", lambda n: ("text", f"te{n}")),
    (r"down_blocks_(\d+)_downsamplers_0_", lambda level: ("input", str(PER_LEVEL * (level + 1)))),
    (r"down_blocks_(\d+)_\w+?_(\d+)_", lambda level, index: ("input", str(1 + PER_LEVEL * level + index))),
    (r"up_blocks_(\d+)_upsamplers_0_", lambda level: ("output", str(PER_LEVEL * level + 2))),
    (r"up_blocks_(\d+)_\w+?_(\d+)_", lambda level, index: ("output", str(PER_LEVEL * level + index))),
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
    encoder, body = encoder_and_body(name)
    if encoder is not None:
        return f"{encoder}_{body}"
    place = next((unet.places[body] for unet in UNETS if body in unet.places), None)
    return body if place is None else flat(place.weight.parts[0])


def encoder_and_body(name: str) -> tuple[str | None, str]:
    """(te1, te2 or te3 of a text encoder, else None; the rest of the name with underscores for dots).

    te1 is CLIP-L, or CLIP-H where that stands alone; te2 is CLIP-G; te3 is T5, whatever number a file gives it.
    """
    for pattern, encoder in TEXT_ENCODERS:
        if match := re.match(pattern, name):
            body = flat(name[match.end() :])
            return "te3" if body.startswith("encoder_block_") else encoder, body
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return None, flat(name.replace(".processor.", "."))


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
