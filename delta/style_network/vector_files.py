"""A style as a small file: the style vector where it came from pictures, gamma and beta otherwise."""

from __future__ import annotations

from pathlib import Path

from ..files.tensor_files import read_tensors, write_tensors
from .network import StyleNetwork
from .params import StyleComponent, StyleParams

FORMAT = "styledelta.style"


def save_style(style: StyleParams, path: str | Path) -> None:
    """Write a style or a mix. A normalised mix of picture styles is again one style vector of 100 numbers.

    Raises FileExistsError rather than replace a file.
    """
    vector = style.style_vector() if style.normalise else None
    gamma, beta = style.vectors()
    tensors = {"gamma": gamma, "beta": beta} if vector is None else {"vector": vector}
    write_tensors(path, tensors, {"format": FORMAT, "network": style.network, "label": style.describe()})


def load_style(path: str | Path, network: StyleNetwork, weight: float = 1.0) -> StyleComponent:
    """Read a style for this network.

    Raises FileNotFoundError, or ValueError when the file is damaged, is no style, or belongs to another network.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} was not saved by Save Style. Choose another file.")
    if metadata.get("network") != network.fingerprint:
        raise ValueError(f"{path.name} was saved for another style network, not {network.name}. Load that network.")
    if "vector" in tensors:
        return network.style_from_vector(tensors["vector"], path.stem, weight)
    if any(part not in tensors or tensors[part].shape != (network.channels,) for part in ("gamma", "beta")):
        raise ValueError(f"{path.name} is incomplete: it has no gamma and beta for {network.channels} channels.")
    return StyleComponent(path.stem, tensors["gamma"], tensors["beta"], weight)
