"""The x4 upscaler of Stable Diffusion."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "x4 upscaler",
    marks=("label_emb.weight", "input_blocks.10.0.skip_connection.weight"),
)
