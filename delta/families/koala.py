"""KOALA, whose blocks are numbered otherwise."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "KOALA",
    marks=("input_blocks.4.0.op.weight",),
)
