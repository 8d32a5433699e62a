"""AesFA as its authors' networks.py and blocks.py have it, for one picture and any width (64 there)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Bands = tuple[Tensor, Tensor]
REFLECT = {"padding_mode": "reflect", "bias": False}


class OctConv(nn.Module):
    def __init__(self, inp: int, out: int, side: int, stride: int = 1, groups: int = 1, kind: str = "normal"):
        super().__init__()
        self.kind, self.depthwise = kind, groups == inp
        options = {"kernel_size": side, "stride": stride, "padding": side // 2, **REFLECT}
        half_in, half_out = inp // 2, out // 2
        if kind == "first":
            self.convh, self.convl = (nn.Conv2d(inp, half_out, **options) for _ in range(2))
        elif kind == "last":
            self.convh, self.convl = (nn.Conv2d(half_in, out, **options) for _ in range(2))
        else:
            grouped = {**options, "groups": max(1, groups // 2)}
            self.L2L = nn.Conv2d(half_in, half_out, **grouped)
            if not self.depthwise:
                self.L2H, self.H2L = (nn.Conv2d(half_in, half_out, **options) for _ in range(2))
            self.H2H = nn.Conv2d(half_in, half_out, **grouped)

    def forward(self, x: Tensor | Bands) -> Tensor | Bands:
        if self.kind == "first":
            return self.convh(x), self.convl(F.avg_pool2d(x, 2, 2))
        high, low = x
        up = F.interpolate(low, scale_factor=2)
        if self.kind == "last":
            return self.convh(high) + self.convl(up)
        if self.depthwise:
            return self.H2H(high), self.L2L(low)
        return self.H2H(high) + self.L2H(up), self.L2L(low) + self.H2L(F.avg_pool2d(high, 2, 2))


def leaky(x: Bands) -> Bands:
    return F.leaky_relu(x[0]), F.leaky_relu(x[1])


class Encoder(nn.Module):
    def __init__(self, nf: int):
        super().__init__()
        self.conv = nn.Conv2d(3, nf, 7, 1, 3)
        self.OctConv1_1 = OctConv(nf, nf, 3, 2, kind="first")
        self.OctConv1_2 = OctConv(nf, 2 * nf, 1)
        self.OctConv1_3 = OctConv(2 * nf, 2 * nf, 3)
        self.OctConv2_1 = OctConv(2 * nf, 2 * nf, 3, 2, groups=2 * nf)
        self.OctConv2_2 = OctConv(2 * nf, 4 * nf, 1)
        self.OctConv2_3 = OctConv(4 * nf, 4 * nf, 3)

    def forward(self, x: Tensor) -> Bands:
        x = self.conv(x)
        for name in ("1_1", "1_2", "1_3", "2_1", "2_2", "2_3"):
            x = leaky(getattr(self, f"OctConv{name}")(x))
        return x


class KernelPredictor(nn.Module):
    def __init__(self, channels: int, groups: int, style: int):
        super().__init__()
        self.channels, self.groups = channels, groups
        self.spatial = nn.Conv2d(style, channels * channels // groups, 3, padding=1, padding_mode="reflect")
        pooled = [
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(style, n, 1)) for n in (channels**2 // groups, channels)
        ]
        self.pointwise, self.bias = pooled

    def forward(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        within = self.channels // self.groups
        return (
            self.spatial(style).reshape(self.channels, within, 3, 3),
            self.pointwise(style).reshape(self.channels, within, 1, 1),
            self.bias(style).reshape(self.channels),
        )


class AdaConv(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.groups = groups
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor, spatial: Tensor, pointwise: Tensor, bias: Tensor) -> Tensor:
        x = F.pad(F.instance_norm(x), (1, 1, 1, 1), mode="reflect")
        x = F.conv2d(x, spatial, groups=self.groups)
        return self.conv(F.conv2d(x, pointwise, bias, groups=self.groups))


class AdaOctConv(nn.Module):
    def __init__(self, channels: int, group_div: int, style: int):
        super().__init__()
        half, groups = channels // 2, channels // 2 // group_div
        self.kernelPredictor_h, self.kernelPredictor_l = (KernelPredictor(half, groups, style // 2) for _ in range(2))
        self.AdaConv_h, self.AdaConv_l = (AdaConv(half, groups) for _ in range(2))
        self.OctConv = OctConv(channels, channels, 3, groups=channels)

    def forward(self, content: Bands, style: Bands) -> Bands:
        high = self.AdaConv_h(content[0], *self.kernelPredictor_h(style[0]))
        low = self.AdaConv_l(content[1], *self.kernelPredictor_l(style[1]))
        return leaky(self.OctConv(leaky((high, low))))


class AfterUp(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv_h, self.conv_l = (nn.Conv2d(half, half, 3, 1, 1, padding_mode="reflect") for _ in range(2))

    def forward(self, x: Bands) -> Bands:
        return self.conv_h(F.interpolate(x[0], scale_factor=2)), self.conv_l(F.interpolate(x[1], scale_factor=2))


class Decoder(nn.Module):
    def __init__(self, nf: int):
        super().__init__()
        self.AdaOctConv1_1, self.OctConv1_2 = AdaOctConv(4 * nf, 1, 4 * nf), OctConv(4 * nf, 2 * nf, 1)
        self.oct_conv_aftup_1 = AfterUp(2 * nf)
        self.AdaOctConv2_1, self.OctConv2_2 = AdaOctConv(2 * nf, 2, 4 * nf), OctConv(2 * nf, nf, 1)
        self.oct_conv_aftup_2 = AfterUp(nf)
        self.AdaOctConv3_1, self.OctConv3_2 = AdaOctConv(nf, 4, 4 * nf), OctConv(nf, nf // 2, 1, kind="last")
        self.conv4 = nn.Conv2d(nf // 2, 3, 1)

    def forward(self, content: Bands, style: Bands) -> Tensor:
        x = self.oct_conv_aftup_1(self.OctConv1_2(self.AdaOctConv1_1(content, style)))
        x = self.oct_conv_aftup_2(self.OctConv2_2(self.AdaOctConv2_1(x, style)))
        return self.conv4(self.OctConv3_2(self.AdaOctConv3_1(x, style)))


class AesFA(nn.Module):
    def __init__(self, nf: int = 64):
        super().__init__()
        self.netE, self.netS, self.netG = Encoder(nf), Encoder(nf), Decoder(nf)

    def checkpoint(self) -> dict[str, dict[str, Tensor]]:
        """As the authors save it, with a state of the optimiser."""
        parts = {name: getattr(self, name).state_dict() for name in ("netE", "netS", "netG")}
        return {**parts, "optim_E": {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.0, 0.99)}]}}

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Pictures in 0..1."""
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        bands = self.netS((style - mean) / std)
        pooled = F.adaptive_avg_pool2d(bands[0], 3), F.adaptive_avg_pool2d(bands[1], 3)
        return self.netG(self.netE((content - mean) / std), pooled) * std + mean
