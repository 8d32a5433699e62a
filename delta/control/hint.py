"""A hint brought to the size that a control net reads, whatever its aspect."""

from __future__ import annotations

from torch import Tensor

from ..hints.resize import resize_hint
from ..pictures import ANY, check_image
from .mask import pad_box


def read_hint(image: Tensor) -> Tensor:
    """An IMAGE [B, H, W, C] as a hint [B, 3, H, W]; transparency is dropped, grey becomes three channels.

    Raises ValueError for NaN and infinite values, and for other shapes.
    """
    check_image(image, "The hint", ANY)
    if image.shape[-1] != 3:
        image = (image[..., :3] if image.shape[-1] > 3 else image[..., :1].expand(-1, -1, -1, 3)).contiguous()
    # In the memory it came in: convolutions round by the layout, and core's node copies nothing.
    return image.movedim(-1, 1)


def fit_hint(hint: Tensor, width: int, height: int, fit: str) -> Tensor:
    """A hint [B, 3, H, W] at another size [B, 3, height, width], lines kept.

    fit: `pad` shows the whole hint with black around it, `stretch` ignores its aspect.
    """
    if fit == "stretch":
        return resize_hint(hint, height, width)
    box = pad_box(hint.shape[3], hint.shape[2], width, height)
    canvas = hint.new_zeros(*hint.shape[:2], height, width)
    inside = resize_hint(hint, box.height, box.width)
    canvas[..., box.top : box.top + box.height, box.left : box.left + box.width] = inside
    return canvas
