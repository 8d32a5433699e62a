"""Segmentation without a model: a picture in flat regions that have no names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from .resize import resize_nearest
from .work import ALONE, Work

# The shorter side at which regions are looked for, at most: the time grows with the area, the regions hardly change.
SLIC_SIDE = 512
FELZENSZWALB_SIDE = 384
SLIC_ITERATIONS = 5
SLIC_COMPACTNESS = 10.0
# Felzenszwalb's scale of observation for regions of one pixel's side; it grows with the side.
FELZENSZWALB_SCALE = 8.0
FELZENSZWALB_BLUR = 0.8
# An odd multiplier makes neighbouring numbers far apart, and all of 24 bits different.
SPREAD = 0x9E3779
COLOURS = ("mean colour", "distinct colours")


def segment(
    picture: np.ndarray,
    method: str = "SLIC",
    region_size: float = 8.0,
    colours: str = "mean colour",
    work: Work = ALONE,
) -> np.ndarray:
    """Flat regions: picture [H, W, 3] in 0..1 -> [H, W, 3] in 0..1, float32.

    method: "SLIC" (regions of about one size) or "Felzenszwalb" (large where the picture is even). region_size: side of
    a usual region in percent of the shorter side, 1..100. colours: "mean colour" of each region, or "distinct colours",
    no two alike. Regions are found at a shorter side of at most 512 (SLIC) or 384 pixels. Raises ValueError for an
    unknown method, unknown colours and a size out of range.

    Sources: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", PAMI 2012; Felzenszwalb
    and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
    """
    if method not in METHODS:
        raise ValueError(f"There is no segmentation method {method!r}. Choose one of: {', '.join(METHODS)}.")
    if colours not in COLOURS:
        raise ValueError(f"Regions cannot be coloured by {colours!r}. Choose one of: {', '.join(COLOURS)}.")
    if not 1 <= region_size <= 100:
        raise ValueError(f"The region size is {region_size} percent. It must be between 1 and 100.")
    find_regions, side = METHODS[method]
    height, width = picture.shape[:2]
    small = _shrink(picture, side)
    labels = find_regions(small, region_size / 100 * min(small.shape[:2]))
    labels = np.unique(resize_nearest(labels, height, width), return_inverse=True)[1].reshape(height, width)
    palette = _mean_colours(picture, labels) if colours == "mean colour" else _distinct_colours(labels.max() + 1)
    work.on_step(1, 1)
    return palette[labels]


def _slic(picture: np.ndarray, size: float) -> np.ndarray:
    from skimage.segmentation import slic

    count = max(1, round(picture.shape[0] * picture.shape[1] / size**2))
    return slic(picture, count, SLIC_COMPACTNESS, max_num_iter=SLIC_ITERATIONS, start_label=0, channel_axis=-1)


def _felzenszwalb(picture: np.ndarray, size: float) -> np.ndarray:
    from skimage.segmentation import felzenszwalb

    least = max(1, round(size**2 / 4))
    return felzenszwalb(picture, FELZENSZWALB_SCALE * size, FELZENSZWALB_BLUR, least, channel_axis=-1)


# Method -> (function from a picture and the side of a region in pixels to labels [H, W], shorter side at most).
METHODS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], int]] = {
    "SLIC": (_slic, SLIC_SIDE),
    "Felzenszwalb": (_felzenszwalb, FELZENSZWALB_SIDE),
}


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    shorter = min(picture.shape[:2])
    if shorter <= side:
        return picture
    size = [max(1, round(length * side / shorter)) for length in picture.shape[:2]]
    planes = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0)[None]
    return np.ascontiguousarray(F.interpolate(planes, size, mode="area")[0].movedim(0, -1).numpy())


def _mean_colours(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean of each label's pixels, [labels, 3], float32."""
    counts = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), picture[..., channel].ravel()) for channel in range(3)]
    return (np.stack(sums, 1) / counts[:, None]).astype(np.float32)


def _distinct_colours(count: int) -> np.ndarray:
    """So many colours of 8 bits per channel, no two alike and none black, [count, 3], float32."""
    codes = np.arange(1, count + 1, dtype=np.int64) * SPREAD % 2**24
    return (np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1) / 255).astype(np.float32)
