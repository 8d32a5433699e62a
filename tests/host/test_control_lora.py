"""Control-LoRAs on the real host: what is extracted, resized and baked sends to a model what the full net sends."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import ggml
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import gguf_pack, layouts, tiny_controls, tiny_models
from .tiny_models import normal, tiny_model

LAYOUTS = ("sd15", "sdxl")
PREFIX = "diffusion_model."
OWN = ("input_hint_block.", "zero_convs.", "middle_block_out.")


@pytest.fixture(scope="module", autouse=True)
def caches(host):
    """The models of this file; the host cannot take them apart after its own end."""
    yield
    base_model.cache_clear()


@functools.cache
def base_model(layout: str) -> Any:
    return tiny_model(layout, channels=32)


def base_weights(layout: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(PREFIX): w for name, w in base_model(layout).model.state_dict().items() if PREFIX in name}


def full_net(layout: str, rank: int = 0, scale: float = 0.1, base: dict | None = None) -> dict[str, torch.Tensor]:
    """A net trained from the base: every weight of the encoder moved, matrices by an update of this rank or of full rank."""
    net = tiny_controls._filled(tiny_controls._network(layout, model_channels=32), 5)
    tensors = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    for name, weight in (base or base_weights(layout)).items():
        if name in tensors:
            update = tiny_models._update(f"control.{name}", weight.shape, rank, 1)
            tensors[name] = weight + update * (scale * weight.norm() / update.norm())
    return tensors


def as_net(layout: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A CONTROL_NET of a full net's tensors."""
    import comfy.controlnet

    network = tiny_controls._network(layout, model_channels=32)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def load(path: str | Path) -> Any:
    """A Control-LoRA file through the host's own loader."""
    import comfy.controlnet

    net = comfy.controlnet.load_controlnet(str(path))
    assert isinstance(net, comfy.controlnet.ControlLora)
    return net


def outputs(net: Any, layout: str, model: Any = None) -> torch.Tensor:
    """All that a net sends to a model at one noise level, in one row."""
    inner = (model or base_model(layout)).model
    own = net.copy().set_cond_hint(tiny_controls.hint(layout).movedim(-1, 1), 1.0, (0.0, 1.0))
    own.pre_run(inner, inner.model_sampling.percent_to_sigma)
    cond = {"c_crossattn": normal("context", (1, 8, tiny_models.CONTEXT_DIM), 0)}
    if layout == "sdxl":
        cond["y"] = normal("pooled", (1, 2816), 0)
    with torch.no_grad():
        control = own.get_control(normal("latent", (1, 4, 16, 16), 0), torch.tensor([3.0]), cond, 1, {})
    own.cleanup()
    return torch.cat([x.flatten() for rows in control.values() for x in rows if x is not None]).double()


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).norm() / expected.norm())


@pytest.fixture
def files(base_dir):
    """A function that writes a file of tensors into a model folder, and answers its name for the nodes."""
    written = []

    def write(folder: str, name: str, tensors: dict[str, torch.Tensor]) -> str:
        path = base_dir / "models" / folder / f"test_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if path.suffix == ".safetensors":
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        else:
            torch.save(tensors, path)
        written.append(path)
        return path.name

    yield write
    for path in [*written, *(base_dir / "output/controlnet").glob("test_*")]:
        path.unlink(missing_ok=True)


@pytest.fixture
def pair(files):
    """A function that writes a net and its base, and answers the names of both."""

    def write(
        layout: str, net: dict[str, torch.Tensor], base: dict[str, torch.Tensor] | None = None, form="safetensors"
    ):
        model = {f"model.{PREFIX}{name}": weight for name, weight in (base or base_weights(layout)).items()}
        return files("controlnet", f"net.{form}", net), "checkpoints/" + files("checkpoints", "base.safetensors", model)

    return write


