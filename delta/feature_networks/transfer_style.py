"""Measured styles: what a transfer network remembers of a picture, the mixes of several, and their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.tensor_files import read_tensors, write_tensors
from ..linear_algebra.shares import normalised

FORMAT = "styledelta.transfer_style"

StyleTensors = dict[str, Tensor]


class MeasuredStyle(NamedTuple):
    """The style of one picture in a mix: its tensors by name, float32 on the CPU."""

    label: str
    tensors: StyleTensors
    weight: float = 1.0


@dataclass(frozen=True)
class TransferStyle:
    """A weighted mix of styles. network: the fingerprint of what measured them."""

    network: str
    components: tuple[MeasuredStyle, ...]

    def shares(self) -> list[float]:
        """The share of each style; they sum to 1. Raises ValueError when the weights sum to zero."""
        return normalised([component.weight for component in self.components])

    def tensors(self) -> StyleTensors:
        """The mixed tensors. For AdaIN and WCT this is the mix of the features that each style alone would give, as both
        papers mix: means and deviations enter them linearly."""
        parts = list(zip(self.shares(), self.components))
        return {name: sum(share * part.tensors[name] for share, part in parts) for name in parts[0][1].tensors}

    def describe(self) -> str:
        """One line for people, such as `0.50 wave + 0.50 mosaic`."""
        return " + ".join(f"{share:.2f} {part.label}" for share, part in zip(self.shares(), self.components))


def extend(previous: TransferStyle | None, style: MeasuredStyle, network: str) -> TransferStyle:
    """A new mix with one more style, or the first one. Raises ValueError when the earlier ones are of another network."""
    if previous is None:
        return TransferStyle(network, (style,))
    check_network(previous, network)
    return TransferStyle(network, (*previous.components, style))


def check_network(style: TransferStyle, network: str) -> None:
    """Raise ValueError unless a style was measured by the network with this fingerprint."""
    if style.network != network:
        labels = ", ".join(component.label for component in style.components)
        raise ValueError(
            f"The style ({labels}) was measured with another transfer network. Connect Measure Style and Transfer Style to "
            "the same Load Transfer Network."
        )


def fingerprint_of(text: str, tensors: Iterable[Tensor]) -> str:
    """What tells networks apart: 16 digits of a hash of a text and of numbers."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_style(style: TransferStyle, path: str | Path) -> None:
    """Write a style or a mix, in float32. Raises FileExistsError rather than replace a file."""
    write_tensors(path, style.tensors(), {"format": FORMAT, "network": style.network, "label": style.describe()})


def load_style(
    path: str | Path, network: str, shapes: Mapping[str, tuple[int, ...]], weight: float = 1.0
) -> MeasuredStyle:
    """Read a style for the network of this fingerprint, whose styles have these shapes.

    Raises FileNotFoundError, or ValueError when the file is damaged, is no style, or is of another network.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} was not saved by Save Measured Style. Choose another file.")
    if metadata.get("network") != network:
        raise ValueError(f"{path.name} was measured with another transfer network. Load that network.")
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != dict(shapes):
        raise ValueError(f"{path.name} is incomplete: it should hold {', '.join(shapes)}. Measure the style again.")
    return MeasuredStyle(path.stem, {name: tensor.to(torch.float32) for name, tensor in tensors.items()}, weight)
