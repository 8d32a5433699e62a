"""Smaller copies of a picture or plane, on which coarse things are found faster and no less exactly."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def reduced(values: np.ndarray, factor: int) -> np.ndarray:
    """[H, W] or [H, W, C] averaged over squares of `factor` pixels; squares at the border may differ by a pixel."""
    if factor <= 1:
        return values
    size = [max(1, length // factor) for length in values.shape[:2]]
    return _interpolated(values, size, mode="area")


def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H, W] or [H, W, C] interpolated smoothly to another size."""
    return values if values.shape[:2] == (height, width) else _interpolated(values, (height, width), mode="bicubic")


def wide_gaussian(plane: np.ndarray, sigma: float, enough: float) -> np.ndarray:
    """Gaussian of a plane [H, W] by sigma pixels, at a size where sigma is still `enough` pixels or more."""
    from scipy.ndimage import gaussian_filter

    factor = max(1, int(sigma / enough))
    small = gaussian_filter(reduced(plane, factor), sigma / factor, mode="nearest")
    return resized(small, *plane.shape)


def _interpolated(values: np.ndarray, size: tuple[int, int] | list[int], mode: str) -> np.ndarray:
    planes = values[..., None] if values.ndim == 2 else values
    planes = torch.from_numpy(np.ascontiguousarray(planes, dtype=np.float32)).movedim(-1, 0)[None]
    result = F.interpolate(planes, tuple(size), mode=mode)[0].movedim(0, -1).numpy()
    return np.ascontiguousarray(result[..., 0] if values.ndim == 2 else result)