def extract(host, names, rank=0, policy=None, precision="float32", **settings):
    """path, report and plot of Extract Control-LoRA."""
    options = {"conv_rank": 0, "ignore_noise": False, "device": "cpu"} | settings
    node = host.node("StyleDeltaExtractControlLora")
    prefix = "controlnet/test_lora"
    return node.execute(
        *names, rank, precision=precision, filename_prefix=prefix, rank_policy=policy, **options
    ).result[1:]


def policy(host, mode: str, value: float):
    return host.node("StyleDeltaRankPolicy").execute(mode, value, 0.0)[0]


def published(path: str | Path) -> str:
    """The name for the nodes of a file in the output folder."""
    import folder_paths

    folder_paths.filename_list_cache.clear()
    return Path(path).name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rank", [0, 6])
def test_nothing_is_lost_where_the_rank_holds_the_whole_difference(host, pair, layout, rank):
    net = full_net(layout, rank)
    path, report, plot = extract(host, pair(layout, net), rank)
    assert relative(outputs(load(path), layout), outputs(as_net(layout, net), layout)) <= 5e-6
    written = load_file(path)
    assert any(name.endswith(".up") for name in written) == bool(rank)
    assert plot.dim() == 4 and "WARNING" not in report.replace("WARNING: the spectrum is flat", "")
    half = outputs(load(extract(host, pair(layout, net), rank, precision="float16")[0]), layout)
    if rank:
        assert relative(half, outputs(as_net(layout, net), layout)) <= 1e-3
    else:
        # Everything is stored whole, and rounded as in the full net in float16.
        rounded = {name: weight.half() for name, weight in net.items()}
        assert relative(half, outputs(as_net(layout, rounded), layout)) <= 5e-6


def inpainting_model(layout: str) -> Any:
    """The tiny model with 9 channels in front, as those for inpainting have."""
    from comfy.model_patcher import ModelPatcher

    config = tiny_models.model_config(layout, 32)
    config.unet_config["in_channels"] = 9
    model = config.get_model({}, device=torch.device("cpu"))
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            weight.copy_(layouts.initial(name, weight.shape, 0))
    return ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_base_for_inpainting_works_to_extract_and_to_sample(host, pair, layout):
    model = inpainting_model(layout)
    base = {n.removeprefix(PREFIX): w for n, w in model.model.state_dict().items() if n.startswith(PREFIX)}
    assert base["input_blocks.0.0.weight"].shape[1] == 9
    ours = {name: weight for name, weight in base.items() if name != "input_blocks.0.0.weight"}
    net = full_net(layout, 6, base=ours)
    path, _, _ = extract(host, pair(layout, net, base), 6)
    assert relative(outputs(load(path), layout, model), outputs(as_net(layout, net), layout)) <= 5e-6
    node = host.node("StyleDeltaCompareControl").execute
    report = node(load(path), as_net(layout, net), model, tiny_controls.hint(layout)).result[1]
    assert float(re.search(r"all control outputs: (\S+)", report)[1]) <= 5e-6


def steep(update: torch.Tensor) -> torch.Tensor:
    """A matrix with the directions of another, whose singular values fall as 1, 1/2, 1/3 and so on."""
    u, values, v = torch.linalg.svd(update.flatten(1), full_matrices=False)
    return (u * (values[0] / torch.arange(1, len(values) + 1)) @ v).reshape(update.shape)


def trained(layout: str, spectrum: str) -> dict[str, torch.Tensor]:
    """A net whose matrices moved by an update of a flat or a steep spectrum."""
    net, base = full_net(layout, 0, 0.05), base_weights(layout)
    if spectrum == "steep":
        for name in (name for name in net.keys() & base.keys() if net[name].dim() > 1):
            update, moved = net[name] - base[name], steep(net[name] - base[name])
            net[name] = base[name] + moved * (update.norm() / moved.norm())
    return net


