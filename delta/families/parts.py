"""What a weight is part of, whatever block it is in: norms, attention, feed-forward or convolutions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from .norm_sites import find_sites

EVERYTHING, NORMS, ATTENTION, FEED_FORWARD, CONVOLUTIONS = PARTS = (
    "everything",
    "norms",
    "attention",
    "feed-forward",
    "convolutions",
)
# linear1 and linear2 of Flux's single blocks hold attention and feed-forward in one.
ATTENTION_LAYERS = re.compile(r"\.(?:\w*attn\d?|attention|linear[12])\.")
# Behind the number of a block: embedders have MLPs too.
FEED_FORWARD_LAYERS = re.compile(r"\.\d+\.(?:.*\.)?(?:\w*ff|ffn|feed_forward|\w*mlp)\.")


def weights_of(part: str, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """The weights of a model that are such a part. Norms and modulation count as `norms` only, wherever they are.

    shapes: of all weights of the model by name. Raises ValueError for an unknown part, and where the model has none.
    """
    if part not in PARTS:
        raise ValueError(f"There is no part {part}. Choose one of: {', '.join(PARTS)}.")
    if part == EVERYTHING:
        return list(shapes)
    norms = find_sites(shapes).tiers

    def is_part(name: str) -> bool:
        if part == NORMS or name in norms:
            return part == NORMS and name in norms
        if part == CONVOLUTIONS:
            kernel = shapes.get(f"{name.rpartition('.')[0]}.weight", ())
            return math.prod(kernel[2:]) > 1
        return bool((ATTENTION_LAYERS if part == ATTENTION else FEED_FORWARD_LAYERS).search(name))

    found = [name for name in shapes if is_part(name)]
    if not found:
        raise ValueError(f"The model has no {part} that are known here. Choose another part.")
    return found
