"""The demo's LoRAs in a stack, and what patches add to a model, for tests."""

from typing import Any

import torch

LORAS = [
    ("styledelta_demo_kohya.safetensors", 0.8, 0.6),
    ("styledelta_demo_diffusers.safetensors", -0.5, 1.2),
    ("styledelta_demo_locon.safetensors", 1.0, 1.0),
]


def load(host: Any, name: str) -> dict[str, torch.Tensor]:
    """A LoRA file as LORA_MODEL."""
    return host.node("StyleDeltaLoadLora").execute(name)[0]


def updates(patcher: Any) -> dict[str, torch.Tensor]:
    """What the patches of a MODEL or CLIP add to each weight, by the host; and what stands in place of parameters adds."""
    import comfy.lora

    patcher = getattr(patcher, "patcher", patcher)
    weights = patcher.model.state_dict()
    return {
        key: comfy.lora.calculate_weight(patches, torch.zeros(weights[key].shape), key)
        for key, patches in patcher.patches.items()
    } | {
        key: value.detach() - weights[key]
        for key, value in patcher.object_patches.items()
        if isinstance(value, torch.nn.Parameter)
    }