def test_the_output_lacks_about_what_the_report_says(host, pair):
    """Predicted: the relative error of the weights' change; measured: what the outputs lack of all that training changed."""
    points: dict[str, list[tuple[float, float]]] = {}
    for layout, spectrum in itertools.product(LAYOUTS, ("flat", "steep")):
        net = trained(layout, spectrum)
        names, expected = pair(layout, net), outputs(as_net(layout, net), layout)
        untrained = net | {n: w for n, w in base_weights(layout).items() if n in net and w.dim() > 1}
        effect = float((outputs(as_net(layout, untrained), layout) - expected).norm())
        row = points.setdefault(f"{layout}, {spectrum} spectrum", [])
        for asked in (0.1, 0.2, 0.4, 0.6, 0.8):
            path, report, _ = extract(host, names, policy=policy(host, "error", asked))
            predicted = float(re.search(r"overall relative error: (\S+)", report)[1])
            summary = json.loads(safe_open(path, "pt").metadata()["styledelta.control_lora"])
            assert predicted <= asked and summary["relative_residual"] == pytest.approx(predicted, rel=0.01)
            assert len(summary["base"]["sha256"]) == 64 and "layers_by_rank" in summary
            row.append((predicted, float((outputs(load(path), layout) - expected).norm()) / effect))
    pack = host.node("StyleDeltaCompareControl").__module__.rpartition(".nodes.")[0]
    plots = importlib.import_module(f"{pack}.delta.charts.plots")
    title = "What a Control-LoRA lacks of a net's training"
    lines = points | {"as predicted": [(0.0, 0.0), (0.8, 0.8)]}
    picture = plots.curves(lines, title, "predicted: relative error of the weights", "measured: of the outputs")
    folder = Path(__file__).resolve().parents[2] / "demo_output"
    folder.mkdir(exist_ok=True)
    Image.fromarray((picture[0] * 255).round().to(torch.uint8).numpy()).save(folder / "control_lora_error.png")
    # A network of many layers is not linear in its weights.
    assert all(0.5 * x <= y <= 1.5 * x + 1e-5 for row in points.values() for x, y in row)


def diffusers_names(layout: str, names) -> dict[str, str]:
    """ComfyUI's name of every tensor of a net to the one that diffusers gives it, by the host's own tables."""
    import comfy.utils

    config = dict(tiny_models.model_config(layout, 32).unet_config)
    ours = {
        comfy_name: name for name, comfy_name in comfy.utils.unet_to_diffusers(config).items() if "class_" not in name
    }
    found = {}
    for name in names:
        parts = name.split(".")
        if name.startswith("zero_convs."):
            found[name] = f"controlnet_down_blocks.{parts[1]}.{parts[-1]}"
        elif name.startswith("middle_block_out."):
            found[name] = f"controlnet_mid_block.{parts[-1]}"
        elif name.startswith("input_hint_block."):
            number = int(parts[1]) // 2
            inner = {0: "conv_in", 7: "conv_out"}.get(number, f"blocks.{number - 1}")
            found[name] = f"controlnet_cond_embedding.{inner}.{parts[-1]}"
        else:
            found[name] = ours[name]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rank", [6, 34])
