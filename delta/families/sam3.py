"""SAM 3."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "SAM 3",
    marks=("detector.geometry_encoder.norm.weight",),
)
