"""MiniMax Music 3."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "MiniMax Music 3",
    marks=("latent_conditioners.0.weight",),
    foreign=(
        "transformer_blocks.0.ff_in.weight",
        "time_proj.weight",
    ),
)
