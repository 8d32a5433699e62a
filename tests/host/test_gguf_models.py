"""MODELs of GGUF as base of Extract LoRA and as what LoRAs are applied to, and GGUF files among the others."""

import importlib
import math
from functools import cache
from pathlib import Path

import ggml
import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from . import gguf_pack
from .demo_loras import updates
from .gguf_pack import in_gguf, packed_names
from .test_lora_extract import CHECKPOINT, PREFIX, bare, extract, extract_files
from .tiny_models import normal, sample, tiny_model, tuned

pytestmark = pytest.mark.skipif(ggml.library() is None, reason=ggml.ABSENT)
needs_pack = pytest.mark.skipif(not gguf_pack.PACK, reason=gguf_pack.ABSENT)
KINDS = ("Q8_0", "Q5_1", "Q4_K")
LAYER = "diffusion_model.double_blocks.0.img_mlp.2.weight"
CHANGE = 0.3


def module(host, name):
    pack = host.node("StyleDeltaExtractLora").__module__.partition(".nodes.")[0]
    return importlib.import_module(f"{pack}.{name}")


def assert_found(host, lora, base, kind: str) -> None:
    """The factors of a change of rank 1 are as near to it as the rounding of the base lets them be."""
    true, plain = bare(tuned("flux", rank=1, scale=CHANGE)), bare(tiny_model("flux"))
    found = updates(host.node("StyleDeltaApplyLora").execute(tiny_model("flux"), lora, 1.0, 1.0).result[0])
    loaded = module(host, "nodes.host.weights").LoadedWeights("base", base, None)
    names = packed_names(base)
    kept = [name for name in names if name in found]
    assert len(kept) > len(names) / 2, kind
    for name in kept:
        change = true[name.removeprefix(PREFIX)] - plain[name.removeprefix(PREFIX)]
        deviation = math.sqrt(loaded.read(name).variance)
        # Noise of this deviation moves each factor by its share of both sides at most (Davidson and Kahan).
        bound = 2 * deviation * sum(math.sqrt(side) for side in change.shape)
        assert float((found[name] - change).norm()) < bound, name


def test_weights_are_read_as_the_package_unpacks_them(host):
    weights = module(host, "nodes.host.weights")
    plain, model = tiny_model("flux"), in_gguf(tiny_model("flux"), "Q6_K")
    packed = packed_names(model)
    assert LAYER in packed and len(packed) > 3
    loaded = weights.LoadedWeights("model", model, None)
    for name in packed:
        weight = weights.base_weight(plain, name)
        expected = ggml.dequantised(ggml.quantised(weight, "Q6_K"), "Q6_K")
        value, variance = loaded.read(name)
        assert torch.equal(weights.base_weight(model, name), expected) and torch.equal(value, expected)
        assert loaded.shapes[name] == tuple(weight.shape)
        # Of few numbers, so not exactly.
        assert variance == pytest.approx(float((expected - weight).double().square().mean()), rel=0.25)
    assert weights.parameter_count(model) == weights.parameter_count(plain)


def test_types_that_are_no_blocks(host):
    weights, model = module(host, "nodes.host.weights"), tiny_model("flux")
    weight = weights.base_weight(model, LAYER)
    for kind, dtype in (("F32", torch.float32), ("F16", torch.float16), ("BF16", torch.bfloat16)):
        stored = weight.to(dtype) if kind != "BF16" else weight.to(dtype).view(torch.uint8)
        parameter = torch.nn.Parameter(stored.as_subclass(gguf_pack.PackedTensor), requires_grad=False)
        parameter.tensor_type, parameter.tensor_shape = gguf.GGMLQuantizationType[kind], weight.shape
        model.model.get_submodule(LAYER.removesuffix(".weight")).weight = parameter
        read = weights.base_weight(model, LAYER)
        assert type(read) is torch.Tensor and torch.equal(read, weight.to(dtype).float())
        read.zero_()
        assert torch.equal(weights.base_weight(model, LAYER), weight.to(dtype).float())


