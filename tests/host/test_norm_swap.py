"""Norm parameters as style on the real host: swapped, saved, mixed and reported, and nothing stays behind."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .tiny_models import conditioning, normal, sample, tiny_model, tuned

PREFIX = "diffusion_model."
LAYOUTS = ("sd15", "sdxl", "flux", "wan", "ltx", "lumina")
TIERS = {"norms": True, "modulation": True, "qk_norms": True}
# Layouts with tables that core's own loaders accept and never apply.
TABLES = {"wan": "modulation", "ltx": "scale_shift_table"}


def swap(host, model, amount=1.0, block_weights="", **style):
    """The result of Norm Swap."""
    return (
        host.node("StyleDeltaNormSwap")
        .execute(model, amount, **(TIERS | {"block_weights": block_weights} | style))
        .result
    )


def extract(host, styled, base, block_weights="", **tiers):
    """The result of Extract Norms."""
    return (
        host.node("StyleDeltaExtractNorms").execute(styled, base, **(TIERS | tiers), block_weights=block_weights).result
    )


def host_module(host, name: str):
    """A module of the pack by its path in it."""
    import importlib

    pack = host.node("StyleDeltaNormSwap").__module__.rsplit(".", 2)[0]
    return importlib.import_module(f"{pack}.{name}")


def sites(host, patcher) -> dict[str, str]:
    """The tier of every norm parameter of a model."""
    import importlib

    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    shapes = {name: tuple(weight.shape) for name, weight in patcher.model.named_parameters()}
    return importlib.import_module(f"{pack}.delta.families.norm_sites").find_sites(shapes).tiers


def copy_norms(host, source, target, amount=1.0) -> None:
    """Give one model the norm parameters of another by hand."""
    theirs = dict(source.model.named_parameters())
    with torch.no_grad():
        for name, parameter in target.model.named_parameters():
            if name in sites(host, target):
                parameter.lerp_(theirs[name], amount)


def values(patcher) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in patcher.model.named_parameters()}


def loaded_values(patcher) -> dict[str, torch.Tensor]:
    """The weights that the host really computes with."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([patcher], force_full_load=True)
    found = values(patcher)
    comfy.model_management.unload_all_models()
    return found


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).double().norm() / expected.double().norm())


@pytest.mark.parametrize(("layout", "amount"), [*((layout, 1.0) for layout in LAYOUTS), ("sdxl", 0.5), ("wan", -0.5)])
def test_a_swap_is_copying_the_parameters_by_hand(host, layout, amount):
    base, styled, expected = tiny_model(layout), tuned(layout), tiny_model(layout)
    copy_norms(host, styled, expected, amount)
    swapped = swap(host, base, amount, style_model=styled)[0]
    ours, theirs = loaded_values(swapped), values(expected)
    assert all(torch.allclose(ours[name], value, atol=1e-6) for name, value in theirs.items())
    result = sample(swapped, layout)
    assert relative(result, sample(expected, layout)) <= 1e-5
    assert relative(result, sample(base, layout)) > 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_amount_0_changes_nothing_and_everything_is_restored(host, layout):
    base, styled = tiny_model(layout), tuned(layout)
    before, parameters, pure = values(base), dict(base.model.named_parameters()), sample(base, layout)
    assert torch.equal(sample(swap(host, base, 0.0, style_model=styled)[0], layout), pure)
    swapped = swap(host, base, style_model=styled)[0]
    assert not torch.equal(sample(swapped, layout), pure)
    assert torch.equal(sample(base, layout), pure)
    assert all(torch.equal(value, before[name]) for name, value in values(base).items())
    tables = [name for name in parameters if layout in TABLES and TABLES[layout] in name]
    assert all(dict(base.model.named_parameters())[name] is parameters[name] for name in tables)
    assert not base.object_patches and not base.patches


@pytest.mark.parametrize("layout", ["sdxl", "wan"])
def test_mixing_and_reporting_leave_the_base_as_it_was(host, layout):
    base, styled = tiny_model(layout), tuned(layout)
    before, parameters, pure = values(base), dict(base.model.named_parameters()), sample(base, layout)
    lora = extract(host, styled, base)[0]
    mixed = host.node("StyleDeltaMixNorms").execute(base, True, **TIERS, lora_1=lora).result[0]
    assert not torch.equal(sample(mixed, layout), pure)
    report = host.node("StyleDeltaNormReport").execute(
        base, **TIERS, block_weights="", style_model=styled, positive=conditioning(layout)
    )[1]
    assert "explained share" in report
    assert torch.equal(sample(base, layout), pure)
    assert all(torch.equal(value, before[name]) for name, value in values(base).items())
    assert dict(base.model.named_parameters()).keys() == parameters.keys()
    assert not base.object_patches and not base.patches


