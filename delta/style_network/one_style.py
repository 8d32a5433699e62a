"""Networks of one style, as the state dicts of the repositories that train them (Johnson et al. 2016, arXiv 1603.08155).

All of them contract three times, run residual blocks and expand three times, and normalise each picture by itself. They
differ in names, in how a picture is given to them, and in how they enlarge. Colours are taken into the weights of the
first and the last layer, which is exact: every network here takes and gives RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .assembly import Convs, build_layers
from .network import StyleNetwork

STRIDES, UPSAMPLE = (1, 2, 2), (2, 2, 1)
# What old versions of PyTorch stored beside an instance norm and did not use.
RUNNING = ("running_mean", "running_var")

# A convolution's and its norm's name; the last layer has no norm.
Source = tuple[str, str | None]


@dataclass(frozen=True)
class Dialect:
    """How one repository names and feeds its network.

    contract, expand: the layers in running order. block: of a residual block's number, its two layers; blocks are
    counted from `first_block`. white: the value of white at the input and the output. mean, spread: what is taken off
    the values and what they are divided by, which the output has too. bgr: blue comes first. transposed: the layers that
    enlarge are transposed convolutions, with weights [in, out, k, k].
    """

    title: str
    contract: tuple[Source, ...]
    block: Callable[[int], tuple[Source, Source]]
    expand: tuple[Source, ...]
    first_block: int = 1
    white: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spread: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False
    transposed: bool = False

    def sources(self, names: Mapping[str, Tensor]) -> dict[str, Source]:
        """The layers of our layout in running order, with the names that these tensors have for them."""
        found, block = {f"contract.{n}": source for n, source in enumerate(self.contract)}, self.first_block
        while block == self.first_block or any(f"{conv}.weight" in names for conv, _ in self.block(block)):
            for half, source in enumerate(self.block(block)):
                found[f"res.{block - self.first_block}.{half}"] = source
            block += 1
        return found | {f"expand.{n}": source for n, source in enumerate(self.expand)}


def _with_norms(block: int) -> tuple[Source, Source]:
    return (f"res{block}.conv1.conv2d", f"res{block}.in1"), (f"res{block}.conv2.conv2d", f"res{block}.in2")


def _with_layers(block: int) -> tuple[Source, Source]:
    first, second = (f"ResidualBlock.{block}.conv{half}" for half in (1, 2))
    return (f"{first}.conv_layer", f"{first}.norm_layer"), (f"{second}.conv_layer", f"{second}.norm_layer")


_CONTRACT = tuple((f"conv{n}.conv2d", f"in{n}") for n in (1, 2, 3))

# github.com/pytorch/examples, fast_neural_style
EXAMPLE = Dialect(
    "PyTorch's fast-neural-style example",
    _CONTRACT,
    _with_norms,
    (("deconv1.conv2d", "in4"), ("deconv2.conv2d", "in5"), ("deconv3.conv2d", None)),
)
# github.com/gordicaleksa/pytorch-neural-style-transfer-johnson, with ImageNet's mean and standard deviation
NORMALISED = Dialect(
    "gordicaleksa's pytorch-neural-style-transfer-johnson",
    _CONTRACT,
    _with_norms,
    (("up1.conv2d.conv2d", "in4"), ("up2.conv2d.conv2d", "in5"), ("up3.conv2d", None)),
    white=1.0,
    mean=(0.485, 0.456, 0.406),
    spread=(0.229, 0.224, 0.225),
)
# github.com/rrmina/fast-neural-style-pytorch, and zeroxoxo's ComfyUI-Fast-Style-Transfer, which trains the same network
TRANSPOSED = Dialect(
    "rrmina's fast-neural-style-pytorch",
    tuple((f"ConvBlock.{n}.conv_layer", f"ConvBlock.{n}.norm_layer") for n in (0, 2, 4)),
    _with_layers,
    (
        *((f"DeconvBlock.{n}.conv_transpose", f"DeconvBlock.{n}.norm_layer") for n in (0, 2)),
        ("DeconvBlock.4.conv_layer", None),
    ),
    first_block=0,
    bgr=True,
    transposed=True,
)
DIALECTS = (EXAMPLE, NORMALISED, TRANSPOSED)


def read_one_style(path: Path, tensors: Mapping[str, Tensor]) -> StyleNetwork:
    """The network of a state dict, whose one style has the file's name.

    Raises ValueError that names the file, the tensors and the remedy, for a state dict of another network, one that is
    incomplete or has tensors that nothing uses, and for shapes that do not fit together.
    """
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    dialect = _dialect_of(path, tensors)
    sources = dialect.sources(tensors)
    _check_names(path, dialect, sources, tensors)
    transposed = ["expand.0", "expand.1"] if dialect.transposed else []
    convs = {}
    for layer, (conv, _) in sources.items():
        weight = tensors[f"{conv}.weight"].float()
        _check_kernel(path, f"{conv}.weight", weight)
        convs[layer] = (
            weight.transpose(0, 1).flip(2, 3) if layer in transposed else weight,
            tensors[f"{conv}.bias"].float(),
        )
    _check_shapes(path, dialect, sources, convs, tensors)
    _take_in_colours_(convs, dialect)
    layers, norm_names = build_layers(
        convs, [layer for layer, (_, norm) in sources.items() if norm], STRIDES, UPSAMPLE, transposed
    )
    gamma, beta = (
        torch.cat([tensors[f"{sources[layer][1]}.{part}"].float() for layer in norm_names])[None]
        for part in ("weight", "bias")
    )
    return StyleNetwork(path.stem, layers, gamma, beta, (path.stem,), value_range=dialect.white, sigmoid=False)


def export_lines(name: str) -> str:
    """How the state dict of a whole pickled network gets into a file of its own."""
    return (
        "To use its weights alone, run these three lines where the network's own code is available, if you trust the "
        "file (of a TorchScript archive, torch.jit.load instead of torch.load):\n"
        "    import torch\n"
        f'    network = torch.load("{name}", map_location="cpu", weights_only=False)\n'
        f'    torch.save(network.state_dict(), "{Path(name).stem}_weights.pth")'
    )


def _dialect_of(path: Path, tensors: Mapping[str, Tensor]) -> Dialect:
    """The dialect that the most names are of, the first convolution's among them."""
    shares = [sum(name in tensors for name in _wanted(each.sources(tensors))) for each in DIALECTS]
    if not max(shares):
        examples = ", ".join(sorted(tensors)[:3])
        titles = ", ".join(each.title for each in DIALECTS)
        raise ValueError(
            f"{path.name} is not a style network: none of its {len(tensors)} tensors, such as {examples}, has a name that "
            f"style networks use. Expected a file saved by Save Style Network, or a state dict or ONNX file of {titles}."
        )
    return DIALECTS[shares.index(max(shares))]


