"""A thin ControlNet (arXiv 2302.05543): the copied encoder, its hint block and its zero convolutions, in SD 1.5's layout."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from unet import LIVE, SKIPS, Control, Encoder, UNet, run

# Channels of the hint block, of which ComfyUI's has 3, 16, 16, 32, 32, 96, 96, 256, 320; these of its layers halve the size.
HINT_WIDTHS = (3, 16, 16, 32, 32, 48, 48, 64, LIVE)
HALVING = (2, 4, 6)


class ControlNet(Encoder):
    """What a hint adds to the skips and to the middle of a UNet."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(HINT_WIDTHS)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, stride=2 if index in HALVING else 1), nn.SiLU()]
        self.input_hint_block = nn.Sequential(*layers[:-1])
        self.zero_convs = nn.ModuleList(nn.ModuleList([nn.Conv2d(LIVE, LIVE, 1)]) for _ in range(SKIPS))
        self.middle_block_out = nn.ModuleList([nn.Conv2d(LIVE, LIVE, 1)])

    def forward(self, x: Tensor, times: Tensor, context: Tensor, bias: Tensor, hint: Tensor) -> Control:
        """hint: [B, 3, 8H, 8W] in 0..1, for latents x [B, 4, H, W]."""
        time, skips = self.embedded(times), []
        hidden, guide = x.contiguous(memory_format=torch.channels_last), self.input_hint_block(hint)
        for layers, zero in zip(self.input_blocks, self.zero_convs, strict=True):
            hidden = run(layers, hidden, time, context, bias)
            if guide is not None:
                hidden, guide = hidden + guide, None
            skips.append(zero[0](hidden))
        return skips, self.middle_block_out[0](run(self.middle_block, hidden, time, context, bias))


def copied(unet: UNet, seed: int = 1906) -> ControlNet:
    """A ControlNet that adds nothing yet, out of a UNet's encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = ControlNet()
    encoder = {
        name: weight for name, weight in unet.state_dict().items() if not name.startswith(("output_blocks", "out."))
    }
    net.load_state_dict(net.state_dict() | encoder)
    for convs in (*net.zero_convs, net.middle_block_out):
        nn.init.zeros_(convs[0].weight)
        nn.init.zeros_(convs[0].bias)
    nn.init.kaiming_normal_(net.input_hint_block[-1].weight, nonlinearity="linear")
    return net.to(memory_format=torch.channels_last)
