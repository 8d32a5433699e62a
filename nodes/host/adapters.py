"""The host's adapters, by the endings that their tensors have in files."""

from __future__ import annotations

from typing import Any

import torch

# What the host's adapters of each kind hold, in its order, by the endings of files.
ADAPTER_ENDINGS = {
    "lora": ("lora_up.weight", "lora_down.weight", "alpha", "lora_mid.weight", "dora_scale", "reshape_weight"),
    "loha": ("hada_w1_a", "hada_w1_b", "alpha", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "dora_scale"),
    "lokr": (
        "lokr_w1",
        "lokr_w2",
        "alpha",
        "lokr_w1_a",
        "lokr_w1_b",
        "lokr_w2_a",
        "lokr_w2_b",
        "lokr_t2",
        "dora_scale",
    ),
    "glora": ("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha", "dora_scale"),
    "oft": ("oft_blocks", "rescale", "alpha", "dora_scale"),
    "boft": ("oft_blocks", "rescale", "alpha", "dora_scale"),
}


def by_endings(patch: Any) -> dict[str, torch.Tensor] | None:
    """The tensors of a host's adapter by their endings in files; None for a kind of adapter that is not known."""
    endings = ADAPTER_ENDINGS.get(patch.name)
    if endings is None or len(patch.weights) != len(endings):
        return None
    return {ending: torch.as_tensor(part) for ending, part in zip(endings, patch.weights) if part is not None}