def _wanted(sources: Mapping[str, Source]) -> list[str]:
    modules = [module for source in sources.values() for module in source if module]
    return [f"{module}.{part}" for module in modules for part in ("weight", "bias")]


def _check_names(path: Path, dialect: Dialect, sources: Mapping[str, Source], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are all that the network needs, and no others."""
    wanted = _wanted(sources)
    if counted := [name for name in tensors if name.endswith(".num_batches_tracked")]:
        raise ValueError(
            f"{path.name} keeps running averages ({', '.join(counted)}): it was trained with batch normalisation, whose "
            "look does not come from the picture's own statistics. Use a network trained with instance normalisation."
        )
    unused = {f"{norm}.{part}" for _, norm in sources.values() if norm for part in RUNNING}
    missing = [name for name in wanted if name not in tensors]
    left = [name for name in tensors if name not in wanted and name not in unused]
    faults = [f"it lacks {', '.join(missing)}"] * bool(missing) + [f"nothing uses {', '.join(left)}"] * bool(left)
    if faults:
        raise ValueError(
            f"{path.name} has the names of {dialect.title}, but {' and '.join(faults)}. Export the whole state dict of "
            "the network as its repository defines it; modified networks cannot be read."
        )


def _check_kernel(path: Path, name: str, weight: Tensor) -> None:
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        raise _misfit(
            path, name, weight, "a convolution has the shape (channels, channels, side, side), with an odd side"
        )


def _check_shapes(
    path: Path, dialect: Dialect, sources: Mapping[str, Source], convs: Convs, tensors: Mapping[str, Tensor]
) -> None:
    """Raise ValueError that names the first tensor that does not fit to the ones before it."""
    channels, before = 3, "the picture"
    for layer, (conv, norm) in sources.items():
        weight, bias = convs[layer]
        out, inp = weight.shape[:2]
        if inp != channels:
            reading = f"it reads {inp} channels, but {before} has {channels}"
            raise _misfit(path, f"{conv}.weight", tensors[f"{conv}.weight"], reading)
        if layer.startswith("res.") and out != channels:
            raise _misfit(
                path, f"{conv}.weight", tensors[f"{conv}.weight"], f"its block is added to {channels} channels"
            )
        if bias.shape != (out,):
            raise _misfit(path, f"{conv}.bias", bias, f"{conv}.weight has {out} channels")
        for part in ("weight", "bias") if norm else ():
            if tensors[f"{norm}.{part}"].shape != (out,):
                raise _misfit(path, f"{norm}.{part}", tensors[f"{norm}.{part}"], f"{conv}.weight has {out} channels")
        channels, before = out, f"{conv}.weight"
    if channels != 3:
        raise _misfit(path, before, tensors[before], "a picture has 3 channels")


def _misfit(path: Path, name: str, tensor: Tensor, reason: str) -> ValueError:
    return ValueError(
        f"{path.name}: the tensor {name} has the shape {tuple(tensor.shape)}; {reason}. The file is damaged or from "
        "a modified network. Use another copy, or export the state dict again."
    )


def _take_in_colours_(convs: Convs, dialect: Dialect) -> None:
    """Make the first layer take RGB without the dialect's mean and spread, and the last one give it.

    Reflected borders are values of the picture, so the change of colours and the padding may change places.
    """
    last = "expand.2"
    (weight, bias), (last_weight, last_bias) = convs["contract.0"], convs[last]
    if dialect.bgr:
        weight, last_weight, last_bias = weight.flip(1), last_weight.flip(0), last_bias.flip(0)
    if dialect.spread != (1.0, 1.0, 1.0):
        mean, spread = torch.tensor(dialect.mean), torch.tensor(dialect.spread)
        weight = weight / spread.view(1, 3, 1, 1)
        bias = bias - (weight * mean.view(1, 3, 1, 1)).sum((1, 2, 3))
        last_weight = last_weight * spread.view(3, 1, 1, 1)
        last_bias = last_bias * spread + mean
    convs["contract.0"], convs[last] = (weight, bias), (last_weight, last_bias)
