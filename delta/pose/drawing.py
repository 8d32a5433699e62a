"""Pictures of poses as OpenPose draws them and pose ControlNets were trained on.

Sizes are those of the ControlNet annotator, for a shorter side of 512 pixels: limbs are ellipses of half width 4 at 60 %
brightness, joints circles of radius 4, bones of hands lines of width 3, points of faces circles of radius 3. They grow
with the picture. Animals are lines of width 5, as comfyui_controlnet_aux draws them. Everything is drawn at twice the size
and reduced, which smooths it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..progress import Step
from .people import Frame, parts_of
from .skeletons import (
    ANIMAL_COLOURS,
    ANIMAL_LIMBS,
    BODY_COLOURS,
    BONE_COLOURS,
    BONES,
    FACE_COLOUR,
    FEET_COLOURS,
    HAND_COLOUR,
    LIMB_BRIGHTNESS,
    LIMBS,
    Colour,
)

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SUPERSAMPLING = 2
# Drawn at twice the size, this takes 0.8 GB.
LONGEST_SIDE = 8192
REFERENCE_SIDE = 512
STICK_WIDTH = 4.0
# OpenCV's lines of thickness 2, which the annotator draws, are 3 pixels wide.
HAND_RADIUS, BONE_WIDTH, FACE_RADIUS, ANIMAL_WIDTH = 4.0, 3.0, 3.0, 5.0
# In sides of the picture: what lies farther outside is wrong, and its numbers would be too large to draw.
FARTHEST = 50
# Around an ellipse, enough that its outline looks smooth.
ANGLES = 2 * np.pi * np.arange(72) / 72


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn and how.

    stick_width: half width of limbs and radius of joints, in pixels for a shorter side of 512; xinsir's SDXL models were
    trained with 6 at 1024 and 8 at 512. min_confidence: points below it are left out. feet: their points, which pose
    ControlNets before SDPose have never seen. body switches animals too.
    """

    body: bool = True
    hands: bool = True
    face: bool = True
    stick_width: float = STICK_WIDTH
    min_confidence: float = 0.3
    feet: bool = False


def picture_size(frames: Sequence[Frame], height: int = 0, width: int = 0) -> tuple[int, int]:
    """Height and width of the pictures of these frames; 0 asks for that of the first canvas, in its proportions.

    Raises ValueError where that is unknown, and for sides above 8192.
    """
    if not (height and width):
        canvas = next((frame.canvas for frame in frames if frame.canvas), None)
        if canvas is None:
            raise ValueError("The size of the picture is unknown. Set width and height.")
        scale = height / canvas[0] or width / canvas[1] or 1
        height, width = (given or max(1, round(side * scale)) for given, side in zip((height, width), canvas))
    if max(height, width) > LONGEST_SIDE:
        raise ValueError(
            f"A picture of {width} x {height} is too large. Set width and height to at most {LONGEST_SIDE}."
        )
    return height, width


def unsure_lines(frames: Sequence[Frame], min_confidence: float) -> list[str]:
    """A line about the points that are left out because the detector was less sure of them, if there are any."""
    parts = [points for frame in frames for points in frame.animals]
    parts += [points for frame in frames for person in frame.people for points in parts_of(person).values()]
    confidence = np.concatenate([np.zeros(0), *(points[:, 2] for points in parts)])
    confidence = confidence[confidence > 0]
    unsure = int((confidence < min_confidence).sum())
    if not unsure:
        return []
    return [f"{unsure} of {len(confidence)} points have a confidence below {min_confidence:g} and were left out."]


