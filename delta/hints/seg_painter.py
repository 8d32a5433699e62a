"""Segmentation maps from masks and the names of ADE20K classes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..pictures import check_image, check_mask_count, read_mask
from ..progress import Step
from .ade20k import ADE20K_COLOURS

UNLABELLED = "unlabelled (black)"


def paint_class(
    mask: Tensor,
    class_name: str,
    previous: Tensor | None = None,
    width: int = 0,
    height: int = 0,
    background: str = UNLABELLED,
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """A segmentation map with one class more: [B, H, W, 3] of pure class colours, float32.

    mask: [masks, height, width]; where it is above 0.5, the map gets the colour of class_name. It is resized by the
    nearest pixel, so no colours blend. previous: a map [maps, H, W, 1, 3 or 4] that is painted on, else the map is all
    background, of width x height, 0 for those of the mask. One of the two batches may be 1. on_step is called with
    (done, total) after every map. Raises ValueError for unknown classes, batches that do not fit, wrong shapes, NaN.
    """
    mask = read_mask(mask)
    colour, canvas = _colour(class_name), _canvas(mask, previous, width, height, background)
    if len(canvas) > 1:
        check_mask_count(len(mask), len(canvas))
    count = max(len(mask), len(canvas))
    result = canvas.expand(count, -1, -1, -1).clone()
    for index in range(count):
        # Mode "nearest" takes the corner of each cell; "nearest-exact" takes its centre.
        fitted = torch.nn.functional.interpolate(
            mask[index % len(mask)][None, None], result.shape[1:3], mode="nearest-exact"
        )
        result[index, fitted[0, 0].to(result.device) > 0.5] = colour.to(result.device)
        on_step(index + 1, count)
    return result


def _canvas(mask: Tensor, previous: Tensor | None, width: int, height: int, background: str) -> Tensor:
    """What is painted on: [maps, H, W, 3], float32."""
    if previous is None:
        size = (height or mask.shape[1], width or mask.shape[2])
        return _colour(background).expand(1, *size, 3)
    check_image(previous, "The previous map")
    return previous[..., :3].float().expand(-1, -1, -1, 3)


def _colour(class_name: str) -> Tensor:
    if class_name == UNLABELLED:
        return torch.zeros(3)
    if class_name not in ADE20K_COLOURS:
        raise ValueError(f"ADE20K has no class {class_name!r}. Choose one of: {', '.join(ADE20K_COLOURS)}.")
    return torch.tensor(ADE20K_COLOURS[class_name]) / 255
