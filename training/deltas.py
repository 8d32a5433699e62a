"""What of a frozen network is trained: everything, a LoRA, its norms, or its norms and biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
NORM_LAYERS = (".norm", ".norm1", ".norm2", ".norm3", ".in_layers.0", ".out_layers.0")


@dataclass(frozen=True)
class Delta:
    """parameters: what is trained, by name. effective: the weights that it puts in place of the network's own."""

    parameters: dict[str, nn.Parameter]
    effective: Callable[[], Weights]


def is_norm(name: str) -> bool:
    """Whether a parameter of that name belongs to a norm."""
    layer = name.rpartition(".")[0]
    return layer.endswith(NORM_LAYERS) or layer == "out.0"


def replaced(weights: Weights) -> Delta:
    """Train copies of weights."""
    parameters = {name: nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
    return Delta(parameters, lambda: dict(parameters))


def norms(weights: Weights, biases: bool) -> Delta:
    """Train the norms, and with them every bias when asked for."""
    return replaced({k: v for k, v in weights.items() if is_norm(k) or (biases and v.ndim == 1)})


def lora(weights: Weights, rank: int, seed: int = 1906) -> Delta:
    """Train a LoRA (arXiv 2106.09685) of the attention and the convolutions of all blocks."""
    generator, parameters = torch.Generator().manual_seed(seed), {}
    layers = [name.removesuffix(".weight") for name, weight in weights.items() if weight.ndim > 1 and _adapted(name)]
    for layer in layers:
        rows, columns = weights[f"{layer}.weight"].flatten(1).shape
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        device = weights[f"{layer}.weight"].device
        parameters[f"{layer}.down"] = nn.Parameter(down.to(device))
        parameters[f"{layer}.up"] = nn.Parameter(torch.zeros(rows, rank, device=device))

    def effective() -> Weights:
        changes = {layer: parameters[f"{layer}.up"] @ parameters[f"{layer}.down"] for layer in layers}
        return {f"{layer}.weight": _added(weights[f"{layer}.weight"], change) for layer, change in changes.items()}

    return Delta(parameters, effective)


def _adapted(name: str) -> bool:
    return "_block" in name and not name.startswith("input_blocks.0.") and ".emb_layers." not in name


def _added(weight: Tensor, change: Tensor) -> Tensor:
    return weight + change.view(weight.shape)
