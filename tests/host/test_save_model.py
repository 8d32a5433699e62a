"""Models with LoRAs as files: what the host loads of them is the patched MODEL to rounding."""

import importlib
import json
import logging
import os
from pathlib import Path

import ggml
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import gguf_pack, layouts
from .demo_loras import LORAS
from .test_baked_adapters import dora, glora, named, oft, weight_of
from .test_baked_adapters import lora as lora_of
from .tiny_models import CONFIGS, sample, tiny_model, tuned

CHECKPOINT = "styledelta_demo_sd15.safetensors"
KEEP = "as the base has it"
DENOISER = "diffusion_model."
# Sizes from which ComfyUI tells a Wan model, with rows and columns that all quantised formats take.
WAN = CONFIGS["wan"] | {"dim": 256, "num_heads": 2, "ffn_dim": 512, "text_dim": 4096}
LINEAR = "blocks.0.self_attn.q"


def merge(host, base, rows=None, format_=KEEP, lora=None, strength=1.0):
    node = host.node("StyleDeltaMergeIntoModelFile")
    return node.execute(base, format_, "test_merged/file", strength, strength, rows, lora).result


def save(host, model, format_=KEEP, clip=None, vae=None):
    return host.node("StyleDeltaSaveModel").execute(model, "test_merged/model", format_, clip, vae).result


@pytest.fixture(autouse=True)
def outputs(base_dir):
    """The files that a test has written, which are removed after it."""
    folder = base_dir / "output/test_merged"
    yield folder
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink()


@pytest.fixture
def files(base_dir):
    """A function that writes tensors as a file in models/diffusion_models, and answers its name for the node."""
    written = []

    def write(tensors: dict[str, torch.Tensor], metadata=None, name: str = "base") -> str:
        path = base_dir / "models/diffusion_models" / f"test_merged_{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
        written.append(path)
        return f"diffusion_models/{path.name}"

    yield write
    for path in written:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def wan(host):
    """A small Wan model that ComfyUI recognises by its names, as tensors of a file."""
    description = layouts.describe(layouts.LAYOUTS["wan"], WAN)
    patcher = layouts.build(layouts.LAYOUTS["wan"], description=description)
    return {
        name.removeprefix(DENOISER): value
        for name, value in patcher.model.state_dict().items()
        if name.startswith(DENOISER)
    }


def load_diffusion_model(host, path):
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(path), {"dtype": torch.float32})


def patched(patcher) -> dict[str, torch.Tensor]:
    """The weights of a MODEL or CLIP with its patches, by the host's own functions; without the scales of quantised ones."""
    import comfy.lora
    import comfy.model_patcher

    patcher = getattr(patcher, "patcher", patcher)
    result = {}
    for name, _ in patcher.model.named_parameters():
        stored, _, convert = comfy.model_patcher.get_key_weight(patcher.model, name)
        weight = stored.detach().to(torch.float32, copy=True)
        weight = weight if convert is None else convert(weight, inplace=True)
        # Changes of weights of few bits are kept beside them.
        beside = (patcher.get_attachment("styledelta_beside") or {}).get(name, [])
        patches = [*patcher.patches.get(name, []), *beside]
        result[name] = comfy.lora.calculate_weight(patches, weight.clone(), name) if patches else weight
        if name in patcher.object_patches:
            result[name] = patcher.object_patches[name].detach().float()
    return result


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-30))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def lora_on(name: str, shape: tuple[int, ...], size: float = 0.05) -> dict[str, torch.Tensor]:
    return {
        f"diffusion_model.{name}.lora_up.weight": size * random(shape[0], 4),
        f"diffusion_model.{name}.lora_down.weight": random(4, shape[1]) / shape[1] ** 0.5,
    }


@pytest.fixture(scope="module")
def stack(host):
    """The demo's LoRAs, of one of them the middle block at a third."""
    add, (name, strength_model, strength_clip) = host.node("StyleDeltaAddLora").execute, LORAS[0]
    return add(name, strength_model, strength_clip, "all blocks", "middle=0.33, text=0.5", LORAS[1:])[0]