def test_diffusers_loads_the_file(host, pair, layout, rank):
    from . import diffusers_peer

    net, base = full_net(layout, rank), base_weights(layout)
    path = extract(host, pair(layout, net), rank)[0]
    written = load_file(path)
    factors = {name.removesuffix(".up") for name in written if name.endswith(".up")}
    # The higher rank stores whole what is narrow.
    assert factors and (rank == 6 or any(name.endswith("attn1.to_q.weight") for name in written))
    names = diffusers_names(layout, net)
    theirs = {names[name]: weight for name, weight in base.items() if name in names}
    loaded = diffusers_peer.effective_weights(diffusers_peer.control_net(layout, theirs, path))
    assert loaded.keys() == set(names.values())
    for name, weight in net.items():
        layer, _, ending = name.rpartition(".")
        # Diffusers drops the biases of layers with factors, which the help page says.
        expected = base[name] if ending == "bias" and layer in factors else weight
        found = loaded[names[name]].double().reshape(expected.shape)
        assert relative(found, expected.double()) <= 1e-5, name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_naming_and_file_type_gives_the_same_file(host, pair, layout):
    net = full_net(layout, 4)
    expected = load_file(extract(host, pair(layout, net), 4)[0])
    renamed = diffusers_names(layout, net)
    variants = [
        ({renamed[name]: weight for name, weight in net.items()}, "safetensors"),
        ({f"control_model.{name}": weight for name, weight in net.items()}, "safetensors"),
        (net, "pth"),
    ]
    for tensors, form in variants:
        found = load_file(extract(host, pair(layout, tensors, form=form), 4)[0])
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_a_net_that_is_stored_as_a_difference_gets_its_base(host, pair, form):
    net, base = full_net("sd15", 4), base_weights("sd15")
    difference = {f"control_model.{n}": w - base[n] if n in base else w for n, w in net.items()}
    path, report, _ = extract(host, pair("sd15", difference | {"difference": torch.zeros(1)}, form=form), 4)
    assert "contains a difference" in report
    assert relative(outputs(load(path), "sd15"), outputs(as_net("sd15", net), "sd15")) <= 1e-5


def test_the_file_has_no_stray_names_and_leaves_out_what_did_not_change(host, pair):
    net, base = full_net("sd15", 4), base_weights("sd15")
    same = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    net[f"{same}.weight"] = base[f"{same}.weight"].clone()
    path, report, _ = extract(host, pair("sd15", net | {"unknown.thing": torch.ones(3)}), 4)
    written = load_file(path)
    import comfy.controlnet

    modules = set(tiny_controls._network("sd15", model_channels=32).state_dict())
    layers = {name.rpartition(".")[0] for name in modules}
    for name in written.keys() - {"lora_controlnet"}:
        layer, _, ending = name.rpartition(".")
        assert layer in layers and (ending in ("up", "down") or name in modules), name
    assert not any(name.startswith(same) for name in written)
    assert "1 unchanged and left out" in report and "unknown.thing" in report
    assert isinstance(load(path), comfy.controlnet.ControlLora)
    assert written["input_blocks.0.0.weight"].shape == net["input_blocks.0.0.weight"].shape


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_size_is_met(host, pair, precision):
    names = pair("sdxl", full_net("sdxl"))
    least = Path(extract(host, names, 1, precision=precision)[0]).stat().st_size
    asked = 2 * least / 1e6
    path, report, _ = extract(host, names, policy=policy(host, "size", asked), precision=precision)
    assert 0.7 * asked <= Path(path).stat().st_size / 1e6 <= asked
    assert f"size {asked:g} MB" in report
    with pytest.raises(ValueError, match="leaves no room for factors.*Give a larger size"):
        extract(host, names, policy=policy(host, "size", 0.1), precision=precision)


@pytest.mark.parametrize("mode, value", [("energy", 0.9), ("knee", 0.0), ("fixed", 3)])
def test_every_way_to_choose_ranks_gives_a_file_that_runs(host, pair, mode, value):
    path, _, _ = extract(host, pair("sd15", full_net("sd15", 12)), policy=policy(host, mode, value))
    assert torch.isfinite(outputs(load(path), "sd15")).all()


def resize(host, path, rank=0, policy=None, precision="float32"):
    node = host.node("StyleDeltaResizeControlLora")
    return node.execute(published(path), rank, precision, "controlnet/test_resized", rank_policy=policy).result[1:]


def test_resizing_equals_extracting_at_the_lower_rank(host, pair):
    names = pair("sd15", full_net("sd15", 8))
    whole, low = extract(host, names, 8)[0], extract(host, names, 3)[0]
    resized, report, _ = resize(host, whole, 3)
    assert relative(outputs(load(resized), "sd15"), outputs(load(low), "sd15")) <= 1e-4
    assert "overall relative error" in report
    again = resize(host, whole, 0)[0]
    ours, theirs = load_file(again), load_file(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - {"lora_controlnet"})
    size = Path(whole).stat().st_size / 1e6 * 0.8
    small = resize(host, whole, policy=policy(host, "size", size))[0]
    assert Path(small).stat().st_size / 1e6 <= size