def test_a_type_that_cannot_be_read_is_told_with_the_weight(host):
    weights, model = module(host, "nodes.host.weights"), in_gguf(tiny_model("flux"), "Q8_0")
    model.model.get_parameter(LAYER).tensor_type = gguf.GGMLQuantizationType.NVFP4
    with pytest.raises(ValueError, match=f"{LAYER}: Weights of GGUF type NVFP4 cannot be read"):
        weights.base_weight(model, LAYER)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_is_extracted_from_a_gguf_base_within_the_noise(host, kind):
    base = in_gguf(tiny_model("flux"), kind)
    lora, report, _ = extract(host, tuned("flux", rank=1, scale=CHANGE), base, biases_and_norms=False)
    assert "signal to rounding noise" in report
    assert_found(host, lora, base, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_below_the_rounding_of_a_gguf_base_is_left_out(host, kind):
    """Of the packed weights; the others, in full precision, are found."""
    base, small = in_gguf(tiny_model("flux"), kind), {"Q8_0": 1e-4, "Q5_1": 1e-3, "Q4_K": 1e-3}[kind]
    _, report, _ = extract(host, tuned("flux", rank=0, scale=small), base, biases_and_norms=False, rank=8)
    left_out = int(report.split("left out, below the rounding of the stored weights: ")[1].split()[0])
    # One of a hundred cases may stand above; in one model they are not independent of each other.
    assert left_out >= 0.9 * len(packed_names(base))


def test_a_lora_of_another_size_is_refused_on_packed_weights(host):
    model, layer = in_gguf(tiny_model("flux"), "Q8_0"), LAYER.removesuffix(".weight")
    lora = {f"{layer}.lora_up.weight": torch.ones(7, 1), f"{layer}.lora_down.weight": torch.ones(1, 5)}
    problem = module(host, "nodes.host.loras").first_misfit
    weights, names = module(host, "nodes.host.weights"), module(host, "nodes.host.names")
    matched = names.match_lora(lora, names.lora_key_map(model, None))
    assert f"{LAYER} is" in problem(matched.patches, weights.model_weights(model))


@cache
def unet() -> dict[str, torch.Tensor]:
    """The weights of the demo's diffusion model under ComfyUI's bare names."""
    import folder_paths

    prefix = "model.diffusion_model."
    tensors = load_file(folder_paths.get_full_path_or_raise("checkpoints", CHECKPOINT))
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.fixture
def written(base_dir):
    """A function that writes weights into models/diffusion_models as GGUF or, without a type, as safetensors."""
    paths = []

    def write(name: str, weights: dict[str, torch.Tensor], kind: str | None = None, architecture: str = "flux") -> Path:
        path = Path(base_dir) / f"models/diffusion_models/test_gguf_{name}.{'gguf' if kind else 'safetensors'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(path)
        if kind:
            gguf_pack.write_model(path, weights, kind, architecture)
        else:
            save_file({key: value.contiguous() for key, value in weights.items()}, path)
        return path

    yield write
    for path in paths:
        path.unlink(missing_ok=True)


def test_gguf_files_are_offered_and_give_a_lora(host, written):
    other = bare(tuned("flux", rank=1, scale=CHANGE))
    paths = written("tuned", other), written("base", bare(tiny_model("flux")), "Q4_K")
    names = [f"diffusion_models/{path.name}" for path in paths]
    assert set(names) <= set(module(host, "nodes.host.folders").model_names())
    lora, report, _ = extract_files(host, names, rank=1, biases_and_norms=False)
    assert "signal to rounding noise" in report
    assert_found(host, lora, in_gguf(tiny_model("flux"), "Q4_K"), "Q4_K")


def test_norms_are_extracted_exactly_against_a_gguf_base(host, written):
    """They are one number a channel, which GGUF keeps as they are."""
    tiers = {"norms": True, "modulation": True, "qk_norms": True, "block_weights": ""}
    node = host.node("StyleDeltaExtractNormsFiles").execute
    tuned_model, base = bare(tuned("flux", rank=0, scale=CHANGE)), bare(tiny_model("flux"))
    styled = written("styled", tuned_model)
    packed, plain = written("packed", base, "Q4_K"), written("plain", base)
    found, expected = (node(*(f"diffusion_models/{path.name}" for path in (styled, other)), **tiers).result[0]
                       for other in (packed, plain))  # fmt: skip
    assert found.keys() == expected.keys() and len(found) > 10
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_two_gguf_files_that_differ_by_less_than_their_rounding_are_refused(host, written):
    """Whole models, in which only what is packed differs."""
    base = bare(tiny_model("flux"))
    other = {
        name: weight + 1e-3 * weight.std() * torch.randn_like(weight) if gguf_pack.fits(weight, "Q4_K") else weight
        for name, weight in base.items()
    }
    names = [f"diffusion_models/{written(name, model, 'Q4_K').name}" for name, model in (("a", other), ("b", base))]
    with pytest.raises(
        ValueError, match="no direction of the difference can be distinguished from noise.*ignore_noise"
    ):
        extract_files(host, names, rank=8, biases_and_norms=False)


@pytest.fixture
def by_pack(host, written):
    """A function that gives a small Flux as a MODEL of ComfyUI-GGUF."""
    return lambda name, patcher, kind: gguf_pack.small_model(host, "flux", written(name, bare(patcher), kind))


@needs_pack
@pytest.mark.parametrize("kind", [*KINDS, "BF16", "F16"])
def test_models_of_the_pack_are_read_as_the_pack_computes(host, by_pack, kind):
    weights, model, plain = (
        module(host, "nodes.host.weights"),
        by_pack("read", tiny_model("flux"), kind),
        bare(tiny_model("flux")),
    )
    of_gguf = 0
    for name, parameter in model.model.named_parameters():
        layer = model.model.get_submodule(name.rpartition(".")[0])
        theirs = layer.get_weight(parameter, torch.float32) if hasattr(layer, "get_weight") else parameter
        read = weights.base_weight(model, name)
        assert type(read) is torch.Tensor and read.dtype == torch.float32
        # The pack unpacks in float16, and the library in float32.
        theirs = theirs.detach().float().as_subclass(torch.Tensor)
        torch.testing.assert_close(read, theirs, rtol=1e-2, atol=float(theirs.abs().max()) / 500)
        assert read.shape == plain[name.removeprefix(PREFIX)].shape
        of_gguf += hasattr(parameter, "tensor_type") and parameter.tensor_type != gguf.GGMLQuantizationType.F32
    assert of_gguf > 3
    shapes = {name: tuple(weight.shape) for name, weight in weights.model_weights(model).items()}
    own = {f"{PREFIX}{name}": tuple(weight.shape) for name, weight in plain.items()}
    assert own.items() <= shapes.items() and not any(name.endswith("temp.weight") for name in shapes)


@needs_pack
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_the_pack_as_base(host, by_pack, kind):
    base = by_pack("base", tiny_model("flux"), kind)
    lora, report, _ = extract(host, tuned("flux", rank=1, scale=CHANGE), base, biases_and_norms=False)
    assert "signal to rounding noise" in report
    assert_found(host, lora, base, kind)
    applied = host.node("StyleDeltaApplyLora").execute(base, lora, 1.0, 1.0).result[0]
    before = sample(base, "flux")
    assert sample(applied, "flux").isfinite().all() and not torch.equal(sample(applied, "flux"), before)
    # Nothing of the LoRA stays in the model.
    assert torch.equal(sample(base, "flux"), before)
    # What is added to a packed weight is not rounded: it is all there.
    again, _, _ = extract(host, applied, base, biases_and_norms=False)
    assert again.keys() == lora.keys()


@pytest.mark.parametrize(
    ("kind", "mode"), [*((kind, "automatic") for kind in KINDS), ("Q4_K", "bypass"), ("Q4_K", "bake")]
)
def test_a_stack_on_a_gguf_model_samples_as_on_the_unpacked_one(host, base_dir, kind, mode):
    model, wide = gguf_pack.computing(tiny_model("flux"), kind), tiny_model("flux")
    for name in packed_names(model):
        wide.model.get_parameter(name).data.copy_(gguf_pack.unpacked(model.model.get_parameter(name), kind))
    tensors = {}
    for name, weight in wide.model.diffusion_model.named_parameters():
        if weight.dim() == 2 and name.endswith(".weight"):
            layer = f"diffusion_model.{name.removesuffix('.weight')}"
            up, down = normal(f"up {name}", (weight.shape[0], 2), 0), normal(f"down {name}", (2, weight.shape[1]), 0)
            tensors[f"{layer}.lora_up.weight"] = 0.1 * up * weight.norm() / (up @ down).norm()
            tensors[f"{layer}.lora_down.weight"] = down
    path = Path(base_dir) / "models/loras/test_gguf_stack.safetensors"
    save_file(tensors, path)
    before, plain = sample(model, "flux"), sample(wide, "flux")
    torch.testing.assert_close(before, plain, rtol=1e-4, atol=1e-4)
    try:
        stack = host.node("StyleDeltaAddLora").execute(path.name, 0.8, 0.0, "all blocks", "").result[0]
        apply = host.node("StyleDeltaApplyLoraStack").execute
        ours, _, report = apply(model, stack, None, mode).result
        expected = sample(apply(wide, stack, None, "bake").result[0], "flux")
    finally:
        path.unlink()
    assert f"model: {len(tensors) // 2} weights" in report
    found = sample(ours, "flux")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - before).norm() > 0.01 * before.norm()
    # Nothing of the LoRA stays in the model.
    assert torch.equal(sample(model, "flux"), before)