@pytest.fixture(scope="module")
def demo_patched(host, checkpoint, stack):
    """MODEL and CLIP of the demo with the stack, by Apply LoRA Stack."""
    return host.node("StyleDeltaApplyLoraStack").execute(checkpoint[0], stack, checkpoint[1]).result[:2]


def test_a_merged_checkpoint_is_the_patched_model(host, demo_patched, stack, base_dir):
    import comfy.sd

    path, report, plot = merge(host, f"checkpoints/{CHECKPOINT}", stack)
    assert "read back bit for bit; ComfyUI recognises it as SD15" in report and plot.dim() == 4
    base, new = base_dir / "models/checkpoints" / CHECKPOINT, Path(path)
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(path)
    assert vae is not None
    changed = 0
    for ours, theirs in ((model, demo_patched[0]), (clip, demo_patched[1])):
        expected, patches = patched(theirs), getattr(theirs, "patcher", theirs).patches
        for name, value in patched(ours).items():
            if "logit_scale" in name or "text_projection" in name:
                continue
            changed += name in patches
            # The file is in float16.
            assert relative(value, expected[name]) <= (2**-11 if name in patches else 0), name
    assert changed == 150 and f"rounded to float16: {changed} weights" in report
    with safe_open(base, framework="pt") as before, safe_open(new, framework="pt") as after:
        assert set(before.keys()) == set(after.keys())
        metadata = after.metadata()
        assert before.metadata().items() <= metadata.items()
        for name in before.keys():
            assert before.get_slice(name).get_dtype() == after.get_slice(name).get_dtype(), name
    recipe = json.loads(metadata["styledelta.recipe"])
    assert [source["name"] for source in recipe["sources"]] == [f"checkpoints/{CHECKPOINT}", *(row[0] for row in stack)]
    assert all(len(source["sha256"]) == 64 for source in recipe["sources"])


def test_a_saved_model_is_the_patched_model(host, demo_patched):
    import comfy.sd

    vae = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)[2]
    path, report, _ = save(host, demo_patched[0], clip=demo_patched[1], vae=vae)
    assert "read back as ComfyUI loads it" in report and "it recognises the file as SD15" in report
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(path)
    assert vae is not None
    for ours, theirs in ((model, demo_patched[0]), (clip, demo_patched[1])):
        expected = patched(theirs)
        for name, value in patched(ours).items():
            if "logit_scale" not in name and "text_projection" not in name:
                assert relative(value, expected[name]) <= 2**-11, name


@pytest.mark.parametrize("layout", ["flux"])
def test_a_saved_model_samples_as_the_patched_one(host, layout, outputs):
    """Loaded under the layout's own configuration: these small models are none that ComfyUI recognises. Core writes the same."""

    patcher = tiny_model(layout)
    lora = _lora_of_all(patcher)
    changed = host.node("StyleDeltaApplyLora").execute(patcher, lora, 0.7, 0.7).result[0]
    path, report, _ = save(host, changed)
    assert "read back as ComfyUI loads it: all 84 tensors" in report
    loaded = tiny_model(layout, seed=1)
    loaded.model.load_model_weights(load_file(path), "model.diffusion_model.")
    expected = patched(changed)
    for name, value in patched(loaded).items():
        if name.startswith(DENOISER):
            assert torch.equal(value, expected[name]), name
    difference, size = (
        (sample(loaded, layout) - sample(changed, layout)).abs().max(),
        sample(patcher, layout).abs().max(),
    )
    assert difference <= 1e-5 * size


def _lora_of_all(patcher) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, weight in patcher.model.diffusion_model.named_parameters():
        if weight.dim() == 2 and name.endswith(".weight"):
            tensors |= lora_on(name.removesuffix(".weight"), weight.shape)
    return tensors


needs_ggml = pytest.mark.skipif(ggml.library() is None, reason=ggml.ABSENT)


