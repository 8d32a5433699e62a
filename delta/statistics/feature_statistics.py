"""Statistics of a reference's features: mean and standard deviation of every channel, by norm site and noise level.

With them AdaIN (Huang and Belongie 2017, arXiv 1703.06868) needs the reference picture no longer, and references mix like
the rows of conditional instance normalisation (arXiv 1610.07629): by a weighted mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.tensor_files import read_tensors, write_tensors
from ..linear_algebra.shares import normalised

FORMAT = "styledelta.feature_statistics"
SIGMAS, SITE_PREFIX = "sigmas", "site."
# The latent that the model predicts: a site that is no module.
LATENT = "latent"


@dataclass(frozen=True)
class FeatureStatistics:
    """What was recorded of one reference.

    model: the kind of model; sigmas: [bins], positive, descending; sites: by name [bins, 2, channels]: mean, then standard
    deviation, float32.
    """

    model: str
    sigmas: Tensor
    sites: dict[str, Tensor]

    def at(self, sigma: float) -> dict[str, Tensor]:
        """The tables [2, channels] at a noise level: linear in log sigma between two bins, the last bin beyond them."""
        upper, lower, share = _bracket(self.sigmas, sigma)
        return {name: torch.lerp(bins[upper], bins[lower], share) for name, bins in self.sites.items()}

    def channels(self) -> dict[str, int]:
        """The number of channels of each site."""
        return {name: bins.shape[-1] for name, bins in self.sites.items()}


def _bracket(sigmas: Tensor, sigma: float) -> tuple[int, int, float]:
    """The bins around a noise level, and how far it lies from the upper to the lower one, 0 to 1."""
    levels = sigmas.tolist()
    if sigma >= levels[0]:
        return 0, 0, 0.0
    if sigma <= levels[-1]:
        return len(levels) - 1, len(levels) - 1, 0.0
    lower = next(index for index, level in enumerate(levels) if level <= sigma)
    upper = lower - 1
    share = math.log(levels[upper] / sigma) / math.log(levels[upper] / levels[lower])
    return upper, lower, share


class Component(NamedTuple):
    """One reference in a mix."""

    label: str
    statistics: FeatureStatistics
    weight: float = 1.0


@dataclass(frozen=True)
class StatisticsMix:
    """A weighted mean of the statistics of references, all of the same sites."""

    components: tuple[Component, ...]

    def weights(self) -> list[float]:
        """The share of each component; they sum to 1. Raises ValueError when the weights sum to zero."""
        return normalised([component.weight for component in self.components])

    def at(self, sigma: float) -> dict[str, Tensor]:
        """The mixed tables [2, channels] at a noise level. A deviation that negative weights push below 0 is 0."""
        weights, tables = self.weights(), [component.statistics.at(sigma) for component in self.components]
        mixed = {}
        for name in tables[0]:
            mean, std = sum(weight * table[name] for weight, table in zip(weights, tables))
            mixed[name] = torch.stack([mean, std.clamp(min=0)])
        return mixed


def extend(previous: StatisticsMix | None, component: Component) -> StatisticsMix:
    """A new mix with one more reference, or the first one. Raises ValueError when it was recorded on another model."""
    if previous is None:
        return StatisticsMix((component,))
    first = previous.components[0]
    check_sites(
        component, first.statistics.channels(), f"{first.label}, which was recorded on {first.statistics.model},"
    )
    return StatisticsMix((*previous.components, component))


def check_sites(component: Component, channels: dict[str, int], other: str) -> None:
    """Raise ValueError unless the statistics have no site but these, with so many channels. `other` names what has them."""
    misfits = [
        f"{name} has {count} channels there and {channels.get(name, 'does not exist')} here"
        for name, count in component.statistics.channels().items()
        if channels.get(name) != count
    ]
    if misfits:
        raise ValueError(
            f"{component.label} was recorded on {component.statistics.model} and does not fit {other}: {misfits[0]}"
            f"{f', and {len(misfits) - 1} more' if len(misfits) > 1 else ''}. Save statistics with the model in use."
        )


def save_statistics(statistics: FeatureStatistics, path: str | Path) -> None:
    """Write statistics as one file, in float16 where its range is wide enough.

    Raises ValueError for NaN and infinite values, FileExistsError rather than replace a file.
    """
    tensors = {SIGMAS: statistics.sigmas}
    for name, bins in statistics.sites.items():
        if not torch.isfinite(bins).all():
            raise ValueError(
                f"The features at {name} hold NaN or infinite values. Load the model in a higher precision; nothing was "
                "written."
            )
        half = bins.half()
        tensors[SITE_PREFIX + name] = half if torch.isfinite(half).all() else bins
    metadata = {"format": FORMAT, "model": statistics.model, "sites": str(len(statistics.sites))}
    write_tensors(path, tensors, metadata)


def load_statistics(path: str | Path) -> FeatureStatistics:
    """Read statistics. Raises FileNotFoundError, or ValueError when the file is damaged or holds something else."""
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path.name} was not saved by Save Statistics. Choose another file.")
    sigmas = tensors.pop(SIGMAS, torch.empty(0)).float()
    sites = {name.removeprefix(SITE_PREFIX): bins.float() for name, bins in tensors.items()}
    is_descending = sigmas.dim() == 1 and len(sigmas) > 0 and (sigmas > 0).all() and (sigmas.diff() < 0).all()
    whole = [bins.dim() == 3 and bins.shape[:2] == (len(sigmas), 2) for bins in sites.values()]
    if not is_descending or not all(whole) or str(len(sites)) != metadata.get("sites"):
        raise ValueError(f"{path.name} is incomplete: it lacks sites or noise levels. Save the statistics again.")
    return FeatureStatistics(metadata.get("model", "an unknown model"), sigmas, sites)
