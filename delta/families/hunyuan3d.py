"""Hunyuan3D 2."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "Hunyuan3D 2",
    marks=("latent_in.weight", "cond_in.weight"),
)
