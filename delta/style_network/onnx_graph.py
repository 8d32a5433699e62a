"""Networks of one style as ONNX graphs, such as those of the ONNX model zoo (fast_neural_style).

The graph is followed from the picture on, and its convolutions are read off it: names do not matter, nor the size of
picture that it was exported for. Its values are taken to be 0..255, as those of the model zoo are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.file_errors import incomplete, missing
from .assembly import build_layers, check_network
from .network import StyleNetwork
from .strips import EPS

REMEDY = (
    "Give a network of convolutions, instance norms, ReLU, additions and nearest enlargement, such as the ONNX model zoo's "
    "fast_neural_style, or the state dict that it was exported from."
)
WHITE = 255.0
# What exports work out a padding with.
ARITHMETIC = {"Constant", "ConstantOfShape", "Concat", "Reshape", "Slice", "Transpose", "Cast", "Unsqueeze", "Identity"}


@dataclass(frozen=True, eq=False)
class _Conv:
    """One convolution of the graph and what follows it."""

    weight: Tensor
    bias: Tensor | None
    stride: int
    enlarged: bool
    norm: tuple[Tensor, Tensor] | None = None
    relu: bool = False
    residual: bool = False


@dataclass(frozen=True)
class _Value:
    """What the picture has been through: convolutions, then what waits for the next one."""

    convs: tuple[_Conv, ...] = ()
    enlarged: bool = False
    pad: int = 0

    def last_with(self, **changes: Any) -> _Value:
        return replace(self, convs=(*self.convs[:-1], replace(self.convs[-1], **changes)))


def read_onnx(path: Path) -> StyleNetwork:
    """The network of an ONNX file, for pictures of any size; its one style has the file's name.

    Raises FileNotFoundError, ModuleNotFoundError without the package onnx, or ValueError that names the file, what is
    wrong with it and the remedy.
    """
    if not path.is_file():
        raise missing(path)
    model = _model(path)
    try:
        convs = _Walk(model).convs()
        network = _assembled(path.stem, convs)
        check_network(network)
    except (ValueError, IndexError, RuntimeError) as error:
        raise ValueError(f"{path.name} is not a readable style network: {error}. {REMEDY}") from error
    return network


def _model(path: Path) -> Any:
    try:
        from google.protobuf.message import DecodeError
        from onnx import load
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path.name} needs the package onnx. Install it with `pip install -r requirements.txt` in the folder of this "
            "node pack, or use the state dict that it was exported from."
        ) from error
    try:
        return load(path, load_external_data=False)
    except DecodeError as error:
        raise incomplete(path.name, "ONNX", error) from error


class _Walk:
    """The graph in its order, which is one in which it can run."""

    def __init__(self, model: Any):
        from onnx import helper, numpy_helper

        self.graph, self.opsets = model.graph, model.opset_import
        self._attribute = helper.get_attribute_value
        self._array = lambda item: torch.from_numpy(numpy_helper.to_array(item).copy())
        self.constants = {item.name: item for item in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self.values: dict[str, _Value] = {}

    def convs(self) -> tuple[_Conv, ...]:
        """The convolutions from the picture to the output. Raises ValueError for what does not belong in a style network."""
        pictures = [item.name for item in self.graph.input if item.name not in self.constants]
        if len(pictures) != 1 or len(self.graph.output) != 1:
            raise ValueError(
                f"it has {len(pictures)} inputs and {len(self.graph.output)} outputs instead of one picture"
            )
        self.values[pictures[0]] = _Value()
        for node in self.graph.node:
            self._follow(node)
        end = self.values.get(self.graph.output[0].name)
        if end is None or not end.convs or end.enlarged or end.pad:
            raise ValueError("its output is not a convolution of the picture")
        return end.convs

    def _follow(self, node: Any) -> None:
        operands = [self.values[name] for name in node.input if name in self.values]
        # Sizes are worked out from the picture's in the graph; here they follow from the layers.
        if not operands or node.op_type == "Shape":
            return
        step: Callable | None = getattr(self, f"_{node.op_type.lower()}", None)
        if step is None or node.domain not in ("", "ai.onnx"):
            raise ValueError(f"its operation {node.op_type} does not belong in a style network")
        self.values[node.output[0]] = step(node, *operands)

    def _identity(self, node: Any, value: _Value) -> _Value:
        return value

    def _pad(self, node: Any, value: _Value) -> _Value:
        pads = self._setting(node, "pads", None)
        pads = self._tensor(node.input[1]).tolist() if pads is None else list(pads)
        sides = {pads[2], pads[3], pads[6], pads[7]} if len(pads) == 8 else set()
        if self._setting(node, "mode", b"constant") != b"reflect" or len(sides) != 1 or pads[:2] + pads[4:6] != [0] * 4:
            raise ValueError("a padding is not an equal reflection on all sides")
        return replace(value, pad=value.pad + sides.pop())

    def _conv(self, node: Any, value: _Value) -> _Value:
        weight = self._tensor(node.input[1])
        bias = self._tensor(node.input[2]) if len(node.input) > 2 else None
        stride = set(self._setting(node, "strides", (1, 1)))
        plain = self._setting(node, "group", 1) == 1 and set(self._setting(node, "dilations", (1,))) == {1}
        padded = any(self._setting(node, "pads", ())) or self._setting(node, "auto_pad", b"NOTSET") not in (
            b"NOTSET",
            b"VALID",
        )
        if weight.dim() != 4 or len(stride) != 1 or not plain or padded or value.pad != weight.shape[-1] // 2:
            raise ValueError(f"the convolution {node.input[1]} is not padded by reflection, has groups or is dilated")
        conv = _Conv(weight, bias, stride.pop(), value.enlarged)
        return _Value((*value.convs, conv))

    def _instancenormalization(self, node: Any, value: _Value) -> _Value:
        self._expect_conv(node, value)
        epsilon = self._setting(node, "epsilon", EPS)
        if value.convs[-1].norm or value.convs[-1].relu or value.convs[-1].residual or abs(epsilon - EPS) > EPS / 100:
            raise ValueError(
                f"a norm does not follow a convolution, or adds {epsilon:g} to the variance instead of {EPS:g}"
            )
        return value.last_with(norm=tuple(self._tensor(name) for name in node.input[1:3]))

    def _relu(self, node: Any, value: _Value) -> _Value:
        self._expect_conv(node, value)
        return value.last_with(relu=True)

    def _add(self, node: Any, *values: _Value) -> _Value:
        before, after = sorted(values, key=lambda value: len(value.convs)) if len(values) == 2 else (None, None)
        if (
            before is None
            or after.convs[: len(before.convs)] != before.convs
            or len(after.convs) - len(before.convs) != 2
        ):
            raise ValueError("an addition is not that of a residual block of two convolutions")
        return after.last_with(residual=True)

    def _upsample(self, node: Any, value: _Value) -> _Value:
        if self._setting(node, "mode", b"nearest") != b"nearest" or value.pad:
            raise ValueError("it enlarges by something other than repeating pixels")
        return replace(value, enlarged=True)

    _resize = _upsample

    def _expect_conv(self, node: Any, value: _Value) -> None:
        if not value.convs or value.enlarged or value.pad:
            raise ValueError(f"an operation {node.op_type} does not follow a convolution")

    def _setting(self, node: Any, name: str, default: Any) -> Any:
        found = next((each for each in node.attribute if each.name == name), None)
        return default if found is None else self._attribute(found)

    def _tensor(self, name: str) -> Tensor:
        tensor = self._stored(name) if name in self.constants else self._worked_out(name)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"the weights {name} hold NaN or infinite values")
        return tensor

    def _stored(self, name: str) -> Tensor:
        item = self.constants[name]
        if item.external_data:
            raise ValueError(f"the weights {name} are in another file")
        return self._array(item)

    def _worked_out(self, name: str) -> Tensor:
        """A value that the graph makes of constants."""
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        needed, wanted = set(), [name]
        while wanted:
            value = wanted.pop()
            if value in self.constants or value in needed or not value:
                continue
            if value not in self.makers or self.makers[value].op_type not in ARITHMETIC:
                raise ValueError(f"the weights {name} are not in the file")
            needed.add(value)
            wanted += self.makers[value].input
        nodes = [node for node in self.graph.node if node.output[0] in needed]
        used = {value for node in nodes for value in node.input}
        stored = [item for item in self.graph.initializer if item.name in used]
        output = helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
        graph = helper.make_graph(nodes, "constants", [], [output], stored)
        return torch.from_numpy(
            ReferenceEvaluator(helper.make_model(graph, opset_imports=self.opsets)).run(None, {})[0].copy()
        )


def _assembled(name: str, convs: Sequence[_Conv]) -> StyleNetwork:
    """The network of these convolutions in running order."""
    ends = [number for number, conv in enumerate(convs) if conv.residual]
    if (
        not ends
        or any(conv.stride != 1 for conv in convs[ends[0] - 1 :])
        or any(c.enlarged for c in convs[: ends[-1] + 1])
    ):
        raise ValueError("it does not shrink the picture, run residual blocks and enlarge it again")
    begin, end = ends[0] - 1, ends[-1] + 1
    names = [f"contract.{n}" for n in range(begin)]
    names += [f"res.{n // 2}.{n % 2}" for n in range(end - begin)]
    names += [f"expand.{n}" for n in range(len(convs) - end)]
    # Which layers have a ReLU our layout does not say.
    for layer, conv in zip(names, convs):
        silent = layer == names[-1] or (layer.startswith("res.") and layer.endswith(".1"))
        if conv.relu == silent or conv.residual != (layer.startswith("res.") and layer.endswith(".1")):
            raise ValueError(
                f"the ReLU or the addition after its convolution {names.index(layer)} does not belong in a style network"
            )
    strides = [conv.stride for conv in convs[:begin]]
    upsample = [2 if conv.enlarged else 1 for conv in convs[end:]]
    tensors = {layer: (conv.weight.float(), conv.bias) for layer, conv in zip(names, convs)}
    layers, norm_names = build_layers(tensors, [n for n, c in zip(names, convs) if c.norm], strides, upsample)
    norms = {layer: conv.norm for layer, conv in zip(names, convs) if conv.norm}
    gamma, beta = (torch.cat([norms[layer][part].float() for layer in norm_names])[None] for part in (0, 1))
    return StyleNetwork(name, layers, gamma, beta, (name,), value_range=WHITE, sigmoid=False)
