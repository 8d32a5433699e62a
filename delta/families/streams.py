"""What passes through a part of a diffusion model besides the picture, by the part's path."""

from __future__ import annotations

import re

from .norm_sites import is_qk_norm

QUERY_AND_KEY = "query and key"
# What a name between two dots says. `normC` is the text's in AuraFlow, `norm_y` in PixelDiT, `norm1_t` in HiDream.
STREAMS = {
    "text": re.compile(
        r"(?:txt|text|context|cap|caption|clip|byt5|llm|instruct|token_refiner|y_embedder)(?:_.*)?|txt(?:fusion|mlp)"
        r"|.*_(?:txt|text|context)|.*_(?:text|caption)_.*|norm_y\d?|norm\d_t|normC\d?"
    ),
    "sound": re.compile(r"(?:.*_)?(?:audio|music|lyric)(?:_.*)?"),
    "time": re.compile(r"(?:time|vector|guidance|distilled)(?:_.*)?|t_embedding_norm"),
    "control": re.compile(r"vace_blocks|(?:face|pose|motion|control|lq)_.*|(?:effnet|pixels)_mapper"),
    "other pictures": re.compile(r"(?:img_emb|siglip|vision|ref)(?:_.*)?|visual"),
}


def stream_of(path: str) -> str | None:
    """What else than the picture's features passes through the norm at a path; None for these."""
    if is_qk_norm(path):
        return QUERY_AND_KEY
    parts = path.split(".")
    return next((name for name, marks in STREAMS.items() if any(map(marks.fullmatch, parts))), None)
