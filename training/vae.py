"""A thin TAESD: its stages have fewer channels than core's 64, which zeros fill when a file for ComfyUI is made."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels at 64, 32, 16 and 8 pixels, and at 8, 16, 32 and 64.
ENCODER_WIDTHS, DECODER_WIDTHS = (16, 32, 48, 64), (64, 48, 32, 24)
LATENTS = 4
# Of the standard deviation of a latent, which is near 1: what the decoder learns to overlook.
LATENT_NOISE = 0.1
SHIFT = 3


class Clamp(nn.Module):
    """TAESD's soft limit of latents."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """TAESD's residual block, of one width."""

    def __init__(self, width: int):
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


def encoder(widths: tuple[int, ...] = ENCODER_WIDTHS) -> nn.Sequential:
    """Pictures [B, 3, 8H, 8W] in 0..1 to latents [B, 4, H, W], with TAESD's names of layers."""
    layers = [nn.Conv2d(3, widths[0], 3, padding=1), Block(widths[0])]
    for width, next_width in zip(widths, widths[1:]):
        layers.append(nn.Conv2d(width, next_width, 3, padding=1, stride=2, bias=False))
        layers += [Block(next_width) for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], LATENTS, 3, padding=1))


def decoder(widths: tuple[int, ...] = DECODER_WIDTHS) -> nn.Sequential:
    """Latents [B, 4, H, W] to pictures [B, 3, 8H, 8W], with TAESD's names of layers."""
    layers = [Clamp(), nn.Conv2d(LATENTS, widths[0], 3, padding=1), nn.ReLU()]
    for width, next_width in zip(widths, widths[1:]):
        layers += [Block(width) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, next_width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Block(widths[-1]), nn.Conv2d(widths[-1], 3, 3, padding=1))


class TinyVae(nn.Module):
    """Both halves, which learn together."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()

    def loss(self, pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss of pictures [B, 3, H, W], and their mean squared error when they are drawn back."""
        latents = self.encoder(pictures)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        drawn = self.decoder(latents + LATENT_NOISE * noise)
        squared = F.mse_loss(drawn, pictures)
        mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
        spread = (mean**2 + (variance - 1) ** 2).mean()
        return F.l1_loss(drawn, pictures) + 3 * squared + 0.02 * spread, squared.detach()


def start(vae: TinyVae, pictures: Tensor) -> None:
    """Start from the best linear code: three latents carry the whitened mean colour of 8x8 pixels there and back.

    The rest of the layers is drawn from torch's generator. The way of colours takes the first channels, and in the
    decoder, whose ReLU lets no negative pass, each colour with its negative. pictures: [n, 3, H, W] in 0..1.
    """
    for half, carried in ((vae.encoder, 3), (vae.decoder, 6)):
        for name, layer in half.named_modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
                if name.endswith("conv.4"):
                    layer.weight.data *= 0.3
                    layer.weight.data[:carried] *= 0.1
    means = F.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    values, vectors = torch.linalg.eigh(torch.cov(means.T))
    _carry_in(vae.encoder, (vectors / values.sqrt()).T, means.mean(0))
    _carry_out(vae.decoder, vectors * values.sqrt(), means.mean(0))


def _carry_in(half: nn.Sequential, whiten: Tensor, mean: Tensor) -> None:
    convs = [layer for layer in half if isinstance(layer, nn.Conv2d)]
    first, *halving, last = convs
    for layer in convs[:-1]:
        layer.weight.data[:3] = 0
    first.weight.data[range(3), range(3), 1, 1] = 1
    for layer in halving:
        layer.weight.data[range(3), range(3), 1:, 1:] = 0.25
    last.weight.data *= 0.5
    last.weight.data[:3] = 0
    last.weight.data[:3, :3, 1, 1] = whiten
    last.bias.data[:3] = -whiten @ mean


def _carry_out(half: nn.Sequential, colour: Tensor, mean: Tensor) -> None:
    first, *doubling, last = [layer for layer in half if isinstance(layer, nn.Conv2d)]
    row = torch.tensor((0.25, 0.5, 0.25))
    for layer in (first, *doubling):
        layer.weight.data[:6] = 0
    for channel, sign in ((0, 1), (3, -1)):
        first.weight.data[range(channel, channel + 3), range(3), 1, 1] = sign
    for layer in doubling:
        layer.weight.data[range(6), range(6)] = torch.outer(row, row)
    last.weight.data *= 0.1
    last.weight.data[:, :6] = 0
    last.weight.data[:, :3, 1, 1], last.weight.data[:, 3:6, 1, 1] = colour, -colour
    last.bias.data[:] = mean


def varied(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [B, 3, H, W] mirrored, moved by up to SHIFT pixels, and some of them in other colours."""
    count = len(pictures)

    def chance(share: float) -> Tensor:
        return (torch.rand(count, generator=generator) < share)[:, None, None, None]

    moved = torch.where(chance(0.5), pictures.flip(3), pictures)
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    moved = moved.roll((down, right), (2, 3))
    gains = 0.85 + 0.3 * torch.rand(count, 3, 1, 1, generator=generator)
    recoloured = moved[:, torch.randperm(3, generator=generator)] * gains
    return torch.where(chance(0.4), recoloured.clamp(0, 1), moved)
