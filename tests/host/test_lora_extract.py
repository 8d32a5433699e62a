"""Extracting LoRAs on the real host: what is saved does to the base what fine-tuning did."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .demo_loras import updates
from .tiny_models import sample, tiny_model, tuned

LAYOUTS = ("sd15", "sdxl", "flux")
CHECKPOINT = "styledelta_demo_sd15.safetensors"
LORAS = [("styledelta_demo_kohya.safetensors", 0.8, 0.6), ("styledelta_demo_locon.safetensors", -0.5, 1.0)]
PREFIX = "diffusion_model."


def extract(host, model, base, rank=0, policy=None, **settings):
    """The result of Extract LoRA."""
    options = {"conv_rank": 0, "biases_and_norms": True, "ignore_noise": False, "device": "auto"} | settings
    return host.node("StyleDeltaExtractLora").execute(model, base, rank, rank_policy=policy, **options).result


def extract_files(host, names, rank=0, policy=None, **settings):
    """The result of Extract LoRA from Files."""
    options = {"conv_rank": 0, "biases_and_norms": True, "ignore_noise": False, "device": "auto", "text_encoders": True}
    options |= settings
    return host.node("StyleDeltaExtractLoraFiles").execute(*names, rank, rank_policy=policy, **options).result


def weights(patcher) -> dict[str, torch.Tensor]:
    """The weights of a MODEL with its patches, by the host."""
    import comfy.lora

    own = {name: weight for name, weight in patcher.model.state_dict().items() if name.startswith(PREFIX)}
    return {
        name: comfy.lora.calculate_weight(patcher.patches[name], weight.clone(), name)
        if name in patcher.patches
        else weight
        for name, weight in own.items()
    }


@pytest.fixture
def applied(host, base_dir):
    """A function that saves a LoRA in float32 and applies the file to a MODEL by core's loader."""
    links = []

    def apply(patcher, lora):
        saved = Path(host.node("StyleDeltaSaveLora").execute(lora, "test_loras/extracted", "float32").result[0])
        link = base_dir / "models/loras/test_extracted.safetensors"
        link.unlink(missing_ok=True)
        os.replace(saved, link)
        links.append(link)
        return host.node("LoraLoaderModelOnly")().load_lora_model_only(patcher, link.name, 1.0)[0]

    yield apply
    for link in links:
        link.unlink(missing_ok=True)


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).double().norm() / expected.double().norm())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_saved_lora_of_full_rank_makes_the_tuned_model_of_the_base(host, applied, layout):
    base, other = tiny_model(layout), tuned(layout, rank=0, scale=0.05)
    lora, report, plot = extract(host, other, base)
    patched = applied(base, lora)
    ours, theirs = weights(patched), weights(other)
    for name, expected in theirs.items():
        assert relative(ours[name], expected) <= 1e-5, name
    assert relative(sample(patched, layout), sample(other, layout)) <= 1e-4
    assert "0 unchanged" in report and plot.dim() == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_output_is_about_as_near_as_the_report_says(host, applied, layout):
    base, other = tiny_model(layout), tuned(layout, rank=0, scale=0.02)
    policy = host.node("StyleDeltaRankPolicy").execute("error", 0.3, 0.0)[0]
    lora, report, _ = extract(host, other, base, policy=policy)
    predicted = float(report.split("overall relative error: ")[1].split()[0])
    assert 0.05 < predicted <= 0.3
    patched = applied(base, lora)
    change = (sample(other, layout) - sample(base, layout)).double().norm()
    missing = (sample(other, layout) - sample(patched, layout)).double().norm()
    # The report's error is of the weights; a network of several layers is not linear in them.
    assert missing <= 1.5 * predicted * change


def test_a_change_of_low_rank_is_found_whole(host, applied):
    base, other = tiny_model("sdxl"), tuned("sdxl", rank=3, scale=0.05)
    lora, report, _ = extract(host, other, base, rank=3)
    assert max(tensor.shape[0] for name, tensor in lora.items() if "lora_down" in name) == 3
    ours, theirs = weights(applied(base, lora)), weights(other)
    assert max(relative(ours[name], expected) for name, expected in theirs.items()) <= 1e-5


