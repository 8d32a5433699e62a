"""Oklab, a colour space in which equal distances look equal (B. Ottosson 2020, https://bottosson.github.io/posts/oklab).

No conversion clamps: numbers outside 0..1, and colours outside sRGB, come back as they were.
"""

from __future__ import annotations

import torch
from torch import Tensor

LINEAR_TO_LMS = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=torch.float64,
)
LMS_TO_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=torch.float64,
)
TOLERANCE = 1e-4
# Of the search for the most chroma: to 1/65536 of it.
HALVINGS = 16
# The published inverses are rounded.
LMS_TO_LINEAR, LAB_TO_LMS = torch.linalg.inv(LINEAR_TO_LMS), torch.linalg.inv(LMS_TO_LAB)


def srgb_to_oklab(pixels: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> Oklab [..., 3]: lightness 0..1, green to red and blue to yellow about -0.4..0.4."""
    lms = _mix(srgb_to_linear(pixels), LINEAR_TO_LMS)
    return _mix(lms.sign() * lms.abs().pow(1 / 3), LMS_TO_LAB)


def oklab_to_srgb(pixels: Tensor) -> Tensor:
    """Oklab [..., 3] -> sRGB [..., 3], outside 0..1 for colours that sRGB does not have."""
    return linear_to_srgb(_mix(_mix(pixels, LAB_TO_LMS).pow(3), LMS_TO_LINEAR))


def with_colours_of(painting: Tensor, photo: Tensor, amount: float) -> Tensor:
    """The painting's lightness with colours between its own (amount 0) and the photo's (1), mixed in Oklab.

    painting, photo: sRGB [..., 3] in 0..1, of one shape. Where sRGB has no such colour at that lightness, it is made
    paler until it has, with lightness and hue kept. Returns sRGB [..., 3] in 0..1.
    """
    lab = srgb_to_oklab(painting)
    lab[..., 1:] = torch.lerp(lab[..., 1:], srgb_to_oklab(photo)[..., 1:], amount)
    return into_srgb(lab)


def into_srgb(lab: Tensor) -> Tensor:
    """Oklab [..., 3] of a lightness in 0..1 -> sRGB [..., 3] in 0..1, with the chroma of colours outside reduced to the
    most that there is at their lightness and hue."""
    pixels = oklab_to_srgb(lab)
    outside = ~_inside(pixels)
    if outside.any():
        far = lab[outside]
        least, most = torch.zeros_like(far[:, :1]), torch.ones_like(far[:, :1])
        for _ in range(HALVINGS):
            middle = (least + most) / 2
            fits = _inside(oklab_to_srgb(_paler(far, middle)))[:, None]
            least, most = torch.where(fits, middle, least), torch.where(fits, most, middle)
        pixels[outside] = oklab_to_srgb(_paler(far, least))
    return pixels.clamp(0, 1)


def _paler(lab: Tensor, share: Tensor) -> Tensor:
    return torch.cat([lab[..., :1], lab[..., 1:] * share], dim=-1)


def _inside(pixels: Tensor) -> Tensor:
    """Which colours [..., 3] sRGB has, to a fortieth of an 8-bit step."""
    return ((pixels >= -TOLERANCE) & (pixels <= 1 + TOLERANCE)).all(-1)


def srgb_to_linear(values: Tensor) -> Tensor:
    """sRGB -> linear light (IEC 61966-2-1), both in 0..1; the lowest piece goes on below 0."""
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4))


def linear_to_srgb(values: Tensor) -> Tensor:
    """Linear light -> sRGB, the inverse of `srgb_to_linear`."""
    bent = 1.055 * values.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(values <= 0.0031308, 12.92 * values, bent)


def _mix(pixels: Tensor, matrix: Tensor) -> Tensor:
    """matrix [3, 3] times every pixel of [..., 3]."""
    return pixels @ matrix.T.to(pixels.dtype).to(pixels.device)
