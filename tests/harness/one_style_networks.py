"""Small networks of one style, with the modules, the names and the arithmetic of the repositories that train them."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

WIDTHS = (8, 12, 16)


class Reflected(nn.Module):
    """The example's ConvLayer and UpsampleConvLayer."""

    def __init__(self, inp: int, out: int, side: int, stride: int = 1, upsample: int = 0):
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(side // 2)
        self.conv2d = nn.Conv2d(inp, out, side, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = nn.functional.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.conv2d(self.reflection_pad(x))


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.in1 = Reflected(width, width, 3), nn.InstanceNorm2d(width, affine=True)
        self.conv2, self.in2 = Reflected(width, width, 3), nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


class Example(nn.Module):
    """pytorch/examples, fast_neural_style, at smaller widths; RGB 0..255."""

    ends = ("deconv1", "deconv2", "deconv3")

    def __init__(self, blocks: int = 5):
        super().__init__()
        a, b, c = WIDTHS
        self.conv1, self.in1 = Reflected(3, a, 9), nn.InstanceNorm2d(a, affine=True)
        self.conv2, self.in2 = Reflected(a, b, 3, 2), nn.InstanceNorm2d(b, affine=True)
        self.conv3, self.in3 = Reflected(b, c, 3, 2), nn.InstanceNorm2d(c, affine=True)
        self.blocks = [f"res{n + 1}" for n in range(blocks)]
        for name in self.blocks:
            setattr(self, name, Block(c))
        for name, layer in zip(self.ends, self.enlarging()):
            setattr(self, name, layer)
        self.in4, self.in5 = nn.InstanceNorm2d(b, affine=True), nn.InstanceNorm2d(a, affine=True)

    def enlarging(self) -> tuple[nn.Module, ...]:
        a, b, c = WIDTHS
        return Reflected(c, b, 3, upsample=2), Reflected(b, a, 3, upsample=2), Reflected(a, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in1(self.conv1(x)).relu()
        x = self.in2(self.conv2(x)).relu()
        x = self.in3(self.conv3(x)).relu()
        for name in self.blocks:
            x = getattr(self, name)(x)
        first, second, last = (getattr(self, name) for name in self.ends)
        return last(self.in5(second(self.in4(first(x)).relu())).relu())


class Nested(nn.Module):
    """gordicaleksa's ConvLayer, which pads by itself, and its UpsampleConvLayer, which holds one."""

    def __init__(self, inp: int, out: int, side: int):
        super().__init__()
        self.conv2d = nn.Module()
        self.conv2d.conv2d = nn.Conv2d(inp, out, side, padding=side // 2, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2d.conv2d(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))


class Normalised(Example):
    """gordicaleksa/pytorch-neural-style-transfer-johnson: RGB by ImageNet's mean and deviation."""

    ends = ("up1", "up2", "up3")

    def enlarging(self) -> tuple[nn.Module, ...]:
        a, b, c = WIDTHS
        return Nested(c, b, 3), Nested(b, a, 3), Reflected(a, 3, 9)


class Layer(nn.Module):
    """rrmina's ConvLayer and DeconvLayer."""

    def __init__(self, inp: int, out: int, side: int, stride: int, norm: bool = True, transposed: bool = False):
        super().__init__()
        if transposed:
            self.conv_transpose = nn.ConvTranspose2d(inp, out, side, stride, side // 2, 1)
        else:
            self.reflection_pad, self.conv_layer = nn.ReflectionPad2d(side // 2), nn.Conv2d(inp, out, side, stride)
        if norm:
            self.norm_layer = nn.InstanceNorm2d(out, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = Layer(width, width, 3, 1), Layer(width, width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).relu()) + x


class Transposed(nn.Module):
    """rrmina/fast-neural-style-pytorch and zeroxoxo's nodes: BGR 0..255, transposed convolutions."""

    def __init__(self):
        super().__init__()
        a, b, c = WIDTHS
        relu = nn.ReLU()
        self.ConvBlock = nn.Sequential(Layer(3, a, 9, 1), relu, Layer(a, b, 3, 2), relu, Layer(b, c, 3, 2), relu)
        self.ResidualBlock = nn.Sequential(*(Residual(c) for _ in range(5)))
        up = Layer(c, b, 3, 2, transposed=True), relu, Layer(b, a, 3, 2, transposed=True), relu
        self.DeconvBlock = nn.Sequential(*up, Layer(a, 3, 9, 1, norm=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.DeconvBlock(self.ResidualBlock(self.ConvBlock(x)))


def made(kind: Callable[[], nn.Module], last: str, grey: float, contrast: float) -> nn.Module:
    """A network of random weights whose output lies about `grey`; the norms are no identities."""
    torch.manual_seed(7)
    network = kind().eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if ".norm_layer." in name or name.startswith("in") or ".in" in name:
                tensor.copy_(torch.randn_like(tensor) * 0.3 + (1 if name.endswith("weight") else 0))
        network.get_submodule(last).weight.mul_(contrast)
        network.get_submodule(last).bias.add_(grey)
    return network


def example() -> nn.Module:
    return made(Example, "deconv3.conv2d", 128, 60)


def normalised() -> nn.Module:
    return made(Normalised, "up3.conv2d", 0.2, 1)


def transposed() -> nn.Module:
    return made(Transposed, "DeconvBlock.4.conv_layer", 128, 60)


MEAN, SPREAD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def forward(network: nn.Module, image: Tensor) -> Tensor:
    """What the repository shows for a picture [1, height, width, 3] in 0..1."""
    if isinstance(network, Normalised):
        given, back = (image - MEAN) / SPREAD, lambda x: x * SPREAD + MEAN
    elif isinstance(network, Transposed):
        given, back = image.flip(-1) * 255, lambda x: x.flip(-1) / 255
    else:
        given, back = image * 255, lambda x: x / 255
    with torch.no_grad():
        return back(network(given.movedim(-1, 1)).movedim(1, -1)).clamp(0, 1)


def export(network: nn.Module, path: Path, opset: int) -> None:
    """Export as the model zoo did: a picture of one size, values 0..255."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.rand(1, 3, 64, 48) * 255,), str(path), opset_version=opset, dynamo=False)