@needs_ggml
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K"])
@pytest.mark.parametrize("format_", ["float16", "bfloat16", "float32"])
def test_a_saved_gguf_model_holds_the_unpacked_weights_with_the_lora(host, kind, format_):
    dtype = getattr(torch, format_)
    model = gguf_pack.in_gguf(tiny_model("flux"), kind)
    packed, lora = gguf_pack.packed_names(model), _lora_of_all(tiny_model("flux"))
    # The same weights without the packing.
    wide = tiny_model("flux")
    for name in packed:
        plain = wide.model.get_parameter(name)
        plain.data.copy_(ggml.dequantised(ggml.quantised(plain.data, kind), kind))
    apply = host.node("StyleDeltaApplyLora").execute
    changed, expected = (apply(each, lora, 0.7, 0.7).result[0] for each in (model, wide))
    path, report, _ = save(host, changed, format_)
    assert f"unpacked from {kind} of GGUF: {len(packed)} weights" in report and len(packed) > 3
    saved, meant, by_wide = load_file(path), patched(expected), load_file(save(host, expected, format_)[0])
    assert saved.keys() == by_wide.keys()
    for name, value in saved.items():
        own = name.removeprefix("model.")
        assert (
            value.dtype == dtype and torch.equal(value, meant[own].to(dtype)) and torch.equal(value, by_wide[name])
        ), name


@needs_ggml
def test_a_gguf_model_is_not_saved_as_the_base_has_it(host, outputs):
    model = gguf_pack.in_gguf(tiny_model("flux"), "Q8_0")
    with pytest.raises(ValueError, match="is packed as Q8_0 of GGUF, which is not written. Choose float16 or bfloat16"):
        save(host, model)
    assert not outputs.is_dir() or not os.listdir(outputs)


@needs_ggml
@pytest.mark.skipif(not gguf_pack.PACK, reason=gguf_pack.ABSENT)
def test_a_model_of_the_pack_is_saved_under_its_names(host, tmp_path):
    """With what the pack puts among its names in place of weights."""
    weights = {
        name.removeprefix(DENOISER): value
        for name, value in tiny_model("flux").model.state_dict().items()
        if name.startswith(DENOISER)
    }
    model = gguf_pack.small_model(host, "flux", gguf_pack.write_model(tmp_path / "model.gguf", weights, "Q8_0", "flux"))
    saved = load_file(save(host, model, "float16")[0])
    plain = load_file(save(host, tiny_model("flux"), "float16")[0])
    assert {name: value.shape for name, value in saved.items()} == {name: value.shape for name, value in plain.items()}
    for name, value in saved.items():
        assert relative(value, plain[name]) < 0.01, name


def test_a_model_that_is_loaded_with_its_patches_is_saved_as_well(host):
    import comfy.model_management

    model = tiny_model("flux")
    changed = host.node("StyleDeltaApplyLora").execute(model, _lora_of_all(model), 0.7, 0.7).result[0]
    first = save(host, changed)[0]
    comfy.model_management.load_models_gpu([changed], force_patch_weights=True)
    try:
        assert bytes_of(save(host, changed)[0]) == bytes_of(first)
        # Another clone of the model, without patches, is not what is in memory.
        plain = load_file(save(host, model)[0])
    finally:
        comfy.model_management.unload_all_models()
    prefix = "model.diffusion_model."
    for name, value in model.model.diffusion_model.state_dict().items():
        assert torch.equal(plain[prefix + name], value), name


