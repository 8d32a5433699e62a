"""Networks of one style as ONNX graphs, against onnxruntime and the modules that they were exported from."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from one_style_networks import example, export, forward, transposed
from onnx import TensorProto, helper, numpy_helper
from skimage import data
from torch import Tensor

from delta.style_network.files import load_network
from delta.style_network.network import StyleNetwork, stylize
from delta.style_network.params import StyleParams


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(data.astronaut()[40:120, 190:290].copy()).float()[None] / 255


def painted(network: StyleNetwork, image: Tensor) -> Tensor:
    return stylize(network, image, StyleParams(network.fingerprint, (network.style(0),)))


def zoo_graph(state: dict[str, Tensor]) -> onnx.ModelProto:
    """The network written down node by node as the model zoo's files of opset 9 are: numbered values, and an enlargement
    whose scale is worked out from the size of the map."""
    nodes, weights, count = [], [], iter(range(1000))

    def add(kind: str, *inputs: str, **settings) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"{next(count)}"], **settings))
        return nodes[-1].output[0]

    def weight(name: str) -> str:
        weights.append(numpy_helper.from_array(state[name].numpy(), name))
        return name

    def constant(value) -> str:
        return add("Constant", value=numpy_helper.from_array(np.asarray(value)))

    def conv(x: str, name: str, stride: int = 1) -> str:
        half = state[f"{name}.conv2d.weight"].shape[-1] // 2
        x = add("Pad", x, mode="reflect", pads=[0, 0, half, half, 0, 0, half, half])
        settings = {"strides": [stride, stride], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
        return add("Conv", x, weight(f"{name}.conv2d.weight"), weight(f"{name}.conv2d.bias"), **settings)

    def norm(x: str, name: str) -> str:
        return add("InstanceNormalization", x, weight(f"{name}.weight"), weight(f"{name}.bias"), epsilon=1e-5)

    def enlarge(x: str) -> str:
        sides = []
        for axis in (2, 3):
            side = add("Gather", add("Shape", x), constant(np.int64(axis)), axis=0)
            twice = add("Mul", add("Cast", side, to=TensorProto.FLOAT), constant(np.float32(2)))
            sides.append(
                add("Unsqueeze", add("Div", add("Floor", twice), add("Cast", side, to=TensorProto.FLOAT)), axes=[0])
            )
        return add("Upsample", x, add("Concat", constant(np.float32([1, 1])), *sides, axis=0), mode="nearest")

    x = "input1"
    for number, stride in ((1, 1), (2, 2), (3, 2)):
        x = add("Relu", norm(conv(x, f"conv{number}", stride), f"in{number}"))
    for block in range(1, 6):
        y = add("Relu", norm(conv(x, f"res{block}.conv1"), f"res{block}.in1"))
        x = add("Add", norm(conv(y, f"res{block}.conv2"), f"res{block}.in2"), x)
    for number in (1, 2):
        x = add("Relu", norm(conv(enlarge(x), f"deconv{number}"), f"in{number + 3}"))
    end = conv(x, "deconv3")
    inputs = [helper.make_tensor_value_info("input1", TensorProto.FLOAT, [1, 3, 224, 224])]
    inputs += [helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in weights]
    outputs = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [1, 3, 224, 224])]
    graph = helper.make_graph(nodes, "torch-jit-export", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


@pytest.mark.parametrize("opset", [9, 11, 17])
def test_an_exported_network_paints_pictures_of_any_size(tmp_path, photo, opset):
    network = example()
    export(network, tmp_path / "mosaic-9.onnx", opset)
    loaded = load_network(tmp_path / "mosaic-9.onnx")
    assert loaded.style_names == ("mosaic-9",)
    assert (painted(loaded, photo) - forward(network, photo)).abs().max() < 1e-4


def test_a_graph_as_the_model_zoo_has_it(tmp_path, photo):
    network = example()
    onnx.save(zoo_graph(network.state_dict()), tmp_path / "candy-9.onnx")
    square = torch.nn.functional.interpolate(photo.movedim(-1, 1), (224, 224)).movedim(1, -1)
    session = onnxruntime.InferenceSession(str(tmp_path / "candy-9.onnx"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input1": (square * 255).movedim(-1, 1).contiguous().numpy()})[0]
    loaded = load_network(tmp_path / "candy-9.onnx")
    expected = torch.from_numpy(expected).movedim(1, -1).div(255).clamp(0, 1)
    assert (painted(loaded, square) - expected).abs().max() < 1e-4
    assert (painted(loaded, photo) - forward(network, photo)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.node[1].input.__setitem__(1, "gone"), "the weights gone are not in the file"),
        (lambda graph: setattr(graph.node[0].attribute[0], "s", b"constant"), "not an equal reflection"),
        (
            lambda graph: setattr(graph.node[3], "op_type", "Tanh"),
            "its operation Tanh does not belong in a style network",
        ),
        (lambda graph: setattr(graph.node[2].attribute[0], "f", 1e-3), "adds 0.001 to the variance"),
        (lambda graph: graph.output.add(name="two"), "1 inputs and 2 outputs"),
        (lambda graph: setattr(graph.output[0], "name", "3"), "does not shrink the picture"),
        (lambda graph: graph.initializer[2].dims.__setitem__(0, 4), "cannot reshape|NaN|size"),
        (
            lambda graph: graph.initializer[6].CopyFrom(numpy_helper.from_array(np.ones(9, np.float32), "in2.weight")),
            "tables are",
        ),
        (
            lambda graph: graph.initializer[1].CopyFrom(
                numpy_helper.from_array(np.full(8, np.nan, np.float32), "conv1.conv2d.bias")
            ),
            "the weights conv1.conv2d.bias hold NaN",
        ),
    ],
)
def test_other_graphs_are_refused_with_the_reason(tmp_path, change, message):
    model = zoo_graph(example().state_dict())
    change(model.graph)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=f"other.onnx is not a readable style network: .*({message})(?s:.*)state dict"):
        load_network(tmp_path / "other.onnx")


def test_transposed_convolutions_are_named(tmp_path):
    export(transposed(), tmp_path / "wave.onnx", 11)
    with pytest.raises(ValueError, match="wave.onnx .* its operation ConvTranspose does not belong"):
        load_network(tmp_path / "wave.onnx")


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.onnx does not exist"):
        load_network(tmp_path / "gone.onnx")
    whole = zoo_graph(example().state_dict()).SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="cut.onnx is not a complete ONNX file"):
        load_network(tmp_path / "cut.onnx")