@needs_pack
def test_patches_on_a_model_of_the_pack_are_those_of_the_host(host, by_pack, base_dir):
    """Also with block weights, which switch half of them off."""
    base = by_pack("stack", tiny_model("flux"), "Q8_0")
    lora, _, _ = extract(host, tuned("flux", rank=1, scale=CHANGE), base, biases_and_norms=False)
    path = Path(base_dir) / "models/loras/test_gguf.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(lora), path)
    try:
        stack = host.node("StyleDeltaAddLora").execute(path.name, 0.8, 0.0, "all blocks", "").result[0]
        ours = host.node("StyleDeltaApplyLoraStack").execute(base, stack).result[0]
        core = host.node("LoraLoaderModelOnly")().load_lora_model_only(base, path.name, 0.8)[0]
        assert ours.patches.keys() == core.patches.keys()
        assert torch.equal(sample(ours, "flux"), sample(core, "flux"))
        blocks = host.node("StyleDeltaAddLora").execute(path.name, 0.8, 0.0, "single blocks only", "").result[0]
        some = host.node("StyleDeltaApplyLoraStack").execute(base, blocks).result[0]
        assert some.patches.keys() == {name for name in core.patches if ".single_blocks." in name}
        assert len({float(sample(each, "flux").sum()) for each in (base, some, ours)}) == 3
    finally:
        path.unlink()


