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


def spread_out(network: nn.Sequential, x: Tensor) -> nn.Sequential:
    """The network after each channel of each convolution was given the mean 0 and the deviation 1 that trained ones have
    about, on x: random layers soon have channels that are all but constant."""
    for module in network:
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            found = module(x)
            mean, std = found.mean((0, 2, 3)), found.std((0, 2, 3))
            module.bias.copy_((module.bias - mean) / std)
            module.weight.div_(std[:, None, None, None])
        x = module(x)
    return network


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


def decoder(level: int, widths: tuple[int, ...] = SMALL) -> nn.Sequential:
    """pytorch-AdaIN's `decoder` (level 4), and the last so many modules of Pytorch_WCT's `vgg_decoder_relu5_1`."""
    found, channels = [], widths[level - 1]

    def convolution(out: int) -> None:
        nonlocal channels
        found.extend([nn.ReflectionPad2d((1, 1, 1, 1)), nn.Conv2d(channels, out, (3, 3)), nn.ReLU()])
        channels = out

    convolution(widths[level - 2] if level > 1 else 3)
    for block in range(level - 1, 0, -1):
        found.append(nn.Upsample(scale_factor=2, mode="nearest"))
        for _ in range(BLOCKS_19[block - 1] - 1):
            convolution(widths[block - 1])
        convolution(widths[block - 2] if block > 1 else 3)
    return nn.Sequential(*found[:-1])


def adain_reference(vgg: nn.Sequential, decode: nn.Sequential, content: Tensor, style: Tensor, alpha: float) -> Tensor:
    """`style_transfer` of pytorch-AdaIN's test.py for one style."""
    encoder = nn.Sequential(*list(vgg.children())[:31])

    def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
        rows = features.flatten(2)
        return rows.mean(2)[..., None, None], (rows.var(2) + 1e-5).sqrt()[..., None, None]

    features, wanted = encoder(content), encoder(style)
    (mean, std), (to_mean, to_std) = statistics(features), statistics(wanted)
    changed = (features - mean) / std * to_std + to_mean
    return decode(changed * alpha + features * (1 - alpha))


def wct_reference(vgg: nn.Sequential, decoders: dict[int, nn.Sequential], content: Tensor, style: Tensor, alpha: float):
    """Pytorch_WCT's MultiLevelAE, in float64."""
    ends = {1: 4, 2: 11, 3: 18, 4: 31, 5: 44}
    for level in sorted(decoders, reverse=True):
        encoder = nn.Sequential(*list(vgg.children())[: ends[level]])
        features = encoder(content)
        changed = whitened_and_coloured(features[0], encoder(style)[0])
        content = decoders[level](alpha * changed + (1 - alpha) * features)
    return content


def whitened_and_coloured(content: Tensor, style: Tensor) -> Tensor:
    def parts(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = features.double().flatten(1)
        mean = rows.mean(1, keepdim=True)
        _, values, vectors = torch.svd((rows - mean) @ (rows - mean).T / (rows.shape[1] - 1))
        kept = values >= 1e-5
        return rows - mean, mean, values[kept], vectors[:, kept]

    rows, _, values, vectors = parts(content)
    whitened = vectors @ torch.diag(values**-0.5) @ vectors.T @ rows
    _, mean, values, vectors = parts(style)
    return (vectors @ torch.diag(values**0.5) @ vectors.T @ whitened + mean).view_as(content).float()[None]