@pytest.fixture
def as_file(host, base_dir):
    """A function that saves a LORA_MODEL and answers its name in models/loras."""
    links = []

    def save(lora, name="test_norms"):
        saved = Path(host.node("StyleDeltaSaveLora").execute(lora, "test_loras/norms", "float32").result[0])
        link = base_dir / f"models/loras/{name}.safetensors"
        link.unlink(missing_ok=True)
        os.replace(saved, link)
        links.append(link)
        return link.name

    yield save
    for link in links:
        link.unlink(missing_ok=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_saved_file_does_the_same_in_a_loader(host, as_file, layout):
    base, styled = tiny_model(layout), tuned(layout)
    lora, report, plot = extract(host, styled, base)
    name = as_file(lora)
    expected = sample(swap(host, base, style_model=styled)[0], layout)
    ours = host.node("StyleDeltaApplyLora").execute(base, host.node("StyleDeltaLoadLora").execute(name)[0], 1.0, 1.0)[0]
    assert relative(sample(ours, layout), expected) <= 1e-5
    core = host.node("LoraLoaderModelOnly")().load_lora_model_only(base, name, 1.0)[0]
    if layout not in TABLES:
        assert relative(sample(core, layout), expected) <= 1e-5
    else:
        # As soon as this fails, the host applies such patches, and `host.is_skipped` has to know.
        before, after = values(base), loaded_values(core)
        assert all(torch.equal(after[key], before[key]) for key in before if key.endswith(TABLES[layout]))
    assert plot.dim() == 4 and "parameters change" in report


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_delta_of_the_file_is_in_the_weights(host, as_file, layout):
    base, styled = tiny_model(layout), tuned(layout)
    name = as_file(extract(host, styled, base)[0])
    lora = host.node("StyleDeltaLoadLora").execute(name)[0]
    before = values(base)
    assert len(lora) == len(sites(host, base))
    for patched in (
        host.node("StyleDeltaApplyLora").execute(base, lora, 1.0, 1.0)[0],
        swap(host, base, lora_model=lora)[0],
    ):
        moved = [key for key, value in loaded_values(patched).items() if not torch.equal(value, before[key])]
        assert len(moved) == len(lora)
        assert any(TABLES.get(layout, "") in key for key in moved)


@pytest.mark.parametrize("ending", ["", ".scale"])
def test_files_of_hosts_with_other_names_are_applied(host, ending):
    base, styled = tiny_model("flux"), tuned("flux")
    swapped = loaded_values(swap(host, base, style_model=styled, norms=False, modulation=False)[0])
    before = values(base)
    deltas = {key: swapped[key] - before[key] for key in before if not torch.equal(swapped[key], before[key])}
    assert len(deltas) == 2 * 2 * 2 + 2 * 2
    file = {f"{key.rpartition('.')[0]}{ending}.w_norm": delta for key, delta in deltas.items()}
    for patched in (
        swap(host, base, lora_model=file)[0],
        host.node("StyleDeltaApplyLora").execute(base, file, 1.0, 1.0)[0],
    ):
        found = loaded_values(patched)
        assert all(torch.allclose(found[key], value, atol=1e-6) for key, value in swapped.items())


def test_swaps_of_tables_add_up(host):
    base = tiny_model("wan")
    one, two = tuned("wan", change=1), tuned("wan", change=2)
    first, second = (extract(host, styled, base)[0] for styled in (one, two))
    both = loaded_values(swap(host, swap(host, base, 1.0, lora_model=first)[0], 0.5, lora_model=second)[0])
    start, a, b = values(base), values(one), values(two)
    for key in sites(host, base):
        expected = a[key] + 0.5 * (b[key] - start[key])
        assert torch.allclose(both[key], expected, atol=1e-6), key
    # A model that is taken apart counts with what was put in.
    again = extract(host, swap(host, base, lora_model=first)[0], base)[0]
    assert again.keys() == first.keys()
    assert all(torch.allclose(again[key], first[key], atol=1e-6) for key in first)


def test_a_style_is_put_on_the_base_while_another_one_is_loaded(host):
    import comfy.model_management

    base, one, two = tiny_model("wan"), tuned("wan", change=1), tuned("wan", change=2)
    first, second = (extract(host, styled, base)[0] for styled in (one, two))
    comfy.model_management.load_models_gpu([swap(host, base, lora_model=first)[0]], force_full_load=True)
    patched, extracted = swap(host, base, lora_model=second)[0], extract(host, two, base)[0]
    found, expected = loaded_values(patched), values(two)
    assert all(torch.allclose(found[key], expected[key], atol=1e-6) for key in sites(host, base))
    assert all(torch.allclose(extracted[key], second[key], atol=1e-6) for key in second)


def test_what_core_takes_and_never_applies_does_not_count(host, as_file):
    base, styled = tiny_model("wan"), tuned("wan")
    lora = extract(host, styled, base)[0]
    by_core = host.node("LoraLoaderModelOnly")().load_lora_model_only(base, as_file(lora), 1.0)[0]
    seen = extract(host, by_core, base)[0]
    assert seen.keys() == {key for key in lora if "modulation" not in key}
    swapped = host.node("StyleDeltaLayerSwap").execute(base, by_core, 1.0, "everything", "all blocks", "").result[0]
    found, really = loaded_values(swapped), loaded_values(by_core)
    assert all(torch.equal(found[key], value) for key, value in really.items())


def in_type(patcher, dtype: torch.dtype):
    """The MODEL with all its parameters in a type."""
    for parameter in patcher.model.parameters():
        parameter.requires_grad_(False).data = parameter.data.to(dtype)
    return patcher


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_fewer_bits(host, dtype):
    base, styled = (in_type(patcher, dtype) for patcher in (tiny_model("wan"), tuned("wan")))
    before, expected = values(base), values(styled)
    same = loaded_values(swap(host, base, 0.0, style_model=styled)[0])
    swapped = loaded_values(swap(host, base, style_model=styled)[0])
    for key in sites(host, base):
        assert torch.equal(same[key].float(), before[key].float()), key
        assert torch.allclose(swapped[key].float(), expected[key].float(), rtol=1e-6, atol=1e-8), key


@pytest.mark.parametrize("name", ["swap", "mix", "palette"])
def test_changes_of_eight_bits_are_kept_in_full_or_baked(host, as_file, name):
    """Halfway, so that what is meant is no number of 8 bits."""
    base, styled = (in_type(patcher, torch.float8_e4m3fn) for patcher in (tiny_model("wan"), tuned("wan")))
    lora = host.node("StyleDeltaExtractNorms").execute(styled, base, **TIERS, block_weights="").result[0]
    before, other = values(base), values(styled)
    palette = json.dumps({"styles": [{"style": as_file(lora), "weight": 1.0}]})

    def run(mode):
        if name == "swap":
            found = swap(host, base, 0.5, lora_model=lora, on_quantised_weights=mode)
            return loaded_values(found[0]), found[1]
        if name == "mix":
            node, given = host.node("StyleDeltaMixNorms"), {"normalise": False, "lora_1": lora, "weight_1": 0.5}
        else:
            node, given = host.node("StyleDeltaNormPalette"), {"amount": 0.5, "palette": palette}
        found = node.execute(base, **TIERS, **given, on_quantised_weights=mode).result
        return loaded_values(found[0]), found[2]

    kept, told = run("automatic")
    assert "float8_e4m3fn weights stay as they are, the change is applied beside them in full" in told
    baked, said = run("bake")
    assert "float8_e4m3fn weights and rounded, the rounding noise is" in said
    rounded = 0
    for key in sites(host, base):
        expected = (before[key].float() + other[key].float()) / 2
        assert torch.allclose(kept[key].float(), expected, rtol=1e-6, atol=1e-8), key
        rounded += not torch.allclose(baked[key].float(), expected, rtol=1e-3)
    assert rounded > 5
    with pytest.raises(ValueError, match="no mode 'later'.*Choose one of: automatic, bypass, bake"):
        run("later")


def test_norms_that_the_host_leaves_out_of_a_model_that_does_not_fit(host):
    base, styled = tiny_model("flux"), tuned("flux")
    before, expected = values(base), values(styled)
    swapped = swap(host, base, style_model=styled)[0]
    names = [key for key, tier in sites(host, base).items() if tier == "qk_norms"]
    owners = {key: swapped.model.get_submodule(key.rpartition(".")[0]) for key in names}
    swapped.patch_model(torch.device("cpu"), lowvram_model_memory=1)
    # Modules that can cast their weights get the patch as they do.
    fixed = [key for key in names if not hasattr(owners[key], "comfy_cast_weights")]
    found = values(swapped)
    assert all(torch.allclose(found[key], expected[key], atol=1e-6) for key in fixed)
    swapped.unpatch_model(torch.device("cpu"))
    assert all(torch.equal(value, before[key]) for key, value in values(base).items())


@pytest.mark.parametrize("layout", ["sdxl", "wan"])
def test_mixing_is_linear_in_the_parameters(host, layout):
    base = tiny_model(layout)
    styled = [tuned(layout, change=change) for change in (1, 2, 3)]
    loras = [extract(host, one, base)[0] for one in styled]
    weights = (0.5, 1.0, -0.25)
    inputs = {f"lora_{n}": lora for n, lora in enumerate(loras, 1)} | {
        f"weight_{n}": w for n, w in enumerate(weights, 1)
    }
    mix = host.node("StyleDeltaMixNorms").execute
    model, lora, report, plot = mix(base, False, **TIERS, **inputs).result
    start, others, found = values(base), [values(one) for one in styled], loaded_values(model)
    for key in sites(host, base):
        expected = start[key] + sum(w * (other[key] - start[key]) for w, other in zip(weights, others))
        assert torch.allclose(found[key], expected, atol=1e-6), key
    from_file = loaded_values(swap(host, base, lora_model=lora)[0])
    assert all(torch.allclose(from_file[key], value, atol=1e-6) for key, value in found.items())
    normalised = loaded_values(mix(base, True, **TIERS, **inputs).result[0])
    for key in sites(host, base):
        assert torch.allclose(normalised[key] - start[key], (found[key] - start[key]) / 1.25, atol=1e-6)
    swapped = {
        "lora_1": loras[2],
        "lora_2": loras[1],
        "lora_3": loras[0],
        "weight_1": -0.25,
        "weight_2": 1.0,
        "weight_3": 0.5,
    }
    other_way = loaded_values(mix(base, False, **TIERS, **swapped).result[0])
    assert all(torch.allclose(other_way[key], value, atol=1e-6) for key, value in found.items())
    assert report.count("parameters\n") == 3 and plot.dim() == 4


def test_the_explained_share_is_1_for_norms_alone_and_less_with_other_weights(host):
    report = host.node("StyleDeltaNormReport").execute

    def share(styled, **style):
        options = TIERS | {"block_weights": ""} | style
        text = report(tiny_model("sdxl"), **options, style_model=styled, positive=conditioning("sdxl"))[1]
        return float(text.split("explained share: ")[1].split("%")[0]) / 100

    alone, whole = tiny_model("sdxl"), tuned("sdxl", scale=0.02)
    copy_norms(host, whole, alone)
    assert share(alone) == 1.0
    partial = share(whole)
    assert -1 < partial < 0.9
    assert share(alone, modulation=False) < 1.0
    assert (
        "connect style_model and positive"
        in report(tiny_model("sdxl"), **TIERS, block_weights="", style_model=whole)[1]
    )


def test_blocks_and_kinds_are_chosen_by_name(host):
    base, styled = tiny_model("sdxl"), tuned("sdxl")
    before = values(base)

    def moved(**options):
        found = loaded_values(swap(host, base, style_model=styled, **options)[0])
        return {key for key in found if not torch.equal(found[key], before[key])}

    tiers = sites(host, base)
    assert moved() == set(tiers)
    assert moved(modulation=False) == {key for key, tier in tiers.items() if tier == "norms"}
    assert moved(norms=False) == {key for key, tier in tiers.items() if tier == "modulation"}
    only = moved(block_weights="*=0, middle=1")
    assert only and all(".middle_block." in key for key in only)
    report = swap(host, base, style_model=styled, block_weights="*=0, middle=0.5, nowhere=1")[1]
    assert "the rule nowhere matches nothing" in report


@pytest.fixture
def files(base_dir):
    """A function that writes a model's weights as a file in models/diffusion_models, and answers its name for the node."""
    written = []

    def write(name: str, patcher, **changes: torch.Tensor) -> str:
        path = base_dir / "models/diffusion_models" / f"test_{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            key.removeprefix(PREFIX): value
            for key, value in patcher.model.state_dict().items()
            if key.startswith(PREFIX)
        }
        save_file({key: tensor.contiguous() for key, tensor in (tensors | changes).items()}, path)
        written.append(path)
        return f"diffusion_models/{path.name}"

    yield write
    for path in written:
        path.unlink(missing_ok=True)


