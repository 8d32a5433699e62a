"""Layer swap on the real host: the blocks of one model in another, and nothing else."""

import pytest
import torch

from .test_norm_swap import loaded_values, relative, sites, values
from .tiny_models import sample, tiny_model, tuned


def swap(host, model, other, amount=1.0, part="everything", preset="all blocks", block_weights=""):
    return host.node("StyleDeltaLayerSwap").execute(model, other, amount, part, preset, block_weights).result


def changed(found, before) -> set[str]:
    return {name for name, value in found.items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("layout", ["sd15", "sdxl", "flux", "wan", "ltx", "lumina"])
def test_all_of_the_other_model_is_the_other_model(host, layout):
    base, other = tiny_model(layout), tuned(layout)
    before, theirs = values(base), values(other)
    swapped, report = swap(host, base, other)
    found = loaded_values(swapped)
    assert all(torch.equal(found[name], value) for name, value in theirs.items())
    assert relative(sample(swapped, layout), sample(other, layout)) <= 1e-6
    assert f"swapped {len(theirs)} weights" in report
    half = loaded_values(swap(host, base, other, 0.5)[0])
    assert all(torch.allclose(half[name], before[name].lerp(value, 0.5), atol=1e-6) for name, value in theirs.items())
    assert all(torch.equal(value, before[name]) for name, value in values(base).items())
    assert all(torch.equal(value, theirs[name]) for name, value in values(other).items())


def test_presets_take_the_blocks_of_b_lora(host):
    base, other = tiny_model("sdxl"), tuned("sdxl")
    before = values(base)
    style = changed(loaded_values(swap(host, base, other, preset="SDXL style block (B-LoRA)")[0]), before)
    content = changed(loaded_values(swap(host, base, other, preset="SDXL content block (B-LoRA)")[0]), before)
    assert style == {name for name in before if ".output_blocks.1." in name}
    assert content == {name for name in before if ".output_blocks.0." in name}
    decoder = changed(loaded_values(swap(host, base, other, preset="decoder half")[0]), before)
    assert decoder == {name for name in before if ".output_blocks." in name}


@pytest.mark.parametrize("layout", ["sdxl", "wan", "lumina"])
def test_parts_share_no_weight_and_norms_are_those_of_the_table(host, layout):
    base, other = tiny_model(layout), tuned(layout)
    before = values(base)
    parts = ["norms", "attention", "feed-forward"] + ["convolutions"] * (layout == "sdxl")
    found = {part: changed(loaded_values(swap(host, base, other, part=part)[0]), before) for part in parts}
    assert found["norms"] == set(sites(host, base))
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    assert any(".to_q." in name or ".q." in name or ".qkv." in name for name in found["attention"])
    assert all(before[name].dim() != 4 for name in found["attention"] | found["feed-forward"])


def test_loras_on_both_models_count(host):
    base, other = tiny_model("sdxl"), tuned("sdxl")
    name = "diffusion_model.middle_block.1.proj_in"
    lora = {f"{name}.diff": torch.ones(256, 256)}
    apply = host.node("StyleDeltaApplyLora").execute
    on_both = swap(host, apply(base, lora, 1.0, 1.0)[0], apply(other, lora, 0.5, 1.0)[0], 0.25)[0]
    key = f"{name}.weight"
    expected = 0.75 * (values(base)[key] + 1) + 0.25 * (values(other)[key] + 0.5)
    assert torch.allclose(loaded_values(on_both)[key], expected, atol=1e-6)


def test_layers_of_another_shape_are_left_alone_and_amount_0_is_exact(host, monkeypatch):
    from . import tiny_models

    base = tiny_model("sd15")
    # What SD 2 has in place of SD 1.5's convolutions of one pixel.
    monkeypatch.setitem(tiny_models.CONFIGS["sd15"], "use_linear_in_transformer", True)
    other = tuned("sd15")
    before = values(base)
    swapped, report = swap(host, base, other)
    found = loaded_values(swapped)
    left = {name for name in before if name.endswith((".proj_in.weight", ".proj_out.weight"))}
    assert left and changed(found, before) == set(before) - left
    assert f"left unchanged, not in both models or of different shapes: {len(left)} weights such as" in report
    for parameter in base.model.parameters():
        parameter.data = parameter.data.to(torch.float8_e4m3fn).float().to(torch.float8_e4m3fn)
    before = values(base)
    assert all(
        torch.equal(value.float(), before[name].float())
        for name, value in loaded_values(swap(host, base, other, 0.0)[0]).items()
    )


def test_bad_input_names_the_remedy(host):
    base = tiny_model("sdxl")
    with pytest.raises(ValueError, match="different architectures"):
        swap(host, base, tiny_model("sd15"))
    with pytest.raises(ValueError, match="switch off all .* weights. The blocks are .*middle"):
        swap(host, base, tuned("sdxl"), block_weights="*=0")
    with pytest.raises(ValueError, match="There is no part arms"):
        swap(host, base, tuned("sdxl"), part="arms")
    with pytest.raises(ValueError, match="Lumina 2 has no known convolutions"):
        swap(host, tiny_model("lumina"), tuned("lumina"), part="convolutions")
    report = swap(host, base, tuned("sdxl"), block_weights="double=0.5")[1]
    assert "the rule double matches nothing" in report