def every_kind() -> dict[str, torch.Tensor]:
    """An adapter of each kind of the host's, each on a linear layer of 256 x 256 of its own; biases and norms."""
    size, block = 256, "diffusion_model.blocks."
    third = 0.05
    return {
        **lora_on("blocks.0.self_attn.q", (size, size)),
        f"{block}0.self_attn.q.dora_scale": 1 + 0.1 * random(1, size).abs(),
        f"{block}0.self_attn.q.alpha": torch.tensor(2.0),
        f"{block}0.self_attn.k.hada_w1_a": third * random(size, 2, seed=1),
        f"{block}0.self_attn.k.hada_w1_b": random(2, size, seed=2),
        f"{block}0.self_attn.k.hada_w2_a": third * random(size, 2, seed=3),
        f"{block}0.self_attn.k.hada_w2_b": random(2, size, seed=4),
        f"{block}0.self_attn.v.lokr_w1": third * random(16, 16, seed=5),
        f"{block}0.self_attn.v.lokr_w2": third * random(16, 16, seed=6),
        f"{block}0.self_attn.o.a1.weight": third * random(4, size, seed=7),
        f"{block}0.self_attn.o.a2.weight": third * random(size, 4, seed=8),
        f"{block}0.self_attn.o.b1.weight": third * random(4, size, seed=9),
        f"{block}0.self_attn.o.b2.weight": third * random(size, 4, seed=10),
        f"{block}1.self_attn.q.oft_blocks": third * random(4, 64, 64, seed=11),
        f"{block}1.self_attn.q.alpha": torch.tensor(0.1),
        f"{block}1.self_attn.k.oft_blocks": third * random(2, 4, 64, 64, seed=12),
        f"{block}1.self_attn.k.alpha": torch.tensor(0.1),
        f"{block}1.self_attn.v.diff": third * random(size, size, seed=13),
        f"{block}1.self_attn.v.diff_b": third * random(size, seed=14),
        f"{block}1.self_attn.o.set_weight": third * random(size, size, seed=15),
        f"{block}1.norm3.w_norm": third * random(size, seed=16),
        f"{block}1.norm3.b_norm": third * random(size, seed=17),
        # ComfyUI takes patches of this table and never applies them; Apply LoRA Model replaces it.
        f"{block}1.modulation.diff": third * random(1, 6, size, seed=18),
    }


def test_every_kind_of_adapter_is_merged(host, files, wan, outputs):
    base, lora = files(wan), every_kind()
    path, report, _ = merge(host, base, lora=lora, strength=0.7)
    assert "matched nothing" not in report
    model = load_diffusion_model(host, _path_of(base))
    changed = host.node("StyleDeltaApplyLora").execute(model, lora, 0.7, 0.7).result[0]
    expected, plain = patched(changed), patched(model)
    found = patched(load_diffusion_model(host, path))
    assert found.keys() == expected.keys()
    moved = {name for name in found if not torch.equal(expected[name], plain[name])}
    assert len(moved) == 12
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
    ours, theirs, before = (wan_sample(each) for each in (load_diffusion_model(host, path), changed, model))
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert (before - theirs).abs().max() > 1e-3 * theirs.abs().max()


def wan_sample(patcher) -> torch.Tensor:
    """A latent after two steps of the host's sampler."""
    import comfy.model_management
    import comfy.sample

    noise, context = random(1, 16, 1, 8, 8), [[random(1, 8, 4096), {}]]
    result = comfy.sample.sample(
        patcher, noise, 2, 1.0, "euler", "simple", context, context, torch.zeros_like(noise), disable_pbar=True, seed=0
    )
    comfy.model_management.unload_all_models()
    return result


def _path_of(name: str) -> str:
    import folder_paths

    folder, _, file = name.partition("/")
    return folder_paths.get_full_path_or_raise(folder, file)


def quantised(host, tensors: dict[str, torch.Tensor], kind: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file with the linear layers of its blocks in this format, and the file's metadata."""
    found, layers = {}, {}
    for name, weight in tensors.items():
        module, _, last = name.rpartition(".")
        # The host loads all linear layers of a scaled file so.
        in_blocks = name.startswith("blocks.") or kind in ("fp8", "scaled fp8")
        if weight.dim() != 2 or last != "weight" or not in_blocks:
            found[name] = weight
        elif kind == "fp8":
            found[name] = weight.to(torch.float8_e4m3fn)
        elif kind == "scaled fp8":
            scale = weight.abs().max() / 448
            found |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{module}.scale_weight": scale}
        elif kind == "fp8 layers":
            scale = weight.abs().max() / 448
            found |= {name: (weight / scale).to(torch.float8_e4m3fn), f"{module}.weight_scale": scale}
            layers[module] = {"format": "float8_e4m3fn"}
        else:
            import comfy.quant_ops

            layout = comfy.quant_ops.QUANT_ALGOS[kind]["comfy_tensor_layout"]
            found |= comfy.quant_ops.QuantizedTensor.from_float(weight, layout, scale="recalculate").state_dict(name)
            found[f"{module}.comfy_quant"] = torch.tensor(
                list(json.dumps({"format": kind}).encode()), dtype=torch.uint8
            )
    if kind == "scaled fp8":
        found["scaled_fp8"] = torch.empty(0, dtype=torch.float8_e4m3fn)
    return found, {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})} if layers else {}


