"""What a layer is called where its place in a model is not known: its name without the beginning, and a path for reports."""

from __future__ import annotations

import re

from ..families.record import flat
from ..families.registry import spelling
from ..families.stable_diffusion import PER_LEVEL
from ..families.text_encoders import text_layer

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
    """The name of a layer without what a convention puts in front, with underscores for dots."""
    layer = text_layer(name)
    return flat(spelling(name).body) if layer is None else f"{layer.encoder}_{layer.body}"


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
