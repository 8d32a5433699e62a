"""Trellis 2."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "Trellis 2",
    marks=("shape2txt.out_layer.weight",),
)
