"""A thin Stable Diffusion 1.5 UNet on two levels: LIVE of the 320 channels that ComfyUI expects, whose rest are zeros.

GroupNorm's groups of 10 channels stay whole, and LayerNorm is taken over all 320, so that a file with the zeros filled in
computes the same. The names of the layers are those of the checkpoint.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LIVE, FULL = 120, 320
GROUP, HEAD = 10, 40
TIME, CONTEXT = 256, 768
# Skips of the input blocks, and what a control adds to each of them and to the middle.
SKIPS = 4
# Channels of the last group, which carry the noisy latent to the output: each channel of it and its negative.
CARRIED = range(LIVE - GROUP, LIVE - 2)
CARRIED_GROUP = slice(LIVE - GROUP, LIVE)
# Layers that start smaller than their inputs' variance asks for, by the end of their names.
SMALL = {"out_layers.3": 0.3, "proj_out": 0.3, "to_out.0": 0.5, "ff.net.2": 0.5}
# How much less a padding token weighs than a word at the start, as a logarithm: there are 70 of them to a caption.
PADDING_BIAS = -7.0

Control = tuple[list[Tensor], Tensor]


class LayerNorm(nn.Module):
    """A layer norm over FULL channels, of which all but LIVE are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(LIVE)), nn.Parameter(torch.zeros(LIVE))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.sum(-1, keepdim=True) / FULL
        variance = (x * x).sum(-1, keepdim=True) / FULL - mean * mean
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