def test_baking_gives_the_full_net_again(host, pair):
    layout = "sdxl"
    net = full_net(layout, 6)
    names = pair(layout, net)
    path = extract(host, names, 6)[0]
    bake = host.node("StyleDeltaBakeControlLora").execute
    baked_net, full, report = bake(published(path), names[1], "float32", "controlnet/test_baked").result
    baked = load_file(full)
    assert baked.keys() == net.keys()
    assert max(relative(baked[name].double(), weight.double()) for name, weight in net.items()) <= 1e-5
    expected = outputs(load(path), layout)
    assert relative(outputs(as_net(layout, baked), layout), expected) <= 5e-6
    assert relative(outputs(baked_net, layout), expected) <= 5e-6
    assert "read back as ComfyUI loads it: identical bit for bit" in report


def test_a_baked_net_that_the_host_cannot_load_is_not_kept(host, pair, base_dir):
    # The host knows nets of SD 1.x of the released width only.
    names = pair("sd15", full_net("sd15", 4))
    path, before = extract(host, names, 4)[0], sorted((base_dir / "output").rglob("*"))
    bake = host.node("StyleDeltaBakeControlLora").execute
    with pytest.raises(ValueError, match="(?s)ComfyUI cannot load the file.{,300}Nothing was kept"):
        bake(published(path), names[1], "float32", "controlnet/test_baked")
    assert sorted((base_dir / "output").rglob("*")) == before


def test_new_files_come_out_loaded_and_go_on_without_a_name(host, pair):
    names = pair("sdxl", full_net("sdxl", 8))
    node = host.node("StyleDeltaExtractControlLora").execute
    net, path, _, _ = node(*names, 8, 0, False, "cpu", "float32", "controlnet/test_lora").result
    assert torch.equal(outputs(net, "sdxl"), outputs(load(path), "sdxl"))
    resize_node = host.node("StyleDeltaResizeControlLora").execute
    small, small_path, _, _ = resize_node(names[0], 3, "float32", "controlnet/test_small", control_net=net).result
    assert torch.equal(outputs(small, "sdxl"), outputs(load(small_path), "sdxl"))
    assert relative(outputs(small, "sdxl"), outputs(load(resize(host, path, 3)[0]), "sdxl")) <= 1e-6
    bake = host.node("StyleDeltaBakeControlLora").execute
    baked = load_file(bake(names[0], names[1], "float32", "controlnet/test_baked", control_net=small).result[1])
    expected = load_file(bake(published(small_path), names[1], "float32", "controlnet/test_baked").result[1])
    assert all(torch.equal(baked[name], tensor) for name, tensor in expected.items())
    for execute, options in ((resize_node, (names[0], 3)), (bake, names)):
        with pytest.raises(ValueError, match="is not a Control-LoRA; its kind is U-Net ControlNet"):
            execute(*options, "float32", "controlnet/test_none", control_net=as_net("sdxl", full_net("sdxl")))


def test_baking_onto_a_fine_tune_moves_the_net(host, pair, files):
    net, base = full_net("sdxl", 6), base_weights("sdxl")
    path = extract(host, pair("sdxl", net), 6)[0]
    tuned = {n: w + 0.05 * w.abs().mean() * normal(n, w.shape, 7) if w.dim() > 1 else w for n, w in base.items()}
    name = files("diffusion_models", "tuned.safetensors", tuned)
    bake = host.node("StyleDeltaBakeControlLora").execute
    baked = load_file(bake(published(path), f"diffusion_models/{name}", "float32", "controlnet/test_moved").result[1])
    moved = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    expected = net[moved] + tuned[moved] - base[moved]
    assert relative(baked[moved].double(), expected.double()) <= 1e-5


