"""One hint function over a batch of pictures, each on its own, at a resolution of choice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures import check_image
from ..progress import Step
from .resize import resize_lines
from .work import Work

MAX_SIDE = 16384
# Called with a picture [H, W, 3], float32 in 0..1, and `work`; gives its hint [H, W] or [H, W, 3] in 0..1, of the picture's
# size or of that in work.size.
Draw = Callable[..., np.ndarray]
# (hint [H, W, 3], height, width) -> the hint of this size.
Resize = Callable[[np.ndarray, int, int], np.ndarray]


def draw_hints(
    images: Tensor,
    draw: Draw,
    resolution: int = 0,
    resize: Resize = resize_lines,
    grows: bool = True,
    on_step: Step = lambda done, total: None,
) -> Tensor:
    """The hints of a batch of pictures: [B, H, W, 3] in 0..1, float32, on the pictures' device.

    images: [B, H, W, C] in 0..1 with 3 channels, 4 (transparency is dropped) or 1 (grey). resolution: the shorter side
    of the picture that `draw` sees, 0 for its own; unless `grows`, one above its own is its own. `resize` brings the hint
    back to the size of the picture where `draw` does not. on_step is called with (done, total) as far as `draw` tells
    within every picture, and after it; it may raise to cancel. Raises ValueError for other shapes, an empty batch, NaN and infinite
    numbers, and a resolution that makes the longer side longer than 16384 pixels.
    """
    check_image(images, "The picture")
    height, width = images.shape[1:3]
    working_size = _working_size(height, width, resolution if grows else min(resolution, height, width))
    hints = []
    for index, image in enumerate(images):
        picture = _resize_picture(_as_colours(image), *working_size)
        work = Work((height, width), on_step).part(index, len(images))
        hint = draw(picture.numpy(), work=work)
        hint = hint if hint.ndim == 3 else np.repeat(hint[..., None], 3, axis=2)
        if hint.shape[:2] != (height, width):
            hint = resize(hint, height, width)
        hints.append(torch.from_numpy(np.ascontiguousarray(hint, dtype=np.float32)))
        on_step(index + 1, len(images))
    return torch.stack(hints).to(images.device)


def _as_colours(image: Tensor) -> Tensor:
    """[H, W, 1, 3 or 4] -> [H, W, 3] in 0..1, float32, on the CPU."""
    return image[..., :3].float().cpu().clamp(0, 1).expand(-1, -1, 3).contiguous()


def _working_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    if not resolution:
        return height, width
    scale = resolution / min(height, width)
    if max(height, width) * scale > MAX_SIDE:
        raise ValueError(
            f"At a resolution of {resolution} the picture of {width} x {height} pixels would be longer than {MAX_SIDE} "
            "pixels. Set resolution to 0."
        )
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize_picture(picture: Tensor, height: int, width: int) -> Tensor:
    if picture.shape[:2] == (height, width):
        return picture
    planes = F.interpolate(picture.movedim(-1, 0)[None], (height, width), mode="bicubic", antialias=True)
    return planes[0].movedim(0, -1).clamp(0, 1).contiguous()
