"""The judge: a small classifier of pictures by subject and style, which has seen the drawings alone and no model's picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (24, 48, 96, 128)
# Pixels that a picture is moved by, the widest blur, and the strongest noise and change of light that the judge overlooks.
SHIFT, BLUR, NOISE, LIGHT = 3, 1.2, 0.04, 0.15
KERNEL = 7
QUARTERS, SUMMARY = 4, 128


class Judge(nn.Module):
    """Pictures [B, 3, 64, 64] in 0..1 to scores [B, subjects, styles] of what they may be: each drawing is a class of its own."""

    def __init__(self, subjects: int, styles: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS), WIDTHS):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()]
        self.features, self.shape = nn.Sequential(*layers), (subjects, styles)
        self.summary = nn.Linear(QUARTERS * WIDTHS[-1], SUMMARY)
        self.drawing = nn.Linear(SUMMARY, subjects * styles)

    def forward(self, pictures: Tensor) -> Tensor:
        found = F.adaptive_avg_pool2d(self.features(2 * pictures - 1), 2).flatten(1)
        return self.drawing(F.relu(self.summary(found))).unflatten(1, self.shape)

    def answers(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest subject [B] of pictures in any style, and the likeliest style [B] of any subject."""
        scores = self(pictures)
        return scores.logsumexp(2).argmax(1), scores.logsumexp(1).argmax(1)

    def loss(self, pictures: Tensor, subjects: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy of the drawings, and the share of wrong answers."""
        scores, wanted = self(pictures).flatten(1), subjects * self.shape[1] + styles
        return F.cross_entropy(scores, wanted), (scores.argmax(1) != wanted).float().mean()


def disturbed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [B, 3, H, W] mirrored, moved, blurred, lighter or darker, and with noise, each in its own way."""
    count, _, height, width = pictures.shape

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    pictures = torch.where((drawn(0, 1) < 0.5)[:, None, None, None], pictures.flip(3), pictures)
    padded = F.pad(pictures, (SHIFT,) * 4, mode="replicate")
    tops, lefts = (torch.randint(0, 2 * SHIFT + 1, (count,), generator=generator) for _ in range(2))
    moved = [one[:, y : y + height, x : x + width] for one, y, x in zip(padded, tops.tolist(), lefts.tolist())]
    places = torch.arange(KERNEL) - KERNEL // 2
    kernels = torch.exp(-(places**2) / (2 * drawn(0.2, BLUR)[:, None] ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(3, 0)
    # Every picture's channels are channels of one, so that each gets its own kernel.
    flat = torch.stack(moved).flatten(0, 1)[None]
    across = F.conv2d(flat, kernels[:, None, None], padding=(0, KERNEL // 2), groups=len(kernels))
    blurred = F.conv2d(across, kernels[:, None, :, None], padding=(KERNEL // 2, 0), groups=len(kernels))
    lighter = blurred.view_as(pictures) * drawn(1 - LIGHT, 1 + LIGHT)[:, None, None, None]
    noise = torch.randn(pictures.shape, generator=generator) * drawn(0, NOISE)[:, None, None, None]
    return (lighter + noise).clamp(0, 1)