def unpacked_base(kind: str) -> dict[str, torch.Tensor]:
    """The base's weights as a GGUF file of the type holds them."""
    found = {}
    for name, weight in base_weights("sdxl").items():
        stored, own = gguf_pack.stored_as(weight, kind, in_rows=True)
        found[name] = torch.from_numpy(stored) if own == "F32" else ggml.dequantised(stored, own).reshape(weight.shape)
    return found


@pytest.fixture
def gguf_base(base_dir):
    """A function that writes the base as a GGUF file, and answers its name for the nodes."""
    path = base_dir / "models/diffusion_models/test_base.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(kind: str) -> str:
        gguf_pack.write_model(path, base_weights("sdxl"), kind, "sdxl")
        return f"diffusion_models/{path.name}"

    yield write
    path.unlink(missing_ok=True)


@pytest.mark.skipif(ggml.library() is None, reason=ggml.ABSENT)
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K"])
def test_a_control_lora_is_baked_onto_the_unpacked_weights_of_a_gguf_base(host, pair, files, gguf_base, kind):
    path = extract(host, pair("sdxl", full_net("sdxl", 6)), 6)[0]
    plain = f"diffusion_models/{files('diffusion_models', 'unpacked.safetensors', unpacked_base(kind))}"
    bake = host.node("StyleDeltaBakeControlLora").execute
    baked, expected = (
        load_file(bake(published(path), base, "float32", "controlnet/test_baked").result[1])
        for base in (gguf_base(kind), plain)
    )
    assert baked.keys() == expected.keys()
    assert all(torch.equal(baked[name], value) for name, value in expected.items())


@pytest.mark.skipif(ggml.library() is None, reason=ggml.ABSENT)
def test_a_control_lora_is_extracted_against_a_gguf_base(host, files, gguf_base):
    """With the base that it was extracted against it is the net, but for what lies below the rounding of the base."""
    net, base = full_net("sdxl", 6, 0.3), gguf_base("Q8_0")
    path, report, _ = extract(host, (files("controlnet", "net.safetensors", net), base), 0)
    assert "rounding" in report
    baked = load_file(
        host.node("StyleDeltaBakeControlLora")
        .execute(published(path), base, "float32", "controlnet/test_baked")
        .result[1]
    )
    assert baked.keys() == net.keys()
    plain, exact = unpacked_base("Q8_0"), base_weights("sdxl")
    # The net with the rounding of the base in it.
    rounded = {name: weight + plain[name] - exact[name] if name in plain else weight for name, weight in net.items()}
    for name, weight in net.items():
        rounding = float((rounded[name] - weight).norm())
        assert float((baked[name] - weight).norm()) <= 1.05 * rounding + 1e-5 * float(weight.norm()), name
    full, found, alike = (outputs(as_net("sdxl", tensors), "sdxl") for tensors in (net, baked, rounded))
    assert relative(found, full) < 1.5 * relative(alike, full) < 0.1


def test_the_comparison_measures_what_the_outputs_lack(host, pair):
    net = full_net("sdxl", 0, 0.05)
    lora = load(extract(host, pair("sdxl", net), 8)[0])
    node = host.node("StyleDeltaCompareControl").execute
    image = tiny_controls.hint("sdxl")
    plot, report = node(lora, as_net("sdxl", net), base_model("sdxl"), image).result
    total = float(re.search(r"all control outputs: (\S+)", report)[1])
    direct = relative(outputs(lora, "sdxl"), outputs(as_net("sdxl", net), "sdxl"))
    assert direct / 3 < total < 3 * direct
    assert plot.dim() == 4 and "input.8" in report and "middle" in report
    same = node(as_net("sdxl", net), as_net("sdxl", net), base_model("sdxl"), image).result[1]
    assert "relative difference of all control outputs: 0\n" in same
    latent = {"samples": normal("picture", (1, 4, 16, 16), 3)}
    assert "| middle" in node(lora, as_net("sdxl", net), base_model("sdxl"), image, latent).result[1]


