"""Which style holds where in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Reference(NamedTuple):
    """Pictures [batch, 3, height, width] in 0..1 whose style is taken, the mean of all of them; their share of a mix, above
    0; and where the style holds: a mask [1, 1, height, width] in 0..1 of the picture's size, or None."""

    picture: Tensor
    weight: float = 1.0
    mask: Tensor | None = None


class Place(NamedTuple):
    """References that are mixed, and where: [1, 1, height, width] in 0..1, None for everywhere."""

    references: tuple[Reference, ...]
    mask: Tensor | None


def places_of(references: Sequence[Reference]) -> tuple[list[Place], Tensor | None]:
    """The places of styles, and how much of the picture they cover, None for all of it.

    A style with a mask holds where it is white, several with one mask are mixed; styles without a mask share the rest. Where
    none holds, the picture stays. Raises ValueError where no style has any room.
    """
    masked: list[tuple[Tensor, list[Reference]]] = []
    free = [each for each in references if each.mask is None]
    for each in references:
        if each.mask is not None:
            group = next((group for mask, group in masked if torch.equal(mask, each.mask)), None)
            if group is None:
                masked.append((each.mask, [each]))
            else:
                group.append(each)
    if not masked:
        return [Place(tuple(free), None)], None
    covered = torch.stack([mask for mask, _ in masked]).amax(0)
    places = [Place(tuple(group), mask) for mask, group in masked]
    places += [Place(tuple(free), 1 - covered)] if free else []
    places = [place for place in places if place.mask.any()]
    if not places:
        raise ValueError(
            "The masks are black everywhere, so no style has a place. Paint white where a style is to hold."
        )
    return places, None if free else covered
