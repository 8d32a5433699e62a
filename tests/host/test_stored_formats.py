"""Every format in which the host keeps weights: what is read is what the host dequantises, with the rounding that it has."""

import importlib
import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from .tiny_models import tiny_model

LAYER = "diffusion_model.double_blocks.0.img_mlp.0"
FORMATS = {
    "float8_e4m3fn": {},
    "float8_e5m2": {},
    "nvfp4": {},
    "mxfp8": {},
    "int8_tensorwise": {},
    "convrot_w4a4": {},
    "asym_w4a8_int8": {},
}
# In whole blocks of every format, and neither in rows nor in columns.
WHOLE, PADDED = (64, 256), (100, 272)
IN_GROUPS = ("convrot_w4a4", "asym_w4a8_int8")
CASES = [(kind, shape) for kind in FORMATS for shape in (WHOLE, PADDED) if not (shape == PADDED and kind in IN_GROUPS)]


def module(host, name):
    pack = host.node("StyleDeltaExtractLora").__module__.partition(".nodes.")[0]
    return importlib.import_module(f"{pack}.{name}")


def random(shape: tuple[int, int]) -> torch.Tensor:
    """Rows of different sizes, as those of trained weights are."""
    generator = torch.Generator().manual_seed(shape[1])
    rows = torch.linspace(0.5, 2, shape[0])[:, None]
    return 0.03 * rows * torch.randn(shape, generator=generator)


def layout(kind: str) -> str:
    """The host's layout of a format; skips where the host has none."""
    from comfy import quant_ops

    if kind not in quant_ops.QUANT_ALGOS:
        pytest.skip(f"this host does not know {kind}")
    return quant_ops.QUANT_ALGOS[kind]["comfy_tensor_layout"]


def quantised(weight: torch.Tensor, kind: str, **options) -> torch.Tensor:
    """A weight as the host quantises it."""
    from comfy import quant_ops

    name = layout(kind)
    if kind.startswith("float8"):
        options["scale"] = weight.abs().max() / torch.finfo(quant_ops.QUANT_ALGOS[kind]["storage_t"]).max
        if not hasattr(quant_ops, "get_layout_class") and "Layout" in name:
            options["dtype"] = quant_ops.QUANT_ALGOS[kind]["storage_t"]
    return quant_ops.QuantizedTensor.from_float(weight, name, **options)


def file_tensors(stored: torch.Tensor, kind: str, **settings) -> dict[str, torch.Tensor]:
    """What a file holds of a quantised weight, by the host's own names."""
    if hasattr(stored, "state_dict"):
        tensors = stored.state_dict("weight")
    else:
        tensors = {"weight": stored._qdata, "weight_scale": stored._layout_params["scale"]}
    content = json.dumps({"format": kind} | settings).encode()
    return tensors | {"comfy_quant": torch.tensor(list(content), dtype=torch.uint8)}


def loaded_layer(path, shape: tuple[int, int], kind: str, dtype: torch.dtype) -> torch.nn.Module:
    """The host's own layer with what is in a file."""
    import inspect

    from comfy import ops

    settings = {"compute_dtype": dtype}
    if "layer_quant_config" in inspect.signature(ops.mixed_precision_ops).parameters:
        settings["layer_quant_config"] = {"layer": {"format": kind}}
    layer = ops.mixed_precision_ops(**settings).Linear(shape[1], shape[0], bias=False)
    tensors = {f"layer.{name.removeprefix(LAYER + '.')}": tensor for name, tensor in load_file(path).items()}
    parent = torch.nn.Module()
    parent.layer = layer
    parent.load_state_dict(tensors, strict=False)
    return layer


def model_with(layer: torch.nn.Module):
    model = tiny_model("flux")
    model.model.diffusion_model.double_blocks[0].img_mlp[0] = layer
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_a_loaded_weight_is_read_as_the_host_dequantises_it(host, tmp_path, kind, shape, dtype):
    weight, weights = random(shape), module(host, "nodes.host.weights")
    path = tmp_path / "layer.safetensors"
    save_file({f"{LAYER}.{n}": t.contiguous() for n, t in file_tensors(quantised(weight, kind), kind).items()}, path)
    expected = loaded_layer(path, shape, kind, torch.float32).weight.dequantize()
    assert expected.shape == shape
    model = model_with(loaded_layer(path, shape, kind, dtype))
    read = weights.base_weight(model, f"{LAYER}.weight")
    assert read.shape == shape and read.dtype == torch.float32 and type(read) is torch.Tensor
    # Where the model computes in bfloat16 the host may round scales and values to it.
    torch.testing.assert_close(read, expected, rtol=1e-6 if dtype == torch.float32 else 2**-6, atol=1e-6)
    loaded = weights.LoadedWeights("model", model, None)
    value, variance = loaded.read(f"{LAYER}.weight")
    assert torch.equal(value, read) and loaded.shapes[f"{LAYER}.weight"] == shape
    error = float((value - weight).double().square().mean())
    assert math.sqrt(variance) == pytest.approx(math.sqrt(error), rel=0.1)


@pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
def test_a_file_is_read_as_the_host_dequantises_it_or_refused(host, tmp_path, kind, shape):
    checkpoint = module(host, "delta.files.stored_weight")
    weight = random(shape)
    path = tmp_path / "layer.safetensors"
    save_file({f"{LAYER}.{n}": t.contiguous() for n, t in file_tensors(quantised(weight, kind), kind).items()}, path)
    if kind in ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise"):
        value, variance = checkpoint.WeightFile(path).read(f"{LAYER}.weight")
        assert torch.equal(value, loaded_layer(path, shape, kind, torch.float32).weight.dequantize())
        assert math.sqrt(variance) == pytest.approx(float((value - weight).square().mean().sqrt()), rel=0.1)
    else:
        with pytest.raises(ValueError, match=f"layer.safetensors: {LAYER}.weight is .*extract from the MODEL"):
            checkpoint.WeightFile(path).read(f"{LAYER}.weight")


@pytest.mark.parametrize("options", [{"per_channel": True}, {"per_channel": True, "convrot": True}], ids=str)
def test_int8_with_a_scale_for_each_row_and_rotated(host, tmp_path, options):
    weights, stored_weight = module(host, "nodes.host.weights"), module(host, "delta.files.stored_weight")
    weight, path = random(WHOLE), tmp_path / "layer.safetensors"
    stored = quantised(weight, "int8_tensorwise", **options)
    settings = {"convrot": True, "convrot_groupsize": 256} if "convrot" in options else {}
    for nested in (False, True):
        tensors = file_tensors(stored, "int8_tensorwise", **({"params": settings} if nested else settings))
        save_file({f"{LAYER}.{n}": t.contiguous() for n, t in tensors.items()}, path)
        layer = loaded_layer(path, WHOLE, "int8_tensorwise", torch.float32)
        value, variance = weights.LoadedWeights("model", model_with(layer), None).read(f"{LAYER}.weight")
        torch.testing.assert_close(value, layer.weight.dequantize(), rtol=1e-6, atol=1e-7)
        error = float((value - weight).double().square().mean())
        assert math.sqrt(variance) == pytest.approx(math.sqrt(error), rel=0.1)
        if settings:
            with pytest.raises(ValueError, match="quantised in blocks or rotated.*extract from the MODEL"):
                stored_weight.WeightFile(path).read(f"{LAYER}.weight")
        else:
            assert torch.equal(stored_weight.WeightFile(path).read(f"{LAYER}.weight").value, value)


def test_awq_weights_are_read_as_their_library_dequantises_them(host):
    """The library has this layout; the host loads no files of it."""
    tensor = pytest.importorskip("comfy_kitchen.tensor", reason="this host has no comfy_kitchen")
    if not hasattr(tensor, "TensorCoreAWQW4A16Layout"):
        pytest.skip("this comfy_kitchen does not know awq_w4a16")
    weights, weight = module(host, "nodes.host.weights"), random(WHOLE)
    groups = weight.reshape(len(weight), -1, 64)
    low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
    scale = (high - low) / 15
    numbers = ((groups - low) / scale).round().to(torch.uint8).reshape(weight.shape)
    packed = numbers[:, 0::2] | numbers[:, 1::2] << 4
    params = tensor.TensorCoreAWQW4A16Layout.Params(
        scale=scale[..., 0].t(), zeros=(low + 8 * scale)[..., 0].t(), orig_dtype=torch.float32, orig_shape=WHOLE
    )
    model = tiny_model("flux")
    layer = model.model.diffusion_model.double_blocks[0].img_mlp[0]
    stored = tensor.QuantizedTensor(packed, "TensorCoreAWQW4A16Layout", params)
    layer.weight = torch.nn.Parameter(stored, requires_grad=False)
    value, variance = weights.LoadedWeights("model", model, None).read(f"{LAYER}.weight")
    nearest = (numbers.reshape(groups.shape) * scale + low).reshape(weight.shape)
    torch.testing.assert_close(value, nearest, rtol=1e-4, atol=1e-6)
    assert math.sqrt(variance) == pytest.approx(float((value - weight).square().mean().sqrt()), rel=0.1)


def test_smoothed_weights_are_refused_by_name(host):
    layout("nvfp4")
    weights, model = module(host, "nodes.host.weights"), tiny_model("flux")
    layer = model.model.diffusion_model.double_blocks[0].img_mlp[0]
    layer.pre_quant_scale = torch.nn.Parameter(torch.ones(layer.in_features), requires_grad=False)
    loaded = weights.LoadedWeights("base model", model, None)
    assert f"{LAYER}.pre_quant_scale" not in loaded.shapes
    with pytest.raises(ValueError, match=f"base model: {LAYER}.weight expects an input that is scaled"):
        loaded.read(f"{LAYER}.weight")
