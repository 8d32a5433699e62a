"""The judge: a small classifier of pictures by subject and style, which has seen the drawings alone and no model's picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (24, 48, 96, 128)
# Pixels that a picture is moved by, the widest blur, and the strongest noise and change of light that the judge overlooks.
SHIFT, BLUR, NOISE, LIGHT = 3, 1.2, 0.04, 0.15
KERNEL = 7
QUARTERS, DISCRIMINANTS, SHRINKAGE = 4, 64, 0.01


class Judge(nn.Module):
    """Tells the subject of a picture [B, 3, 64, 64] in 0..1, and its style among the drawings of a subject.

    Subjects are learnt by gradients, styles by linear discriminants (Fisher 1936) of the features that came of it: makers
    draw a subject in their own ways, which are other ways for every subject.
    """

    def __init__(self, subjects: int, styles: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS), WIDTHS):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        features = QUARTERS * WIDTHS[-1]
        self.subject = nn.Linear(features, subjects)
        self.register_buffer("discriminants", torch.zeros(DISCRIMINANTS, features))
        self.register_buffer("centres", torch.zeros(subjects, styles, DISCRIMINANTS))

    def features(self, pictures: Tensor) -> Tensor:
        """What is seen in pictures, [B, 512]."""
        return F.adaptive_avg_pool2d(self.layers(2 * pictures - 1), 2).flatten(1)

    def forward(self, pictures: Tensor, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B, subjects], and scores [B, styles] among the drawings of the subjects [B] that are given; logarithms."""
        found = self.features(pictures)
        places = found @ self.discriminants.T
        distances = (places[:, None] - self.centres[subjects]).square().sum(2)
        return self.subject(found), -distances / 2

    def loss(self, pictures: Tensor, subjects: Tensor) -> tuple[Tensor, Tensor]:
        """The cross entropy of the subjects [B], and the share of wrong ones."""
        scores = self.subject(self.features(pictures))
        return F.cross_entropy(scores, subjects), (scores.argmax(1) != subjects).float().mean()

    @torch.no_grad()
    def learn_styles(self, features: Tensor) -> None:
        """Find the discriminants by features [copies, styles, subjects, 512] of disturbed drawings."""
        centres = features.mean(0)
        within = (features - centres).flatten(0, 2)
        spread = within.T @ within / len(within)
        values, vectors = torch.linalg.eigh(spread + SHRINKAGE * spread.diagonal().mean() * torch.eye(len(spread)))
        whitened = vectors / values.sqrt()
        between = (centres - centres.mean(0)).flatten(0, 1) @ whitened
        directions = torch.linalg.svd(between, full_matrices=False)[2][:DISCRIMINANTS]
        self.discriminants.copy_(directions @ whitened.T)
        self.centres.copy_((centres @ self.discriminants.T).transpose(0, 1))


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