def extract_files(host, names, block_weights="", **tiers):
    """The result of Extract Norms from Files."""
    return (
        host.node("StyleDeltaExtractNormsFiles").execute(*names, **(TIERS | tiers), block_weights=block_weights).result
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_give_what_loaded_models_give(host, files, layout):
    base, styled = tiny_model(layout), tuned(layout)
    lora = extract_files(host, (files("styled", styled), files("base", base)))[0]
    expected = extract(host, styled, base)[0]
    assert lora.keys() == expected.keys()
    assert all(torch.allclose(lora[key], value, atol=1e-6) for key, value in expected.items())
    recipe = json.loads(lora.metadata["styledelta.recipe"])
    assert recipe["method"] == "extract norms" and len(recipe["sources"][1]["sha256_of_norms"]) == 64


def test_models_of_other_kinds_are_refused(host, files):
    with pytest.raises(ValueError, match="different architectures"):
        swap(host, tiny_model("sd15"), style_model=tiny_model("sdxl"))
    with pytest.raises(ValueError, match="different architectures"):
        extract_files(host, (files("a", tiny_model("flux")), files("b", tiny_model("wan"))))


def test_tables_of_another_shape_are_refused(host):
    base, styled = tiny_model("wan"), tuned("wan")
    lora = dict(extract(host, styled, base)[0])
    key = next(key for key in lora if "blocks.0.modulation" in key)
    lora[key] = torch.zeros(1, 6, 24)
    with pytest.raises(
        ValueError, match=r"blocks.0.modulation has the shape \[1, 6, 24\].*\[1, 6, 48\].*different sizes"
    ):
        swap(host, base, lora_model=lora)


def test_a_file_without_norms_is_refused(host):
    lora = {
        "diffusion_model.middle_block.1.proj_in.lora_up.weight": torch.zeros(256, 2),
        "diffusion_model.middle_block.1.proj_in.lora_down.weight": torch.zeros(2, 256),
    }
    with pytest.raises(ValueError, match="changes no norm parameter that is switched on. Use Apply LoRA Model"):
        swap(host, tiny_model("sdxl"), lora_model=lora)


def test_a_kind_that_the_model_lacks_names_those_it_has(host):
    base, styled = tiny_model("flux"), tuned("flux")
    with pytest.raises(ValueError, match="Flux.1 has no parameters in the tiers.*It has: modulation, qk_norms"):
        swap(host, base, style_model=styled, modulation=False, qk_norms=False)
    lora = extract(host, styled, base, modulation=False)[0]
    with pytest.raises(ValueError, match="It has: qk_norms. Switch one of them on"):
        swap(host, base, lora_model=lora, qk_norms=False)
    with pytest.raises(ValueError, match="All kinds of norm parameters are switched off"):
        swap(host, base, style_model=styled, norms=False, modulation=False, qk_norms=False)


def test_other_bad_inputs_name_the_remedy(host, files):
    base, styled = tiny_model("sdxl"), tuned("sdxl")
    with pytest.raises(ValueError, match="Connect style_model or lora_model, not both"):
        swap(host, base)
    with pytest.raises(ValueError, match="same values in all .* norm parameters"):
        swap(host, base, style_model=tiny_model("sdxl"))
    with pytest.raises(ValueError, match="switch off all"):
        swap(host, base, style_model=styled, block_weights="*=0")
    with pytest.raises(ValueError, match="Connect style_model, lora_model, or both"):
        host.node("StyleDeltaNormReport").execute(base, **TIERS, block_weights="")
    lora = extract(host, styled, base)[0]
    with pytest.raises(ValueError, match="different architectures"):
        report = {"style_model": tiny_model("sd15"), "lora_model": lora}
        host.node("StyleDeltaNormReport").execute(base, **TIERS, block_weights="", **report)
    with pytest.raises(ValueError, match="The latent is .*Encode it with this model's VAE"):
        step = {"positive": conditioning("sdxl"), "latent": {"samples": torch.ones(1, 16, 8, 8)}}
        host.node("StyleDeltaNormReport").execute(base, **TIERS, block_weights="", style_model=styled, **step)
    with pytest.raises(ValueError, match="change of .*in_layers.0.weight holds NaN"):
        broken = {key: torch.full_like(value, torch.nan) for key, value in lora.items() if "norm1.w_norm" in key}
        swap(host, base, lora_model=broken)
    with pytest.raises(ValueError, match="add up to zero"):
        host.node("StyleDeltaMixNorms").execute(
            base, True, **TIERS, lora_1=lora, weight_1=1.0, lora_2=lora, weight_2=-1.0
        )
    broken = torch.full((64,), float("nan"))
    names = files("nan", styled, **{"input_blocks.1.0.in_layers.0.weight": broken}), files("base", base)
    with pytest.raises(ValueError, match="input_blocks.1.0.in_layers.0.weight.*NaN"):
        extract_files(host, names)


def test_changes_of_parts_and_of_turned_weights_reach_the_weights_as_in_core(host):
    """FLUX: diffusers' last modulation has its halves in the other order, and its query is a third of a fused weight."""
    import comfy.lora
    import comfy.sd

    base = tiny_model("flux")
    stored = base.model.state_dict()
    last, fused = (
        f"diffusion_model.{name}.weight" for name in ("final_layer.adaLN_modulation.1", "double_blocks.0.img_attn.qkv")
    )
    rows, columns = stored[fused].shape
    lora = {
        "transformer.norm_out.linear.diff": normal("last", tuple(stored[last].shape), 0),
        **{
            f"transformer.transformer_blocks.0.attn.to_{part}.diff": normal(part, (rows // 3, columns), 0)
            for part in "qv"
        },
    }
    patched, _ = comfy.sd.load_lora_for_models(base, None, lora, 1.0, 0.0)
    changes = host_module(host, "nodes.host.plain_changes").plain_changes(lora, base)
    assert changes.by_weight.keys() == {last, fused} and not changes.notes
    for name, change in changes.by_weight.items():
        expected = comfy.lora.calculate_weight(patched.patches[name], stored[name].detach().clone(), name)
        assert torch.equal(stored[name] + change, expected), name
    with pytest.raises(ValueError, match="the change to a part of .*img_attn.qkv.weight is"):
        host_module(host, "nodes.host.plain_changes").plain_changes(
            {"transformer.transformer_blocks.0.attn.to_q.diff": torch.ones(3, columns)}, base
        )


def test_what_other_layers_a_file_has_is_reported(host):
    base, styled = tiny_model("sdxl"), tuned("sdxl")
    lora = dict(extract(host, styled, base)[0])
    lora |= {
        "diffusion_model.middle_block.1.proj_in.lora_up.weight": torch.ones(256, 2),
        "diffusion_model.middle_block.1.proj_in.lora_down.weight": torch.ones(2, 256),
    }
    lora |= {
        "diffusion_model.nowhere.w_norm": torch.ones(3),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 2),
    }
    report = swap(host, base, lora_model=lora, modulation=False)[1]
    assert "skipped, not plain changes: 1 layers" in report and "skipped, text encoder: 1 tensors" in report
    assert "matched nothing: diffusion_model.nowhere.w_norm" in report
    assert "skipped, switched off or not norm parameters: 17 plain changes" in report


def test_a_replaced_table_that_does_not_arrive_stops_the_run(host):
    import comfy.utils

    base, styled = tiny_model("wan"), tuned("wan")
    swapped = swap(host, base, style_model=styled)[0]
    key = f"{PREFIX}head.modulation"
    swapped.add_callback("on_load_after", lambda patcher, *_: None)
    callbacks = swapped.callbacks["on_load_after"]
    # Another pack that puts its own value there when the model is loaded, before ours looks.
    mine = {
        None: [lambda patcher, *_: comfy.utils.set_attr(patcher.model, key, torch.nn.Parameter(torch.zeros(1, 2, 48)))]
    }
    swapped.callbacks["on_load_after"] = mine | {name: call for name, call in callbacks.items() if name is not None}
    with pytest.raises(RuntimeError, match="head.modulation.*were not replaced"):
        sample(swapped, "wan")
