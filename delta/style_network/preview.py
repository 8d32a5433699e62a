"""Small pictures of styles while they are chosen: what may be asked for, and how it is painted."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.json_text import read_json
from .network import MAX_STRENGTH, MIN_STRENGTH, StyleNetwork, stylize
from .palette import PaletteStyle, mix_styles, read_palette
from .params import StyleParams
from .sheet import resize

PREVIEW_SIDE, THUMBNAIL_SIDE = 256, 96
# Of a network with more styles the others have no thumbnail.
MAX_THUMBNAILS = 64
MAX_NAME = 500
# Of a picture beside a file; larger ones are not opened.
MAX_PIXELS = 64_000_000


class PreviewRequest(NamedTuple):
    """A mix to be shown. node: the id of the palette's node; network: a name of the loader's list, or empty; demo: on the
    demo photo, even where the node's last picture is known."""

    node: str
    network: str
    demo: bool
    styles: list[PaletteStyle]
    strength: float


def read_request(body: bytes) -> PreviewRequest:
    """The request in a JSON body. Raises ValueError that says what is wrong with it."""
    try:
        value = read_json(body)
    except ValueError:
        raise ValueError("The request is not valid JSON.") from None
    if not isinstance(value, dict):
        raise ValueError("The request is not a JSON object.")
    node, network, palette = (value.get(name, "") for name in ("node", "network", "palette"))
    for name, text, limit in (("node", node, 64), ("network", network, MAX_NAME), ("palette", palette, len(body))):
        if not isinstance(text, str) or len(text) > limit:
            raise ValueError(f"The request's {name} is not text of at most {limit} characters.")
    demo = value.get("demo", False)
    if not isinstance(demo, bool):
        raise ValueError("The request's demo is neither true nor false.")
    strength = value.get("strength", 1.0)
    is_number = isinstance(strength, (int, float)) and not isinstance(strength, bool) and math.isfinite(strength)
    if not is_number or not MIN_STRENGTH <= strength <= MAX_STRENGTH:
        raise ValueError(f"The request's strength is not a number from {MIN_STRENGTH} to {MAX_STRENGTH}.")
    return PreviewRequest(node, network, demo, read_palette(palette), float(strength))


FOREIGN_PAGE = "Only pages from this server may send this request."
NO_PICTURE = "There is no such picture."


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from the server's own pages, or from no web page at all.

    Browsers tell by Sec-Fetch-Site, which no page can set; where they leave it out, as without HTTPS on a network, their
    Origin is compared with the Host.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("Origin")
    return origin is None or (origin.partition("://")[2].lower() == headers.get("Host", "").lower() != "")


def small_picture(image: Tensor) -> Tensor:
    """The first picture of a batch [batch, height, width, channels] in 0..1, its longer side 256 pixels at most.

    Returns [1, height, width, 3] uint8, which is what is kept of it.
    """
    picture = image[:1, ..., :3].float().cpu()
    picture = resize(picture, min(PREVIEW_SIDE, max(picture.shape[1:3])))
    return (picture.expand(-1, -1, -1, 3) * 255).round().clamp(0, 255).byte()


def paint_mix(network: StyleNetwork, picture: Tensor, request: PreviewRequest) -> Tensor:
    """A small picture [1, height, width, 3] uint8 in the mix, [height, width, 3] float32 in 0..1. Raises ValueError."""
    return stylize(network, picture / 255, mix_styles(network, request.styles, request.strength))[0]


@cache
def demo_photo() -> Tensor:
    """The portrait of the astronaut Eileen Collins (NASA, public domain), [1, 256, 256, 3] uint8."""
    from skimage.data import astronaut

    return torch.from_numpy(astronaut()[:256, 96:352].copy())[None]


def thumbnail(network: StyleNetwork, index: int) -> str:
    """The demo photo in style `index`, 96 pixels, as a data URL. Painted at twice the size, which keeps strokes small."""
    style = StyleParams(network.fingerprint, (network.style(index),))
    painted = stylize(network, resize(demo_photo() / 255, 2 * THUMBNAIL_SIDE), style)
    picture = encode(resize(painted, THUMBNAIL_SIDE)[0], "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def encode(picture: Tensor, kind: str, **options: int) -> bytes:
    """A picture [height, width, 3] in 0..1 as a file of a kind that Pillow writes."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray((picture * 255).round().clamp(0, 255).byte().numpy()).save(file, kind, **options)
    return file.getvalue()


def picture_of_file(path: str, side: int = THUMBNAIL_SIDE) -> bytes:
    """A picture file as a square JPEG of `side` pixels. Raises ValueError for what is no picture."""
    from PIL import Image, ImageOps

    file = BytesIO()
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"The picture has more than {MAX_PIXELS // 10**6} million pixels.")
            square = ImageOps.fit(picture.convert("RGB"), (side, side))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("The file is not a readable picture.") from error
    square.save(file, "JPEG", quality=88)
    return file.getvalue()