def test_what_is_seen_is_what_is_saved(host):
    model, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    patched_model, patched_clip = model, clip
    for name, strength_model, strength_clip in LORAS:
        loader = host.node("LoraLoader")()
        patched_model, patched_clip = loader.load_lora(patched_model, patched_clip, name, strength_model, strength_clip)
    lora, report, _ = extract(host, patched_model, model, clip=patched_clip, base_clip=clip)
    merged = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, lora_stack=LORAS, model=model, clip=clip)[0]
    apply = host.node("StyleDeltaApplyLora").execute
    ours, core = (apply(model, tensors, 1.0, 1.0, clip).result for tensors in (lora, merged))
    for one, two in ((ours[0], core[0]), (ours[1].patcher, core[1].patcher)):
        assert one.patches.keys() == two.patches.keys()
        found = updates(one)
        for key, expected in updates(two).items():
            assert relative(found[key], expected) <= 2e-5, key
    assert max(tensor.shape[0] for name, tensor in lora.items() if "lora_down" in name) <= 64


def test_a_size_has_less_error_than_any_rank_of_that_size(host):
    base, other = tiny_model("sdxl", channels=32), tiny_model("sdxl", channels=32)
    # Spectra that differ from layer to layer are what a size can make use of.
    for index, (name, weight) in enumerate(other.model.named_parameters()):
        if weight.dim() > 1 and name.startswith(PREFIX):
            flat = weight.data.flatten(1)
            u, s, v = torch.linalg.svd(
                torch.randn(flat.shape, generator=torch.Generator().manual_seed(index)), full_matrices=False
            )
            decay = torch.arange(1, len(s) + 1).float() ** -(0.1 + index % 5 / 3)
            flat += 0.05 * (u * decay) @ v
    for rank in (2, 5, 9):
        lora, report, _ = extract(host, other, base, rank=rank, biases_and_norms=False)
        megabytes = sum(tensor.numel() for name, tensor in lora.items() if "alpha" not in name) * 2 / 1e6
        policy = host.node("StyleDeltaRankPolicy").execute("size", megabytes, 0.0)[0]
        sized, sized_report, _ = extract(host, other, base, policy=policy, biases_and_norms=False)
        assert sum(tensor.numel() for name, tensor in sized.items() if "alpha" not in name) * 2 / 1e6 <= megabytes
        fixed_error, sized_error = (
            float(r.split("overall relative error: ")[1].split()[0]) for r in (report, sized_report)
        )
        assert sized_error < fixed_error


@pytest.fixture
def files(base_dir):
    """A function that writes a model's weights as a file in models/diffusion_models, and answers its name for the node."""
    written = []

    def write(name: str, tensors: dict[str, torch.Tensor]) -> str:
        path = base_dir / "models/diffusion_models" / f"test_{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        written.append(path)
        return f"diffusion_models/{path.name}"

    yield write
    for path in written:
        path.unlink(missing_ok=True)


def bare(patcher) -> dict[str, torch.Tensor]:
    return {name.removeprefix(PREFIX): weight.clone() for name, weight in weights(patcher).items()}


def test_files_give_what_loaded_models_give(host, files):
    base, other = tiny_model("flux"), tuned("flux", rank=0, scale=0.05)
    names = files("tuned", bare(other)), files("base", bare(base))
    loaded, from_files = extract(host, other, base, rank=4)[0], extract_files(host, names, rank=4)[0]
    assert loaded.keys() == from_files.keys()
    assert all(torch.allclose(loaded[name], from_files[name], atol=1e-6) for name in loaded)
    recipe = json.loads(from_files.metadata["styledelta.recipe"])
    assert [source["name"] for source in recipe["sources"]] == list(names)
    assert all(len(source["sha256"]) == 64 for source in recipe["sources"])
    assert not unfinished(host)


def unfinished(host) -> list[Path]:
    import folder_paths

    folder = Path(folder_paths.get_user_directory()) / "styledelta_unfinished"
    return list(folder.glob("*/*.safetensors"))


