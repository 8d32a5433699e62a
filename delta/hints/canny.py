"""Canny edges: closed contours of even width, with thresholds that fit the picture."""

from __future__ import annotations

import numpy as np

from .tone import grey

MIN_BLUR = 0.5
# The Sobel filter of SciPy gives 4 for a step from black to white.
SOBEL_STEP = 4.0
# An edge between two pixels has equal gradients on both. This much more contrast for brighter tones settles the tie for
# the bright side: too little to move any other edge, and far above rounding.
TIE_BREAK = 1e-3
# The automatic thresholds never fall below these, so that noise in an even picture is no edge.
LEAST_HIGH = 0.06
LOW_PER_HIGH = 0.5


def canny(picture: np.ndarray, blur: float = 1.0, thresholds: tuple[float, float] | None = None) -> np.ndarray:
    """White edges of 1 pixel on black: picture [H, W, 3] in 0..1 -> [H, W] of 0 and 1, float32.

    blur: standard deviation of the Gaussian in pixels, from 0.5. thresholds: low and high, 0..1, where 1 is the gradient
    of a hard step from black to white (OpenCV's 100 and 200 are 0.1 and 0.2); None chooses them from the picture. Edges
    run on to the border of the picture. Raises ValueError for a smaller blur and for thresholds out of range or order.

    Source: Canny, "A Computational Approach to Edge Detection", PAMI 1986. Automatic thresholds: Fang, Yue and Yu, "The
    Study on An Application of Otsu Method in Canny Operator", 2009.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.feature import canny as find_edges

    _check(blur, thresholds)
    # The border is no edge, but edges that meet it are to reach it, which skimage's canny leaves out.
    margin = int(4 * blur) + 2
    smooth = gaussian_filter(np.pad(grey(picture), margin, mode="edge"), blur, mode="nearest")
    smooth += TIE_BREAK * smooth**2
    low, high = thresholds or automatic_thresholds(smooth)
    edges = find_edges(smooth, 0, low * SOBEL_STEP, high * SOBEL_STEP, mode="nearest")
    return edges[margin:-margin, margin:-margin].astype(np.float32)


def automatic_thresholds(smooth: np.ndarray) -> tuple[float, float]:
    """Low and high for a blurred picture [H, W]: high by Otsu's method on the gradient, low is half of it."""
    from scipy.ndimage import sobel
    from skimage.filters import threshold_otsu

    gradient = np.hypot(sobel(smooth, 0), sobel(smooth, 1)) / SOBEL_STEP
    # Even areas say nothing about edges, and would pull the threshold down to their noise.
    gradient = gradient[gradient > LEAST_HIGH * LOW_PER_HIGH]
    high = float(threshold_otsu(gradient)) if gradient.size and np.ptp(gradient) > 0 else 0.0
    high = max(high, LEAST_HIGH)
    return high * LOW_PER_HIGH, high


def _check(blur: float, thresholds: tuple[float, float] | None) -> None:
    if not blur >= MIN_BLUR:
        raise ValueError(f"The blur is {blur}. Canny needs at least {MIN_BLUR}: without blur, edges become double.")
    if thresholds is not None and not 0 <= thresholds[0] <= thresholds[1] <= 1:
        raise ValueError(
            f"The thresholds are {thresholds[0]} and {thresholds[1]}. Low must not be above high, and both lie in 0 to 1."
        )