def test_nets_that_cannot_be_compared_are_refused(host):
    node = host.node("StyleDeltaCompareControl").execute
    net, image = as_net("sd15", full_net("sd15")), tiny_controls.hint("sd15")
    with pytest.raises(ValueError, match="Connect such a model"):
        node(net, net, tiny_model("flux"), image)
    with pytest.raises(ValueError, match="did not load"):
        node(None, net, base_model("sd15"), image)
    with pytest.raises(ValueError, match="different outputs|other blocks|made for this model"):
        node(net, tiny_controls.tiny_net("t2i"), base_model("sd15"), image)


def test_the_report_names_ranks_and_what_is_missing(host, pair, files):
    path = extract(host, pair("sd15", full_net("sd15", 6)), 4)[0]
    node = host.node("StyleDeltaControlLoraReport").execute
    plot, report = node(published(path)).result
    assert "nothing is missing" in report and "of rank 4," in report and "SHA-256" in report and plot.dim() == 4
    broken = load_file(path)
    broken["odd.alpha"] = torch.ones(1)
    lost = next(name for name in broken if name.endswith("in_layers.0.weight"))
    for name in (lost, "time_embed.0.bias", "input_blocks.0.0.weight"):
        del broken[name]
    report = node(files("controlnet", "broken.safetensors", {n: t.bfloat16() for n, t in broken.items()})).result[1]
    for words in ("biases missing", "norms missing", "odd.alpha", "bfloat16", "inpainting bases"):
        assert words in report