def stored(tensors: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    """A model's weights as a file of this kind holds them."""
    if kind == "bf16":
        return {name: weight.bfloat16() for name, weight in tensors.items()}
    result = {}
    for name, weight in tensors.items():
        if weight.dim() < 2:
            result[name] = weight.bfloat16()
            continue
        scale = weight.abs().max() / 448 if kind == "fp8 scaled" else torch.tensor(1.0)
        result[name] = (weight / scale).to(torch.float8_e4m3fn)
        if kind == "fp8 scaled":
            result[name.removesuffix("weight") + "scale_weight"] = scale
    return result


@pytest.mark.parametrize("kind", ["bf16", "fp8", "fp8 scaled"])
def test_the_difference_of_rounded_files_ends_at_their_noise(host, files, kind):
    base, other = tiny_model("flux"), tuned("flux", rank=1, scale=0.3)
    names = files("tuned", stored(bare(other), kind)), files("base", stored(bare(base), kind))
    lora, report, _ = extract_files(host, names, biases_and_norms=False)
    assert "signal to rounding noise" in report and "support no more than rank" in report
    ranks = [tensor.shape[0] for name, tensor in lora.items() if "lora_down" in name]
    assert max(ranks) <= 3
    true = {name: weight - weights(base)[name] for name, weight in weights(other).items() if weight.dim() == 2}
    found = updates(host.node("StyleDeltaApplyLora").execute(base, lora, 1.0, 1.0).result[0])
    errors = [relative(found[name], change) for name, change in true.items() if name in found]
    assert len(errors) > len(true) / 2
    assert sorted(errors)[len(errors) // 2] < {"bf16": 0.03, "fp8": 0.4, "fp8 scaled": 0.4}[kind]


def test_a_difference_that_is_all_rounding_is_refused_unless_forced(host, files):
    base, other = tiny_model("flux"), tuned("flux", rank=0, scale=0.01)
    names = files("tuned", stored(bare(other), "fp8")), files("base", stored(bare(base), "fp8"))
    with pytest.raises(
        ValueError, match="no direction of the difference can be distinguished from noise.*ignore_noise"
    ):
        extract_files(host, names, rank=8, biases_and_norms=False)
    assert extract_files(host, names, rank=8, biases_and_norms=False, ignore_noise=True)[0]


def test_an_interrupted_run_goes_on(host, files, monkeypatch):
    import comfy.model_management

    base, other = tiny_model("flux"), tuned("flux", rank=0, scale=0.05)
    names = files("tuned", bare(other)), files("base", bare(base))
    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 30:
            raise comfy.model_management.InterruptProcessingException

    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            extract_files(host, names, rank=4)
    finished = len(unfinished(host))
    assert finished > 5
    lora, report, _ = extract_files(host, names, rank=4)
    assert f"resumed an interrupted run: {finished} weights were already done" in report
    whole = extract(host, other, base, rank=4)[0]
    assert whole.keys() == lora.keys() and all(torch.allclose(whole[name], lora[name], atol=1e-6) for name in whole)
    assert not unfinished(host)


def test_the_same_model_twice_is_refused(host, files):
    base = tiny_model("flux")
    name = files("base", bare(base))
    with pytest.raises(ValueError, match="have the same weights: there is nothing to extract"):
        extract_files(host, (name, name), rank=4)
    with pytest.raises(ValueError, match="have the same weights"):
        extract(host, base, base, rank=4)


def test_models_of_different_kinds_are_refused(host, files):
    names = files("tuned", bare(tiny_model("flux"))), files("base", bare(tiny_model("wan")))
    with pytest.raises(ValueError, match="different architectures.*Flux.1 against Wan"):
        extract_files(host, names, rank=4)
    with pytest.raises(ValueError, match="different architectures"):
        extract(host, tiny_model("sd15"), tiny_model("sdxl"), rank=4)


def test_a_nan_is_named(host, files):
    broken = bare(tuned("flux"))
    broken["double_blocks.1.img_mlp.0.weight"][3, 3] = float("nan")
    names = files("tuned", broken), files("base", bare(tiny_model("flux")))
    with pytest.raises(ValueError, match="double_blocks.1.img_mlp.0.weight.*NaN"):
        extract_files(host, names, rank=4)


def test_weights_of_one_side_are_reported(host, files):
    tensors = bare(tuned("flux"))
    del tensors["double_blocks.1.img_mlp.0.weight"]
    tensors["extra.weight"] = torch.zeros(3, 3)
    names = files("tuned", tensors), files("base", bare(tiny_model("flux")))
    report = extract_files(host, names, rank=4)[1]
    assert "in test_tuned.safetensors only, left out: 1 weights (diffusion_model.extra.weight)" in report
    assert "in test_base.safetensors only: 1 weights (diffusion_model.double_blocks.1.img_mlp.0.weight)" in report


def test_one_clip_alone_is_refused(host):
    model, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    with pytest.raises(ValueError, match="Connect clip and base_clip, or neither"):
        extract(host, model, model, rank=4, clip=clip)


def test_the_recipe_and_the_names_are_in_the_file(host, applied, base_dir):
    base, other = tiny_model("sd15"), tuned("sd15", rank=2)
    lora = extract(host, other, base, rank=2)[0]
    applied(base, lora)
    with safe_open(base_dir / "models/loras/test_extracted.safetensors", framework="pt") as file:
        recipe, names = json.loads(file.metadata()["styledelta.recipe"]), list(file.keys())
    assert recipe["method"] == "extract" and recipe["rank"]["value"] == 2
    assert all(name.startswith("lora_unet_") for name in names)