# The error that rounding to the format may make of a weight's norm: half a step beside numbers of about its size.
FORMATS = {
    "fp8": 0.04,
    "scaled fp8": 0.04,
    "fp8 layers": 0.04,
    "int8_tensorwise": 0.02,
    "mxfp8": 0.04,
    "nvfp4": 0.13,
    "convrot_w4a4": 0.15,
    "asym_w4a8_int8": 0.15,
}


def skip_unknown(kind: str) -> None:
    import comfy.quant_ops

    if "fp8" not in kind.split("_")[0] and kind not in comfy.quant_ops.QUANT_ALGOS:
        pytest.skip(f"This host does not know the format {kind}.")
    if kind == "mxfp8" and kind not in comfy.quant_ops.QUANT_ALGOS:
        pytest.skip("This host does not know the format mxfp8.")


@pytest.mark.parametrize("way", ["file", "model"])
@pytest.mark.parametrize("kind", FORMATS)
def test_quantised_layers_stay_quantised(host, files, wan, kind, way):
    skip_unknown(kind)
    tensors, metadata = quantised(host, wan, kind)
    base, lora = files(tensors, metadata), lora_on(LINEAR, (256, 256), size=0.5)
    model = load_stored(_path_of(base), kind)
    plain = patched(model)
    changed = host.node("StyleDeltaApplyLora").execute(model, lora, 1.0, 1.0).result[0]
    path, report, _ = merge(host, base, lora=lora) if way == "file" else save(host, changed)
    assert "rounded to" in report and f"most at diffusion_model.{LINEAR}.weight" in report
    found, expected = patched(load_stored(path, kind)), patched(changed)
    target = f"diffusion_model.{LINEAR}.weight"
    error = relative(found[target], expected[target])
    assert 0 < error <= FORMATS[kind] and relative(plain[target], expected[target]) > 3 * error
    for name, value in found.items():
        assert name.startswith(target.removesuffix("weight")) or torch.equal(value, plain[name]), name
    if way == "file":
        ours, before = (bytes_of(file) for file in (path, _path_of(base)))
        changed_names = {name for name, value in before.items() if ours[name] != value}
        assert ours.keys() == before.keys() and f"{LINEAR}.weight" in changed_names
        assert all(name.startswith(f"{LINEAR}.weight") or name == f"{LINEAR}.scale_weight" for name in changed_names)


def load_stored(path, kind=""):
    """A diffusion model as the host loads it by itself, in the types of the file; of plain numbers it must be told."""
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(path), {"dtype": torch.float8_e4m3fn} if kind == "fp8" else {})