def without(tensors: dict, *names: str) -> dict:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_damaged_control_loras_are_refused(host, pair, files):
    good = load_file(extract(host, pair("sd15", full_net("sd15", 6)), 4)[0])
    factor = next(name for name in good if name.endswith(".down"))
    node = host.node("StyleDeltaControlLoraReport").execute
    for tensors, words in (
        (without(good, "lora_controlnet"), "lacks the tensor lora_controlnet"),
        (without(good, factor), "is present without"),
        (without(good, "zero_convs.3.0.bias"), "must store whole.*zero_convs.3.0.bias"),
        (without(good, "input_hint_block.0.weight"), "must store whole.*input_hint_block"),
        (good | {"task_embedding": torch.ones(3)}, "union"),
        (good | {factor: torch.ones(9, 9)}, "do not match"),
        (good | {factor: good[factor] * math.nan}, "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            node(files("controlnet", "damaged.safetensors", tensors))
    prefixed = {name if name == "lora_controlnet" else f"control_model.{name}": t for name, t in good.items()}
    name = files("controlnet", "prefixed.safetensors", prefixed)
    assert "ComfyUI cannot load" in node(name).result[1]
    mended = host.node("StyleDeltaResizeControlLora").execute(name, 0, "float32", "controlnet/test_mended").result[1]
    assert load_file(mended).keys() == good.keys()


def test_nets_that_no_control_lora_can_hold_are_refused(host, pair):
    net = full_net("sd15", 4)
    flux = {"controlnet_blocks.0.weight": torch.ones(2, 2), "controlnet_x_embedder.weight": torch.ones(2, 2)}
    packed = {n: w.to(torch.uint8) if n.endswith("attn1.to_q.weight") else w for n, w in net.items()}
    for tensors, words in (
        (net | {"task_embedding": torch.ones(6, 4)}, "union ControlNet"),
        (flux, "not a ControlNet for a U-Net"),
        ({"body.0.in_conv.weight": torch.ones(2, 2)}, "T2I-Adapter, not a ControlNet"),
        (net | {"lora_controlnet": torch.zeros(1)}, "already.*Resize Control-LoRA"),
        (packed, "packed.*version of the ControlNet in float32"),
        (net | {"time_embed.0.weight": net["time_embed.0.weight"] * math.nan}, "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            extract(host, pair("sd15", tensors), 4)


def test_a_base_that_does_not_fit_is_refused_or_warned_of(host, pair, files):
    net = full_net("sd15", 4)
    for base in (
        base_weights("sdxl"),
        {n.removeprefix(PREFIX): w for n, w in tiny_model("flux").model.state_dict().items()},
    ):
        with pytest.raises(ValueError, match="Choose the model that the net was trained on"):
            extract(host, pair("sd15", net, base), 4)
    other = {n: normal(f"other.{n}", w.shape, 3) * w.std() for n, w in base_weights("sd15").items()}
    report = extract(host, pair("sd15", net, other), 4)[1]
    assert "probably not trained from this base" in report
    white = extract(host, pair("sd15", full_net("sd15", 0)), 4)[1]
    assert "spectrum is flat" in white
    assert "WARNING" not in extract(host, pair("sd15", full_net("sd15", 4)), 4)[1]
    with pytest.raises(ValueError, match="have the same weights"):
        extract(host, pair("sd15", net | {n: w for n, w in base_weights("sd15").items() if n in net}), 4)


def test_numbers_too_large_for_float16_are_refused_and_leave_no_file(host, pair, base_dir):
    net = full_net("sd15", 4)
    net["zero_convs.2.0.weight"] *= 1e7
    names, before = pair("sd15", net), sorted((base_dir / "output").rglob("*"))
    with pytest.raises(ValueError, match="zero_convs.2.0.weight holds values too large for float16"):
        extract(host, names, 4, precision="float16")
    assert sorted((base_dir / "output").rglob("*")) == before
    # What was computed is not computed again.
    assert "resumed an interrupted run" in extract(host, names, 4)[1]


def test_a_cancelled_extraction_leaves_no_file_and_goes_on(host, pair, base_dir, monkeypatch):
    import comfy.model_management

    names, calls = pair("sd15", full_net("sd15", 4)), []
    before = sorted((base_dir / "output").rglob("*"))

    def interrupt():
        calls.append(1)
        if len(calls) == 60:
            raise comfy.model_management.InterruptProcessingException

    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            extract(host, names, 4)
    assert sorted((base_dir / "output").rglob("*")) == before
    path, report, _ = extract(host, names, 4)
    assert "resumed an interrupted run" in report
    assert relative(outputs(load(path), "sd15"), outputs(as_net("sd15", full_net("sd15", 4)), "sd15")) <= 5e-6


def test_the_demo_net_through_the_server(server, base_dir):
    base = "checkpoints/styledelta_demo_sd15.safetensors"
    options = {"rank": 8, "conv_rank": 0, "ignore_noise": False, "device": "cpu", "precision": "float16"}
    net = "styledelta_demo_controlnet.safetensors"
    files = {"control_net": net, "base": base, "filename_prefix": "controlnet/test_demo"}
    prompt = {
        "extract": {"class_type": "StyleDeltaExtractControlLora", "inputs": options | files},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["extract", 2]}},
    }
    shown = json.dumps(server.run(prompt))
    try:
        assert "saved" in shown and "overall relative error" in shown and "read back as ComfyUI loads it" in shown
        (written,) = (base_dir / "output/controlnet").glob("test_demo*")
        compare = {
            "model": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": base.partition("/")[2]}},
            "lora": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": written.name}},
            "net": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": net}},
            "image": {
                "class_type": "EmptyImage",
                "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": 8421504},
            },
            "compare": {
                "class_type": "StyleDeltaCompareControl",
                "inputs": {
                    "control_net": ["lora", 0],
                    "reference": ["net", 0],
                    "model": ["model", 0],
                    "image": ["image", 0],
                },
            },
            "show": {"class_type": "PreviewAny", "inputs": {"source": ["compare", 1]}},
        }
        shown = json.dumps(server.run(compare))
        assert float(re.search(r"all control outputs: ([0-9.e-]+)", shown)[1]) < 0.1
    finally:
        for path in (base_dir / "output/controlnet").glob("test_demo*"):
            path.unlink()
