"""RT-DETR, a detector."""

from __future__ import annotations

from .record import Family

FAMILY = Family(
    "RT-DETR",
    marks=("decoder.enc_score_head.weight",),
)
