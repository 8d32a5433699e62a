"""The gradient of a picture in colours: at each pixel that of the channel in which it is strongest."""

from __future__ import annotations

import numpy as np

# The Sobel filter of SciPy gives 4 for a step from black to white.
SOBEL_STEP = 4.0
# An edge between two pixels has equal gradients on both. So much more contrast for brighter tones of red, green and blue
# settles the tie for the bright side, and between two hues of equal lightness for that where green is brighter: too little
# to move any other edge, and far above rounding.
TIE_BREAK = (0.6e-3, 1e-3, 0.3e-3)
GREEN = 1


def colour_gradient(picture: np.ndarray, blur: float, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(down, right, strength) of the rows of a picture [H, W, 3], with one more pixel on every side: [rows + 2, W + 2].

    blur: standard deviation of the Gaussian in pixels. A hard step from black to white has a strength near 1. Beyond the
    border the picture goes on as its border is. float64: sums of equal values stay equal well below a step of 8 bits.

    Source: the strongest of the channels, as OpenCV takes it for Canny on colours.
    """
    from scipy.ndimage import gaussian_filter, sobel

    margin = int(4 * blur + 0.5) + 2
    inside = slice(margin - 1, 1 - margin)
    found = None
    for channel in channels(picture):
        plane = with_margin(picture[..., channel], rows, margin)
        smooth = gaussian_filter(plane.astype(np.float64), blur, mode="nearest")
        smooth += TIE_BREAK[channel] * smooth**2
        down, right = (sobel(smooth, axis)[inside, inside] / SOBEL_STEP for axis in (0, 1))
        size = np.hypot(down, right)
        if found is None:
            found = (down, right, size)
        else:
            is_stronger = size > found[2]
            for kept, new in zip(found, (down, right, size)):
                np.copyto(kept, new, where=is_stronger)
    return found


def channels(picture: np.ndarray) -> tuple[int, ...]:
    """The channels that have to be looked at: one of a grey picture."""
    is_grey = np.array_equal(picture[..., 0], picture[..., 1]) and np.array_equal(picture[..., 1], picture[..., 2])
    return (GREEN,) if is_grey else (0, 1, 2)


def with_margin(plane: np.ndarray, rows: slice, margin: int) -> np.ndarray:
    """The rows of a plane [H, W] with a margin on all sides, in which the border of the plane goes on."""
    index = np.arange(rows.start - margin, rows.stop + margin).clip(0, len(plane) - 1)
    return np.pad(plane[index], ((0, 0), (margin, margin)), mode="edge")