def bytes_of(path) -> dict[str, tuple]:
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: (
            entry["dtype"],
            entry["shape"],
            content[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


# By diffusers' names, which stand for slices of SD3's fused weights; and a whole weight.
SLICES = tuple(f"transformer.transformer_blocks.0.attn.{part}" for part in ("to_q", "to_v", "add_k_proj"))
WHOLE = "diffusion_model.joint_blocks.0.x_block.mlp.fc1"


@pytest.fixture(scope="module")
def sd3(host):
    """A small SD3 that ComfyUI recognises by its names, as tensors of a file: it has as many blocks as 64 go into its width."""
    patcher = layouts.build(layouts.LAYOUTS["sd3"])
    return {
        name.removeprefix(DENOISER): value
        for name, value in patcher.model.state_dict().items()
        if name.startswith(DENOISER)
    }


@pytest.mark.parametrize("way", ["file", "model"])
@pytest.mark.parametrize("kind", [lora_of, dora, oft, glora], ids=lambda kind: kind.__name__)
def test_changes_of_slices_of_quantised_weights_are_merged(host, files, sd3, kind, way):
    """As float32, so that nothing but the change is seen."""
    tensors, metadata = quantised(host, sd3, "scaled fp8")
    base = files(tensors, metadata)
    model = load_stored(_path_of(base))
    lora = {}
    for layer in (*SLICES, WHOLE):
        lora |= named(layer, kind(*weight_of(model, layer)[1].shape))
    changed = host.node("StyleDeltaApplyLora").execute(model, lora, 0.3, 1.0).result[0]
    path, report, _ = (
        merge(host, base, lora=lora, strength=0.3, format_="float32")
        if way == "file"
        else save(host, changed, "float32")
    )
    assert "matched nothing" not in report
    written, expected, plain = load_file(path), patched(changed), patched(model)
    moved = {
        f"{DENOISER}joint_blocks.0.{name}.weight"
        for name in ("x_block.attn.qkv", "context_block.attn.qkv", "x_block.mlp.fc1")
    }
    own = {f"{DENOISER}{name.removeprefix('model.').removeprefix(DENOISER)}": value for name, value in written.items()}
    for name, value in expected.items():
        if name in own and name.endswith(".weight"):
            assert relative(own[name], value) <= 1e-6, name
            assert (relative(own[name], plain[name]) > 1e-3) == (name in moved), name


@pytest.mark.parametrize("kind", ["scaled fp8", "fp8 layers", "nvfp4"])
def test_a_quantised_file_becomes_a_float_one(host, files, wan, kind):
    skip_unknown(kind)
    tensors, metadata = quantised(host, wan, kind)
    base, lora = files(tensors, metadata), lora_on(LINEAR, (256, 256), size=0.5)
    expected = patched(host.node("StyleDeltaApplyLora").execute(load_stored(_path_of(base)), lora, 1.0, 1.0).result[0])
    path, report, _ = merge(host, base, lora=lora, format_="bfloat16")
    written = load_file(path)
    assert written.keys() == wan.keys() and all(value.dtype == torch.bfloat16 for value in written.values())
    with safe_open(path, framework="pt") as file:
        assert "_quantization_metadata" not in file.metadata()
    for name, value in written.items():
        # The host may load biases in fewer bits.
        if name.endswith(".weight"):
            assert relative(value, expected[DENOISER + name]) <= 2**-8, name


def test_a_format_that_the_host_lacks_is_refused(host, files, wan):
    tensors = wan | {f"{LINEAR}.comfy_quant": torch.tensor(list(b'{"format": "of_tomorrow"}'), dtype=torch.uint8)}
    tensors[f"{LINEAR}.weight"] = torch.zeros(256, 128, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match=rf"{LINEAR}.weight is stored as of_tomorrow, which this version of ComfyUI does not know"
    ):
        merge(host, files(tensors), lora=lora_on(LINEAR, (256, 256)))


def test_a_lora_of_another_model_is_refused(host, files, wan):
    name = "styledelta_demo_kohya.safetensors"
    with pytest.raises(
        ValueError, match=f"{name} does not fit test_merged_base.safetensors: none of its .* the file is a WAN21"
    ):
        merge(host, files(wan), [(name, 1.0, 1.0)])


def test_what_would_do_nothing_is_refused(host, files, wan):
    base, lora = files(wan), lora_on(LINEAR, (256, 256))
    with pytest.raises(ValueError, match="No LoRA is connected"):
        merge(host, base)
    with pytest.raises(ValueError, match="switch off all layers"):
        merge(host, base, lora=lora, strength=0.0)


@pytest.mark.parametrize("bad", ["base", "lora", "elsewhere"])
def test_nan_is_named(host, files, wan, bad, outputs):
    tensors, lora = dict(wan), lora_on(LINEAR, (256, 256))
    broken = {"base": f"{LINEAR}.weight", "elsewhere": "blocks.1.ffn.0.weight"}.get(bad)
    if broken:
        tensors[broken] = tensors[broken].clone()
        tensors[broken][3, 3] = float("nan")
    else:
        broken = f"{LINEAR}.weight"
        lora[f"diffusion_model.{LINEAR}.lora_up.weight"][0, 0] = float("inf")
    with pytest.raises(ValueError, match=f"{broken} holds NaN or infinite values"):
        merge(host, files(tensors), lora=lora)
    assert not outputs.is_dir() or not os.listdir(outputs)


def test_values_too_large_for_a_type_are_named(host, files, wan, outputs):
    lora = lora_on(LINEAR, (256, 256), size=1e6)
    with pytest.raises(ValueError, match=rf"{LINEAR}.weight holds values up to .*, too large for float16"):
        merge(host, files(wan), lora=lora, format_="float16")
    assert not os.listdir(outputs)


def unfinished(host) -> list[Path]:
    import folder_paths

    return list(Path(folder_paths.get_user_directory(), "styledelta_unfinished").glob("*/model.*"))


def cancelled(monkeypatch, at: int, run) -> None:
    import comfy.model_management

    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == at:
            raise comfy.model_management.InterruptProcessingException

    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run()


def test_an_interrupted_merge_goes_on(host, files, wan, outputs, monkeypatch):
    base, lora = files(wan), lora_on(LINEAR, (256, 256))
    cancelled(monkeypatch, 30, lambda: merge(host, base, lora=lora))
    assert not os.listdir(outputs) and len(unfinished(host)) == 2
    # Another run has another folder, and does not go on with this one.
    other = merge(host, base, lora=lora, strength=0.5)
    assert "interrupted" not in other[1]
    path, report, _ = merge(host, base, lora=lora)
    assert "resumed an interrupted run" in report and not unfinished(host)
    assert bytes_of(path) == bytes_of(merge(host, base, lora=lora)[0])


def test_cancel_leaves_nothing_of_a_saved_model(host, outputs, monkeypatch):
    cancelled(monkeypatch, 30, lambda: save(host, tiny_model("flux")))
    assert not os.listdir(outputs) and not unfinished(host)


def test_layers_by_bypass_and_hooks_are_refused(host):
    model = tiny_model("flux")
    model.set_injections("bypass_lora", [object()])
    with pytest.raises(ValueError, match="LoRAs applied by bypass"):
        save(host, model)


def test_what_is_no_model_is_refused(host, files, base_dir):
    with pytest.raises(ValueError, match="is not a model; it is a LoRA"):
        merge(host, files(lora_on(LINEAR, (256, 256)), name="lora"), lora=lora_on(LINEAR, (256, 256)))
    with pytest.raises(ValueError, match="cannot build a diffusion model"):
        merge(host, files({"some.weight": torch.zeros(3, 3)}, name="other"), lora=lora_on(LINEAR, (256, 256)))
    gguf = base_dir / "models/diffusion_models/test_merged.gguf"
    gguf.write_bytes(b"GGUF")
    try:
        with pytest.raises(ValueError, match="GGUF"):
            merge(host, f"diffusion_models/{gguf.name}", lora=lora_on(LINEAR, (256, 256)))
    finally:
        gguf.unlink()


def test_fused_names_of_a_text_encoder_are_traced_both_ways(host):
    """SDXL's second text encoder keeps query, key and value in one tensor of the file, and its projection turned."""
    import comfy.supported_models

    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    expression = importlib.import_module(f"{pack}.delta.model_file.expression")
    config = comfy.supported_models.SDXL(CONFIGS["sdxl"])
    layer = "clip_g.transformer.text_model.encoder.layers.0.self_attn"
    own = {
        f"{layer}.{part}_proj.{end}": random(8, 8, seed=i)[: 8 if end == "weight" else 1].squeeze(0)
        for i, part in enumerate("qkv")
        for end in ("weight", "bias")
    }
    own["clip_g.transformer.text_projection.weight"] = random(8, 6)
    leaves = {name: expression.leaf(name, value.dtype, tuple(value.shape)) for name, value in own.items()}
    expected = config.process_clip_state_dict_for_saving(dict(own))
    with expression.Traced():
        saved = config.process_clip_state_dict_for_saving(dict(leaves))
    assert saved.keys() == expected.keys()
    values = {
        name: expression.evaluate(value, own) if isinstance(value, expression.Expression) else value
        for name, value in saved.items()
    }
    assert all(torch.equal(value, expected[name]) for name, value in values.items())
    fused = next(name for name in values if name.endswith("attn.in_proj_weight"))
    again = {name: expression.leaf(name, value.dtype, tuple(value.shape)) for name, value in values.items()}
    with expression.Traced():
        read = config.process_clip_state_dict(again)
    name = f"{layer}.k_proj.weight"
    group = expression.Group(
        {key: value for key, value in read.items() if fused in expression.leaves(value)}, {fused: values[fused]}
    )
    group.change(name, lambda value: value + 1)
    changed = expected[fused].clone()
    changed[8:16] += 1
    assert torch.equal(group.values()[fused], changed)


def test_errors_of_the_host_are_no_results(host, files, wan, caplog):
    """The host logs what it cannot apply and goes on."""
    lora = {f"diffusion_model.{LINEAR}.lokr_w1": random(16, 16), f"diffusion_model.{LINEAR}.lokr_w2": random(15, 16)}
    with caplog.at_level(logging.CRITICAL), pytest.raises(ValueError, match=LINEAR):
        merge(host, files(wan), lora=lora)


# The choice of attention that model files and LoRAs of newer ComfyUIs carry: JSON as bytes, no weight.
CHOICE = "blocks.0.self_attn.comfy_attention.config"
BYTES = torch.tensor(list(json.dumps({"attention": "comfy_kitchen_int8"}).encode()), dtype=torch.uint8)


class Choice(torch.nn.Module):
    """As that of newer hosts: in the state dict without a parameter; here it stands in a model of any host."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        destination[f"{prefix}config"] = BYTES


def choosing(patcher):
    patcher.model.diffusion_model.blocks[0].self_attn.comfy_attention = Choice()
    assert f"diffusion_model.{CHOICE}" in patcher.model.state_dict()
    return patcher


@pytest.fixture
def chosen():
    return choosing(tiny_model("wan"))


def a_lora(patcher) -> dict[str, torch.Tensor]:
    return lora_on(LINEAR, patcher.model.diffusion_model.get_parameter(f"{LINEAR}.weight").shape)


def test_a_model_that_chooses_is_patched_and_saved(host, chosen):
    lora = a_lora(chosen)
    changed, _, report = host.node("StyleDeltaApplyLora").execute(chosen, lora, 1.0, 1.0).result
    assert f"diffusion_model.{LINEAR}.weight" in changed.patches and "matched nothing" not in report
    saved = load_file(save(host, changed)[0])
    assert torch.equal(saved[f"model.diffusion_model.{CHOICE}"], BYTES)
    assert torch.equal(
        saved[f"model.diffusion_model.{LINEAR}.weight"], patched(changed)[f"diffusion_model.{LINEAR}.weight"]
    )


def test_models_that_choose_are_compared_weight_by_weight(host, chosen):
    node = host.node("StyleDeltaExtractLora")
    lora, report, _ = node.execute(choosing(tuned("wan")), chosen, 4, 4, True, True, "cpu").result
    assert "config" not in report and not any("config" in name for name in lora)
    assert "names proven" in report


def test_a_choice_in_a_lora_is_named_and_its_layers_are_applied(host):
    model = tiny_model("wan")
    lora = a_lora(model) | {f"diffusion_model.{CHOICE}": BYTES}
    changed, _, report = host.node("StyleDeltaApplyLora").execute(model, lora, 0.5, 1.0).result
    assert f"diffusion_model.{LINEAR}.weight" in changed.patches
    assert CHOICE in report


def test_model_files_that_choose_are_merged_and_compared(host, files, wan, base_dir):
    base = files(wan | {CHOICE: BYTES})
    path, report, _ = merge(host, base, lora=lora_on(LINEAR, wan[f"{LINEAR}.weight"].shape))
    merged = load_file(path)
    assert torch.equal(merged[CHOICE], BYTES) and not torch.equal(merged[f"{LINEAR}.weight"], wan[f"{LINEAR}.weight"])

    other = torch.zeros(9, dtype=torch.uint8)
    name = files(merged | {CHOICE: other}, name="tuned")
    lora, report, _ = host.node("StyleDeltaExtractLoraFiles").execute(name, base, 4, 4, True, True, "cpu", False).result
    assert {key.partition(".")[0] for key in lora} == {f"lora_unet_{LINEAR.replace('.', '_')}"}
