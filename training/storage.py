"""Small files of trained weights: the live numbers only, matrices as int8 with a scale for each row.

`tests/harness/trained_models.py` reads them and fills in ComfyUI's zeros.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from trained_models import SCALE

LARGEST = 127


def quantised(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices as int8 rows with a float16 scale each, under the name and SCALE, and the rest as float16."""
    kept = {}
    for name, weight in weights.items():
        weight = weight.detach().float().cpu()
        if weight.ndim < 2:
            kept[name] = weight.half()
            continue
        # Rounded before it divides, so that what is read is what was meant.
        scale = (weight.flatten(1).abs().amax(1) / LARGEST).half().clamp(min=6e-8)
        rows = (weight.flatten(1) / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        kept[name], kept[name + SCALE] = rows.view(weight.shape).to(torch.int8).contiguous(), scale
    return kept


def halves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as float16."""
    return {name: weight.detach().half().cpu().contiguous() for name, weight in weights.items()}


def write(path: Path, tensors: Mapping[str, Tensor]) -> int:
    """Write a safetensors file whole, and return its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(dict(sorted(tensors.items())), part)
    os.replace(part, path)
    return path.stat().st_size
