"""Looks: other pictures of the same drawings, made by a program. A look is the fair test of what norms can carry.

Each takes a drawing, float32 [H, W, 4] in 0..1, and returns a picture [H, W, 3] in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
PAPER, INK = np.array((0.96, 0.92, 0.84)), np.array((0.16, 0.13, 0.26))
NIGHT = np.array((0.05, 0.06, 0.17))
# The ground, and from dark to light what is drawn on it.
POSTER_GROUND = np.array((0.97, 0.71, 0.28))
POSTER = np.array(((0.11, 0.21, 0.34), (0.84, 0.2, 0.25), (0.99, 0.95, 0.86)))
POSTER_STEPS = (0.36, 0.68)
# Neighbours differ by this much where a drawing has a line, and lines are this wide on 256 pixels.
LINE_STEP, LINE_WIDTH = 0.16, 7


def ink(drawing: np.ndarray) -> np.ndarray:
    """Ink outlines of every patch of colour on paper, with a wash that is darker where the colour is."""
    colour, alpha = drawing[..., :3], drawing[..., 3:]
    flat = colour * alpha + 1 - alpha
    # What is white on white has its outline too.
    seen = np.dstack([flat, alpha])
    steps = [np.abs(np.roll(seen, 1, axis) - seen).max(-1) for axis in (0, 1)]
    lines = maximum_filter((np.maximum(*steps) > LINE_STEP).astype(np.float32), LINE_WIDTH)
    lines = gaussian_filter(lines, 1)[..., None]
    wash = PAPER * (0.72 + 0.28 * (flat @ LUMA))[..., None]
    return lines * INK + (1 - lines) * wash


def night(drawing: np.ndarray) -> np.ndarray:
    """The drawing at night: a dark ground, bluer and darker colours, and a glow of its own colours round it."""
    colour, alpha = drawing[..., :3], drawing[..., 3:]
    glow = np.stack([gaussian_filter((colour * alpha)[..., channel], 16) for channel in range(3)], -1)
    ground = NIGHT + 0.9 * glow
    dimmed = colour * np.array((0.62, 0.7, 0.95)) * (0.5 + 0.5 * (colour @ LUMA))[..., None] + 0.04
    return (alpha * dimmed + (1 - alpha) * ground).clip(0, 1)


def poster(drawing: np.ndarray) -> np.ndarray:
    """The drawing in three colours, chosen by its lightness, on a ground of a fourth."""
    colour, alpha = drawing[..., :3], drawing[..., 3:]
    light = gaussian_filter((colour * alpha + 1 - alpha) @ LUMA, 1.5)
    return np.where(alpha > 0.5, POSTER[np.digitize(light, POSTER_STEPS)], POSTER_GROUND)


LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ink": ink, "night": night, "poster": poster}