@needs_pack
def test_layers_are_swapped_from_and_into_a_model_of_the_pack(host, by_pack):
    plain, packed = tiny_model("flux"), by_pack("swap", tuned("flux", rank=0, scale=CHANGE), "Q8_0")
    weights = module(host, "nodes.host.weights")
    for target, other in ((plain, packed), (packed, plain)):
        swapped = host.node("StyleDeltaLayerSwap").execute(target, other, 1.0, "everything", "all blocks", "").result[0]
        read = weights.LoadedWeights("swapped", swapped, None).read(LAYER).value
        torch.testing.assert_close(read, weights.base_weight(other, LAYER), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sample(swapped, "flux"), sample(other, "flux"), rtol=2e-2, atol=2e-2)


@needs_pack
def test_a_file_of_full_size_by_the_packs_own_loader(host, written):
    """With convolutions in rows of 256, whose shape is kept beside them."""
    gguf_pack.load_pack(host)
    path = written("full", unet(), "Q4_K", "sd1")
    model = host.node("UnetLoaderGGUF")().load_unet(path.name)[0]
    weights, file = module(host, "nodes.host.weights"), module(host, "delta.files.checkpoint").Checkpoint(path)
    shapes, rows = weights.LoadedWeights("model", model, None).shapes, 0
    for name, weight in unet().items():
        read = weights.base_weight(model, f"{PREFIX}{name}")
        assert torch.equal(read, file.read(f"{PREFIX}{name}").value), name
        assert shapes[f"{PREFIX}{name}"] == tuple(weight.shape) == tuple(read.shape)
        if weight.dim() > 1:
            assert float((read - weight.float()).norm()) < 0.15 * float(weight.float().norm()), name
        rows += weight.dim() == 4 and not torch.equal(read, weight.float())
    assert rows > 10
