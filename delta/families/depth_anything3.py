"""Depth Anything 3."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "Depth Anything 3",
    marks=("backbone.layernorm.weight",),
)