def group_norm(channels: int, epsilon: float = 1e-5) -> nn.GroupNorm:
    """10 channels a group at 320 and 20 at 640, as ComfyUI has them."""
    return nn.GroupNorm(LIVE // GROUP, channels, eps=epsilon)


class ResBlock(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.in_layers = nn.Sequential(group_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, LIVE, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(TIME, LIVE))
        last = nn.Conv2d(LIVE, LIVE, 3, padding=1)
        self.out_layers = nn.Sequential(group_norm(LIVE), nn.SiLU(), nn.Identity(), last)
        self.skip_connection = nn.Identity() if inputs == LIVE else nn.Conv2d(inputs, LIVE, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(time)[:, :, None, None]
        return self.out_layers(hidden) + self.skip_connection(x)


class Attention(nn.Module):
    def __init__(self, context: int):
        super().__init__()
        self.to_q = nn.Linear(LIVE, LIVE, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, LIVE, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(LIVE, LIVE), nn.Identity())

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        heads = (
            y.unflatten(-1, (-1, HEAD)).transpose(1, 2) for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        query, key, value = heads
        scores = query @ key.transpose(2, 3) * HEAD**-0.5
        if bias is not None:
            scores = scores + bias[:, None, None]
        return self.to_out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(LIVE, 8 * LIVE)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(), nn.Identity(), nn.Linear(4 * LIVE, LIVE))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1, self.ff, self.attn2 = Attention(LIVE), FeedForward(), Attention(CONTEXT)
        self.norm1, self.norm2, self.norm3 = LayerNorm(), LayerNorm(), LayerNorm()

    def forward(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        x = x + self.attn2(self.norm2(x), context, bias)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = group_norm(LIVE, 1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(LIVE, LIVE, 1), nn.Conv2d(LIVE, LIVE, 1)
        self.transformer_blocks = nn.ModuleList([Block()])

    def forward(self, x: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        hidden = self.proj_in(self.norm(x))
        rows = self.transformer_blocks[0](hidden.flatten(2).transpose(1, 2), context, bias)
        return x + self.proj_out(rows.transpose(1, 2).unflatten(2, hidden.shape[2:]))


class Down(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.op = nn.Conv2d(LIVE, LIVE, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(LIVE, LIVE, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def run(layers: nn.ModuleList, x: Tensor, time: Tensor, context: Tensor, bias: Tensor) -> Tensor:
    """One block of the network."""
    for layer in layers:
        if isinstance(layer, ResBlock):
            x = layer(x, time)
        elif isinstance(layer, Transformer):
            x = layer(x, context, bias)
        else:
            x = layer(x)
    return x


class Encoder(nn.Module):
    """The half of the UNet that a ControlNet copies."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(FULL, TIME), nn.SiLU(), nn.Linear(TIME, TIME))
        blocks = [[nn.Conv2d(4, LIVE, 3, padding=1)], [ResBlock(LIVE)], [Down()], [ResBlock(LIVE), Transformer()]]
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.middle_block = nn.ModuleList([ResBlock(LIVE), Transformer(), ResBlock(LIVE)])

    def embedded(self, times: Tensor) -> Tensor:
        """The embedding [B, TIME] of timesteps [B]."""
        rates = torch.exp(-math.log(10000) * torch.arange(FULL // 2, device=times.device) / (FULL // 2))
        angles = times[:, None].float() * rates
        return self.time_embed(torch.cat([angles.cos(), angles.sin()], -1))


class UNet(Encoder):
    """Predicts the noise in latents."""

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * LIVE
        blocks = [
            [ResBlock(wide), Transformer()],
            [ResBlock(wide), Transformer(), Up()],
            [ResBlock(wide)],
            [ResBlock(wide)],
        ]
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.out = nn.Sequential(group_norm(LIVE), nn.SiLU(), nn.Conv2d(LIVE, 4, 3, padding=1))

    def forward(
        self, x: Tensor, times: Tensor, context: Tensor, bias: Tensor, control: Control | None = None
    ) -> Tensor:
        """Noise [B, 4, H, W] in x of that shape at timesteps [B], for contexts [B, n, 768] with biases [B, n]."""
        time, skips = self.embedded(times), []
        hidden = x.contiguous(memory_format=torch.channels_last)
        for layers in self.input_blocks:
            hidden = run(layers, hidden, time, context, bias)
            skips.append(hidden)
        hidden = run(self.middle_block, hidden, time, context, bias)
        if control:
            skips = [skip + added for skip, added in zip(skips, control[0], strict=True)]
            hidden = hidden + control[1]
        for layers in self.output_blocks:
            hidden = run(layers, torch.cat([hidden, skips.pop()], 1), time, context, bias)
        return self.out(hidden)


def started(padding: Tensor, seed: int = 1906) -> UNet:
    """A UNet that has learnt nothing. padding: the context of a caption's padding, [768]."""
    net, generator = UNet(), torch.Generator().manual_seed(seed)
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            gain = next((gain for end, gain in SMALL.items() if name.endswith(end)), 1.0)
            drawn = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.data = gain * drawn / layer.weight[0].numel() ** 0.5
            if layer.bias is not None:
                layer.bias.data.zero_()
    _carry_latent(net)
    for layer in net.modules():
        if isinstance(layer, Block):
            _push_down(layer, padding, generator)
    return net.to(memory_format=torch.channels_last)


def _carry_latent(net: UNet) -> None:
    """Lead the noisy latent round the blocks to the output, which starts as most of the noise."""
    last = net.output_blocks[3][0]
    first, out = net.input_blocks[0][0], net.out[2]
    for layer in (first, last.skip_connection, last.out_layers[3]):
        layer.weight.data[CARRIED_GROUP] = 0
    out.weight.data *= 0.05
    out.weight.data[:, CARRIED_GROUP] = 0
    for place, channel in enumerate(CARRIED):
        latent, sign = place // 2, 1 - 2 * (place % 2)
        first.weight.data[channel, latent, 1, 1] = sign
        last.skip_connection.weight.data[channel, LIVE + channel, 0, 0] = 1
        out.weight.data[latent, channel, 1, 1] = sign * 0.8**0.5


def _push_down(block: Block, padding: Tensor, generator: torch.Generator) -> None:
    """Let the padding of a caption weigh little in cross attention, or it drowns the words."""
    bias = 0.7 * torch.randn(LIVE, generator=generator)
    block.norm2.bias.data = bias.clone()
    query = (block.attn2.to_q.weight.data @ bias).view(-1, HEAD)
    wanted = query / (query * query).sum(1, keepdim=True) * (PADDING_BIAS * HEAD**0.5)
    block.attn2.to_k.weight.data += wanted.reshape(LIVE, 1) * padding / (padding @ padding)
