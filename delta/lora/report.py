"""What a LoRA does, in figures and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..blocks.paths import block_of
from ..charts.charts import Bars, Charts, Report, Spectra
from ..linear_algebra.factors import small_problems
from ..report_text import text_table
from .addresses import Address, block_path, is_text, locate
from .file import LoraModel, group, left_out, read_layers
from .layer_names import layer_id, layer_path

STRONGEST = 5
# Endings of tensors that say how to read the others.
SETTINGS = ("alpha", "reshape_weight", "row_offset")


def spectra_of(model: LoraModel) -> dict[tuple[str, ...], Tensor]:
    """Singular values of every low-rank layer that can be read without its weight, by its path; descending, float64.

    Raises ValueError as read_layers does.
    """
    layers = read_layers(model).layers
    addresses = locate([layers]).addresses
    with small_problems():
        return {
            _path(name, addresses[name]): layer.low_rank.svd().values
            for name, layer in layers.items()
            if layer.low_rank is not None
        }


def _path(name: str, address: Address | None) -> tuple[str, ...]:
    """The path of a layer, with its own last name behind that of a weight of which it is a part."""
    path = block_path(name, address)
    return path if address is None or address.is_whole else (*path, layer_path(layer_id(name))[-1])


def effective_rank(values: Tensor) -> float:
    """The exponential of the entropy of the energy shares (Roy and Vetterli 2007): how many directions really count."""
    shares = values.square() / values.square().sum().clamp(min=1e-300)
    return math.exp(float(-(shares * shares.clamp(min=1e-300).log()).sum()))


def energy_by_block(spectra: Mapping[tuple[str, ...], Tensor]) -> dict[str, float]:
    """The share of the energy (sum of squared singular values) of each block, 0..1."""
    energies: dict[str, float] = {}
    for path, values in spectra.items():
        energies[block_of(path)] = energies.get(block_of(path), 0.0) + float(values.square().sum())
    total = sum(energies.values()) or 1.0
    return {block: energy / total for block, energy in energies.items()}


class ParameterCount(NamedTuple):
    """Numbers that training changed: in all, and in the layers of the diffusion model."""

    total: int
    diffusion: int


def count_parameters(model: LoraModel) -> ParameterCount:
    """The parameters of a LoRA. Alphas and shapes, which are settings, do not count."""
    total = diffusion = 0
    for name, parts in group(model)[0].items():
        numbers = sum(tensor.numel() for ending, tensor in parts.items() if ending not in SETTINGS)
        total += numbers
        diffusion += 0 if is_text(name) else numbers
    return ParameterCount(total, diffusion)


def lora_report(model: LoraModel, base_parameters: int | None = None) -> Report:
    """The report as text and charts. base_parameters: of the diffusion model that the LoRA is for.

    Layers that cannot be read without their weight are named at the end. Raises ValueError as read_layers does.
    """
    spectra = spectra_of(model)
    return Report(_text(model, spectra, base_parameters), _charts(model, spectra))


def _text(model: LoraModel, spectra: Mapping[tuple[str, ...], Tensor], base_parameters: int | None) -> str:
    """Size, parameters, ranks, energy per block and the strongest layers, as plain text."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.values())
    lines = [f"{model.name}: {len(model)} tensors, {size / 1e6:.2f} MB, {len(spectra)} low-rank layers"]
    lines.append(_parameters(count_parameters(model), base_parameters))
    for key in ("modelspec.title", "ss_base_model_version", "ss_network_module"):
        if key in model.metadata:
            lines.append(f"{key}: {model.metadata[key]}")
    if not spectra:
        return "\n".join(lines + left_out(model))
    ranks = sorted(len(values) for values in spectra.values())
    effective = sorted(effective_rank(values) for values in spectra.values())
    lines.append(f"rank {ranks[0]} to {ranks[-1]}, effective rank {effective[0]:.1f} to {effective[-1]:.1f}")
    lines.append("energy by block:")
    shares = [(block, f"{share:.1%}") for block, share in energy_by_block(spectra).items()]
    lines += text_table([("block", "energy"), *shares])
    lines.append("strongest layers (Frobenius norm):")
    norms = {path: float(torch.linalg.vector_norm(values)) for path, values in spectra.items()}
    for path, norm in sorted(norms.items(), key=lambda row: -row[1])[:STRONGEST]:
        lines.append(f"  {'.'.join(path)}: {norm:.4g}")
    return "\n".join(lines + left_out(model))


def _parameters(count: ParameterCount, base: int | None) -> str:
    parts = [f"parameters: {count.total:,}"]
    if count.diffusion != count.total:
        parts.append(f"of which {count.diffusion:,} for the diffusion model")
    if base:
        parts.append(f"{100 * count.diffusion / base:.3g} % of the base model's {base:,}")
    return ", ".join(parts)


def _charts(model: LoraModel, spectra: Mapping[tuple[str, ...], Tensor]) -> Charts:
    """Singular values of the strongest layers above the energy of each block."""
    if not spectra:
        return [[Bars("Energy", "Energy by block", {"no low-rank layer": 0.0}, "%")]]
    strongest = sorted(spectra.items(), key=lambda row: -float(row[1].square().sum()))[:STRONGEST]
    curves = {".".join(path): values.tolist() for path, values in strongest}
    energies = {block: 100 * share for block, share in energy_by_block(spectra).items()}
    return [
        [Spectra("Spectra", f"Singular values of the strongest layers of {model.name}", curves)],
        [Bars("Energy", "Energy by block", energies, "%")],
    ]