def draw_poses(
    frames: Sequence[Frame],
    height: int,
    width: int,
    options: DrawOptions = DrawOptions(),
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """One picture per frame, [frames, height, width, 3] in 0..1. See `draw_pose`."""
    pictures = torch.empty(len(frames), height, width, 3)
    for index, frame in enumerate(frames):
        pictures[index] = draw_pose(frame, height, width, options)
        on_step(index + 1, len(frames))
    return pictures


def draw_pose(frame: Frame, height: int, width: int, options: DrawOptions = DrawOptions()) -> Tensor:
    """The animals and people of a frame on black, [height, width, 3] in 0..1.

    A canvas of other proportions is fitted in whole and centred, so that people keep theirs. Points that are missing are
    left out with what is joined to them; what lies outside the picture is cut off.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = _Pen(ImageDraw.Draw(image), frame.canvas or (height, width), (height, width), options)
    if options.body:
        for animal in frame.animals:
            pen.animal(animal)
    for person in frame.people:
        if options.body:
            pen.body(person.body)
        if options.feet:
            pen.feet(person.feet)
        if options.hands:
            pen.hand(person.left_hand)
            pen.hand(person.right_hand)
        if options.face:
            pen.face(person.face)
    return torch.from_numpy(np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32) / 255)


class _Pen:
    """Draws parts of people, given in 0..1 of a canvas, into a picture."""

    def __init__(self, draw: ImageDraw, canvas: tuple[int, int], size: tuple[int, int], options: DrawOptions):
        self._draw, self._options = draw, options
        scale = min(side / canvas_side for side, canvas_side in zip(size, canvas))
        self._extent = scale * np.array(canvas[::-1], dtype=np.float64)
        self._origin = (np.array(size[::-1]) - self._extent) / 2
        self._pixel = SUPERSAMPLING * min(size) / REFERENCE_SIDE

    def body(self, points: np.ndarray | None) -> None:
        places, width = self._places(points), self._options.stick_width * self._pixel
        for (start, end), colour in zip(LIMBS, BODY_COLOURS):
            if start in places and end in places:
                self._limb(places[start], places[end], width, tuple(int(LIMB_BRIGHTNESS * part) for part in colour))
        for index, place in places.items():
            self._dot(place, width, BODY_COLOURS[index])

    def feet(self, points: np.ndarray | None) -> None:
        for index, place in self._places(points).items():
            self._dot(place, self._options.stick_width * self._pixel, FEET_COLOURS[index])

    def animal(self, points: np.ndarray) -> None:
        places, width = self._places(points), max(1, round(ANIMAL_WIDTH * self._pixel))
        for (start, end), colour in zip(ANIMAL_LIMBS, ANIMAL_COLOURS):
            if start in places and end in places:
                self._draw.line([tuple(places[start]), tuple(places[end])], colour, width)

    def hand(self, points: np.ndarray | None) -> None:
        places, width = self._places(points), max(1, round(BONE_WIDTH * self._pixel))
        for (start, end), colour in zip(BONES, BONE_COLOURS):
            if start in places and end in places:
                self._draw.line([tuple(places[start]), tuple(places[end])], colour, width)
        for place in places.values():
            self._dot(place, HAND_RADIUS * self._pixel, HAND_COLOUR)

    def face(self, points: np.ndarray | None) -> None:
        for place in self._places(points).values():
            self._dot(place, FACE_RADIUS * self._pixel, FACE_COLOUR)

    def _places(self, points: np.ndarray | None) -> dict[int, np.ndarray]:
        """Where the points that are to be seen lie in the supersampled picture, by their number."""
        if points is None:
            return {}
        confidence = points[:, 2]
        seen = (confidence > 0) & (confidence >= self._options.min_confidence)
        seen &= (np.abs(points[:, :2]) < FARTHEST).all(1)
        # A coordinate is the middle of a pixel, which lies between its samples.
        samples = SUPERSAMPLING * (self._origin + points[:, :2] * self._extent) + (SUPERSAMPLING - 1) / 2
        return {int(index): samples[index] for index in np.flatnonzero(seen)}

    def _limb(self, start: np.ndarray, end: np.ndarray, half_width: float, colour: Colour) -> None:
        """An ellipse with its tips at two joints."""
        along = (end - start) / 2
        length = np.hypot(*along)
        if length == 0:
            return
        across = np.array([-along[1], along[0]]) / length * half_width
        outline = (start + end) / 2 + np.cos(ANGLES)[:, None] * along + np.sin(ANGLES)[:, None] * across
        self._draw.polygon([tuple(corner) for corner in outline], colour)

    def _dot(self, place: np.ndarray, radius: float, colour: Colour) -> None:
        self._draw.ellipse([*(place - radius), *(place + radius)], colour)
