"""Stable Video Diffusion."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "SVD",
    marks=("middle_block.1.time_pos_embed.0.weight",),
    foreign=(
        "mid_block.resnets.0.spatial_res_block.norm1.weight",
        "conv_in.weight",
    ),
)
