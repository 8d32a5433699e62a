"""Hunyuan3D 2.1."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "Hunyuan3D 2.1",
    marks=("blocks.4.norm1.weight", "x_embedder.weight"),
)
