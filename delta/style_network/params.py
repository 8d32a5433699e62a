"""Style parameters: the gamma and beta vectors that conditional instance normalisation swaps.

One style of a CIN network (Dumoulin et al. 2017, arXiv 1610.07629) is one gamma and one beta per normalised
channel and nothing else; mixing styles is a weighted sum of those vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..linear_algebra.shares import normalised


class StyleComponent(NamedTuple):
    """One style in a mix.

    `gamma` and `beta` are float32 vectors of shape [channels]; `vector` is the style vector that a predictor network
    gave (shape [100] for Ghiasi et al. 2017), or None for a style that comes from a table.
    """

    label: str
    gamma: Tensor
    beta: Tensor
    weight: float = 1.0
    vector: Tensor | None = None


@dataclass(frozen=True)
class StyleParams:
    """A weighted mix of styles of one network. `network` is the fingerprint of the network they belong to."""

    network: str
    components: tuple[StyleComponent, ...]
    normalise: bool = True

    def weights(self) -> list[float]:
        """The factor of each component, summing to 1 when the mix is normalised.

        Raises ValueError when the weights sum to zero and so cannot be normalised.
        """
        raw = [component.weight for component in self.components]
        if not self.normalise:
            return raw
        return normalised(raw, ", or switch normalise off")

    def vectors(self) -> tuple[Tensor, Tensor]:
        """The mixed (gamma, beta), each of shape [channels]."""
        weights = self.weights()
        gamma = sum(weight * component.gamma for weight, component in zip(weights, self.components))
        beta = sum(weight * component.beta for weight, component in zip(weights, self.components))
        return gamma, beta

    def style_vector(self) -> Tensor | None:
        """The mixed style vector, or None when a component has none. Exact for a normalised mix: the map is affine."""
        vectors = [component.vector for component in self.components]
        if any(vector is None for vector in vectors):
            return None
        return sum(weight * vector for weight, vector in zip(self.weights(), vectors))

    def describe(self) -> str:
        """One line for people, such as `0.50 style 3 + 0.50 style 12`."""
        return " + ".join(f"{weight:.2f} {c.label}" for weight, c in zip(self.weights(), self.components))


def extend(
    previous: StyleParams | None, component: StyleComponent, network: str, normalise: bool = True
) -> StyleParams:
    """A new mix with one more style, or the first one; `normalise` then holds for the whole mix.

    Raises ValueError when the earlier mix belongs to another network.
    """
    if previous is None:
        return StyleParams(network, (component,), normalise)
    check_network(previous, network)
    return replace(previous, components=(*previous.components, component), normalise=normalise)


def check_network(params: StyleParams, network: str) -> None:
    """Raise ValueError unless `params` belong to the network with this fingerprint."""
    if params.network != network:
        labels = ", ".join(component.label for component in params.components)
        raise ValueError(
            f"The style parameters ({labels}) were made for another style network. "
            "Connect the style nodes and the stylize node to the same Load Style Network."
        )


def interpolate(
    anchor: tuple[Tensor, Tensor], style: tuple[Tensor, Tensor], amount: float | Tensor
) -> tuple[Tensor, Tensor]:
    """anchor + amount * (style - anchor), for gamma and beta. `amount` is a number or one factor per channel."""
    return torch.lerp(anchor[0], style[0], torch.as_tensor(amount, dtype=style[0].dtype)), torch.lerp(
        anchor[1], style[1], torch.as_tensor(amount, dtype=style[1].dtype)
    )
