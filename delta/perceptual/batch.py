"""Paintings of a batch of pictures, one after the other, with what is done before and after each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..feature_networks.features import FeatureNetwork
from ..progress import Step
from ..style_network.finish import back_to_size, keeping_colours
from ..style_network.network import checked_planes, fit_mask, scaled
from .moments import shortest_side
from .optimise import BEFORE, NOISE, PHOTO, START_IMAGE, Optimisation, Settings, Show, size_at
from .places import Reference, places_of


@dataclass(frozen=True)
class StylePicture:
    """An IMAGE whose style is taken, its share of a mix, and a MASK of where it holds, or None."""

    image: Tensor
    weight: float = 1.0
    mask: Tensor | None = None


@dataclass(frozen=True)
class FittedStyle:
    """A style that was checked: its pictures [batch, 3, height, width] in 0..1, its share, and a mask for each picture to paint."""

    picture: Tensor
    weight: float
    masks: Sequence[Tensor] | None

    def reference(self, number: int) -> Reference:
        return Reference(self.picture, self.weight, None if self.masks is None else self.masks[number])


@dataclass
class PaintedBatch:
    """Pictures in the making.

    planes: the pictures [batch, 3, height, width] in 0..1. paintings: those that are done, [1, 3, height, width] each, at the
    size of the pictures. runs: one for each picture that was begun. covered: how much of the last one its styles cover.
    """

    network: FeatureNetwork
    planes: Tensor
    styles: Sequence[FittedStyle]
    settings: Settings
    keep_colours: float = 0.0
    start: Tensor | None = None
    device: torch.device | str = "cpu"
    paintings: list[Tensor] = field(default_factory=list)
    runs: list[Optimisation] = field(default_factory=list)
    covered: Tensor | None = None

    def run(self, on_step: Step, show: Show = lambda picture: None) -> Tensor:
        """Paint all pictures: [batch, height, width, 3] in 0..1.

        on_step(done, total) may raise to cancel: `image` is then what was painted, the best of the unfinished picture
        included. show(picture [1, 3, height, width]) is called after each step.
        """
        before = None
        for number, plane in enumerate(self.planes.split(1)):
            places, self.covered = places_of(self.references(number))
            run = Optimisation(self.network, places, self.settings, self.device)
            self.runs.append(run)
            run.run(plane, self._start(number, plane, before), scaled(on_step, number, len(self.planes)), show)
            self._finish()
            before = self.paintings[-1]
        return self.image

    @property
    def image(self) -> Tensor | None:
        """What was painted, [pictures, height, width, 3]; None before the first step."""
        if len(self.paintings) < len(self.runs) and self.runs[-1].painting is not None:
            self._finish()
        return torch.cat(self.paintings).movedim(1, -1) if self.paintings else None

    def _finish(self) -> None:
        """Bring the last painting to the size of its picture."""
        plane = self.planes[len(self.paintings)][None]
        painting = back_to_size(self.runs[-1].painting.cpu(), *plane.shape[-2:])
        painting = keeping_colours(painting, plane, self.keep_colours)
        self.paintings.append(painting if self.covered is None else torch.lerp(plane, painting, self.covered))

    def references(self, number: int) -> list[Reference]:
        """The styles for one picture, each with its mask."""
        return [style.reference(number) for style in self.styles]

    def _start(self, number: int, plane: Tensor, before: Tensor | None) -> Tensor:
        """What the first size begins with."""
        how = self.settings.start
        if how == NOISE:
            generator = torch.Generator().manual_seed(self.settings.seed + number)
            return torch.rand(1, 3, *size_at(plane, self.settings.sides(plane)[0]), generator=generator)
        if how == START_IMAGE:
            return self.start[number % len(self.start)][None]
        return before if how == BEFORE and before is not None else plane


def painted_batch(
    network: FeatureNetwork,
    image: Tensor,
    styles: Sequence[StylePicture],
    settings: Settings,
    keep_colours: float = 0.0,
    start_image: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> PaintedBatch:
    """A batch [batch, height, width, channels] that is ready to be painted.

    Raises ValueError, before anything long begins, for pictures that are too small, of another shape or hold NaN, for
    weights that add up to 0, masks that fit to no picture or leave no room, and a start image that is asked for and missing.
    """
    least = shortest_side(network)
    planes = checked_planes(image, least, "The picture")
    smallest = min(size_at(planes, settings.side))
    if smallest < least:
        raise ValueError(
            f"At a paint size of {settings.side} the picture's shorter side is {smallest} pixels; {network.name} needs "
            f"{least}. Use a larger paint size, or crop the picture."
        )
    if min(style.weight for style in styles) < 0 or max(style.weight for style in styles) == 0:
        raise ValueError("Weights of styles are 0 or more, and one at least is above 0.")
    if settings.start == START_IMAGE and start_image is None:
        raise ValueError(
            f"The painting is to start from the start image, but none is connected. Connect one, or choose {PHOTO}."
        )
    start = None if start_image is None else checked_planes(start_image, 1, "The start image")
    if start is not None and len(start) not in (1, len(planes)):
        raise ValueError(
            f"There are {len(start)} start images for {len(planes)} pictures. Give one, or one for each of them."
        )
    fitted = [_fitted(style, planes, least) for style in styles if style.weight > 0]
    batch = PaintedBatch(network, planes, fitted, settings, keep_colours, start, device)
    for number in range(len(planes)):
        places_of(batch.references(number))
    return batch


def _fitted(style: StylePicture, planes: Tensor, least: int) -> FittedStyle:
    masks = None if style.mask is None else fit_mask(style.mask, planes)
    return FittedStyle(checked_planes(style.image, least, "The style image"), style.weight, masks)
