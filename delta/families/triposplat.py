"""TripoSplat."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "TripoSplat",
    marks=("cam_out_layer.weight",),
)
