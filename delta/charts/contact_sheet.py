"""Contact sheets: pictures in rows, each under its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .canvas import GAP, INK, LABEL_SIZE, PAPER


def contact_sheet(tiles: Sequence[Tensor], labels: Sequence[str], columns: int) -> Tensor:
    """Lay pictures [height, width, 3] of one size out in rows, each under its label.

    Returns [1, height, width, 3] in 0..1.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = tiles[0].shape[:2]
    font = ImageFont.load_default(LABEL_SIZE)
    label_height = LABEL_SIZE + GAP
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (GAP + columns * (width + GAP), GAP + rows * (height + label_height + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, label) in enumerate(zip(tiles, labels)):
        row, column = divmod(index, columns)
        x, y = GAP + column * (width + GAP), GAP + row * (height + label_height + GAP)
        draw.text((x, y), _fitting(label, font, width), fill=INK, font=font)
        pixels = (tile.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        sheet.paste(Image.fromarray(pixels), (x, y + label_height))
    return torch.from_numpy(np.asarray(sheet, dtype=np.float32) / 255)[None]


def _fitting(label: str, font: Any, width: int) -> str:
    """The label, or as much of its beginning as goes over its picture."""
    if font.getlength(label) <= width:
        return label
    while label and font.getlength(f"{label}...") > width:
        label = label[:-1]
    return f"{label.rstrip(' ,:')}..." if label else ""
