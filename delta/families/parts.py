"""What a weight is part of, whatever block it is in: norms, attention, feed-forward or convolutions."""

from __future__ import annotations

import math
import re

from .norm_sites import PREFIX, Modules, Shapes, find_sites

EVERYTHING, NORMS, ATTENTION, FEED_FORWARD, CONVOLUTIONS = PARTS = (
    "everything",
    "norms",
    "attention",
    "feed-forward",
    "convolutions",
)
# Names of modules and layers, without those that modulate before them, such as `adaln_modulation_mlp`.
ATTENTION_NAME = re.compile(r"(?!.*mod)(?:\w*(?:attn|attention)(?:\d|_\w+)?|q|k|v)")
FEED_FORWARD_NAME = re.compile(r"(?!.*mod)(?:\w+_)?(?:ff|ffn|feed_forward|mlp|moe)(?:_\w+|[A-Z])?")
# Blocks whose `linear1` and `linear2` are attention, and feed-forward too in Flux; elsewhere they are feed-forward.
FUSED = re.compile(r"(?:.*\.)?(?:single|fuser)_blocks\.\d+\.linear[12]\w*")
LINEAR = re.compile(r"linear[12]")
# Classes of modules. A block holds both; poolers and embedders with an MLP are none of them.
ATTENTION_CLASS = re.compile(r"(?!\w*(?:Block|Layer|Transformer|Pooler))\w*(?:Attention|Attn)\w*")
FEED_FORWARD_CLASS = re.compile(
    r"(?!\w*(?:Embed|Proj|AdaLN|Nerf))\w*(?:FeedForward|MLP|Mlp|SwiGLU|GLUMBConv|GEGLU|MoEBlock)\w*"
)


def weights_of(part: str, shapes: Shapes, modules: Modules | None = None) -> list[str]:
    """The weights of a model that are such a part. Norms and modulation count as `norms` only, wherever they are.

    shapes: of all weights of the model by name; modules: of its diffusion model, which tell more than names do. Raises
    ValueError for an unknown part, and where the model has none.
    """
    if part not in PARTS:
        raise ValueError(f"There is no part {part}. Choose one of: {', '.join(PARTS)}.")
    if part == EVERYTHING:
        return list(shapes)
    sites = find_sites(shapes, modules)

    def is_part(name: str) -> bool:
        if part == NORMS or name in sites.tiers:
            return part == NORMS and name in sites.tiers
        if part == CONVOLUTIONS:
            kernel = shapes.get(f"{name.rpartition('.')[0]}.weight", ())
            return math.prod(kernel[2:]) > 1
        return role_of(name.removeprefix(PREFIX), modules) == part

    found = [name for name in shapes if is_part(name)]
    if not found:
        raise ValueError(f"{sites.family} has no known {part}. Choose another part.")
    return found


def role_of(name: str, modules: Modules | None = None) -> str | None:
    """Whether a weight is of attention or feed-forward, by the innermost module around it that is one of the two."""
    path = name.split(".")[:-1]
    for end in range(len(path), 0, -1):
        inside, last = ".".join(path[:end]), path[end - 1]
        kind = (modules or {}).get(inside, "")
        if ATTENTION_NAME.fullmatch(last) or ATTENTION_CLASS.fullmatch(kind) or FUSED.fullmatch(inside):
            return ATTENTION
        # Embedders have MLPs too, which are in no block.
        is_mlp = FEED_FORWARD_NAME.fullmatch(last) or FEED_FORWARD_CLASS.fullmatch(kind)
        if any(part.isdigit() for part in path[: end - 1]) and (
            is_mlp or (LINEAR.fullmatch(last) and path[end - 2].isdigit())
        ):
            return FEED_FORWARD
    return None
