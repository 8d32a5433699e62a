"""Networks that work on features, with the modules, the names and the arithmetic of the repositories that publish them.

Their weights are random, scaled so that features neither die nor grow from layer to layer.
"""

import torch
from torch import Tensor, nn

BLOCKS_16, BLOCKS_19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
WIDTHS, SMALL = (64, 128, 256, 512, 512), (4, 6, 8, 10, 10)


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random weights that keep the size of features."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.05, generator=generator)
    return network.eval().requires_grad_(False)


class Torchvision(nn.Module):
    """torchvision's vgg16 and vgg19, with a small classifier."""

    def __init__(self, blocks: tuple[int, ...], widths: tuple[int, ...] = SMALL):
        super().__init__()
        modules, channels = [], 3
        for count, width in zip(blocks, widths):
            for _ in range(count):
                modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            modules.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*modules)
        self.classifier = nn.Sequential(nn.Linear(channels * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4))

    def named(self, picture: Tensor) -> dict[str, Tensor]:
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return outputs(self.features, (picture - mean) / std)


def normalised_vgg(widths: tuple[int, ...] = SMALL, modules: int = 53) -> nn.Sequential:
    """`vgg` of pytorch-AdaIN's net.py: 53 modules to relu5_4; 44 to relu5_1, as WCT has it, and 31 to relu4_1."""
    found, channels = [nn.Conv2d(3, 3, 1)], 3
    for block, (count, width) in enumerate(zip(BLOCKS_19, widths)):
        if block:
            found.append(nn.MaxPool2d((2, 2), (2, 2), (0, 0), ceil_mode=True))
        for _ in range(count):
            found += [nn.ReflectionPad2d((1, 1, 1, 1)), nn.Conv2d(channels, width, (3, 3)), nn.ReLU()]
            channels = width
    return nn.Sequential(*found[:modules])


def outputs(network: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """What each ReLU of a VGG gives, by its name."""
    found, block, number = {}, 1, 0
    for module in network:
        x = module(x)
        if isinstance(module, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(module, nn.ReLU):
            number += 1
            found[f"relu{block}_{number}"] = x
    return found
