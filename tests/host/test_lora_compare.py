"""Compare LoRAs, preview sizes, bake block weights and count parameters on the real host."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from .demo_loras import load, updates

KOHYA, DIFFUSERS, LOCON, OTHER = (
    f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers", "locon", "other_architecture")
)


def compare(host, **inputs):
    plot, report = host.node("StyleDeltaCompareLoras").execute(**inputs).result
    assert plot.dim() == 4 and plot.shape[-1] == 3
    return report


def bake(host, lora, rules="", strength_model=1.0, strength_clip=1.0, preset="all blocks", **inputs):
    node = host.node("StyleDeltaBakeBlockWeights")
    return node.execute(lora, strength_model, strength_clip, preset, rules, **inputs).result


def preview(host, lora):
    return host.node("StyleDeltaSizePreview").execute(lora).result


def test_stacks_and_models_are_compared_with_and_without_a_model(host, checkpoint):
    model, clip = checkpoint
    inputs = {"lora_stack": [(KOHYA, 1.0, 1.0), (DIFFUSERS, 1.0, 1.0)], "lora_1": load(host, LOCON)}
    without, within = compare(host, **inputs), compare(host, **inputs, model=model, clip=clip)
    for report in (without, within):
        assert "A and B barely overlap: they can be stacked at full strength." in report
        assert "A and B: 64 layers in common" in report and "A and C: 48 layers in common" in report
        assert f"C: {LOCON}, model 1, clip 1" in report
    assert "| text.clip_l " in without and "| text.clip_l " in within


@pytest.mark.parametrize(
    ("strength", "verdict", "cosine"),
    [(0.5, "pull the same way in", "1.00"), (-0.5, "pull against each other in", "-1.00")],
)
def test_a_lora_meets_its_own_in_the_direction_of_its_strength(host, strength, verdict, cosine):
    report = compare(host, lora_stack=[(KOHYA, strength, strength)], lora_2=load(host, KOHYA))
    assert f"A and B {verdict}" in report
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.splitlines()
        if "% (chance " in line and line[0] == "|"
    ]
    assert [row[3] for row in rows] == [cosine] * 5 and sorted(row[4] for row in rows) == ["12"] * 4 + ["72"]
    assert all(cell.startswith("100% (chance ") for row in rows for cell in row[1:3])


def test_block_weights_of_the_stack_leave_layers_out(host):
    row = host.node("StyleDeltaAddLora").execute(KOHYA, 1.0, 1.0, "no text encoder", "middle=-1")[0]
    report = compare(host, lora_stack=row, lora_1=load(host, KOHYA))
    assert "72 layers not compared" in report and "only B has 72 layers: text.clip_l 72" in report
    assert "A and B pull against each other in middle:" in report


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "needs 2 to 26 LoRAs, not 0"),
        ([KOHYA], "needs 2 to 26 LoRAs, not 1"),
        ([KOHYA, OTHER], "has no layer in common with the others.*connect it"),
    ],
)
def test_too_few_and_unrelated_loras_are_refused(host, names, message):
    with pytest.raises(ValueError, match=message):
        compare(host, **{f"lora_{number}": load(host, name) for number, name in enumerate(names, start=1)})


def test_a_lora_of_another_model_is_refused_when_the_model_tells(host, checkpoint):
    with pytest.raises(
        ValueError, match="other_architecture.safetensors does not fit the connected model: none of its 4 layers"
    ):
        compare(host, lora_1=load(host, KOHYA), lora_2=load(host, OTHER), model=checkpoint[0])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [({}, "holds no LoRA tensors"), ({"lora_unet_conv_in.diff": torch.ones(8, 4, 3, 3)}, "has no low-rank layer")],
)
def test_loras_without_low_rank_layers_are_refused(host, tensors, message):
    with pytest.raises(ValueError, match=message):
        compare(host, lora_1=load(host, KOHYA), lora_2=tensors)
    with pytest.raises(ValueError, match=message):
        preview(host, tensors)


def test_nan_is_refused_before_any_of_these_nodes(host, base_dir):
    path = base_dir / "models/loras/test_nan.safetensors"
    tensors = load_file(path.parent / KOHYA)
    name = next(name for name in tensors if "lora_up" in name)
    save_file(tensors | {name: torch.full_like(tensors[name], torch.nan)}, path)
    try:
        with pytest.raises(ValueError, match="NaN"):
            load(host, path.name)
        with pytest.raises(ValueError, match="NaN"):
            compare(host, lora_stack=[(KOHYA, 1.0, 1.0), (path.name, 1.0, 1.0)])
    finally:
        path.unlink()


def test_the_preview_is_what_resizing_gives(host):
    lora = load(host, KOHYA)
    report, plot = preview(host, lora)
    assert plot.dim() == 4 and plot.shape[-1] == 3 and "cannot shrink: nothing" in report
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("|")]
    size, _, uniform, spread = next([cell.split()[0] for cell in row] for row in rows if row[1].strip() == "4")
    size = float(size)
    for policy, error in ((None, uniform), (host.node("StyleDeltaRankPolicy").execute("size", size, 0.0)[0], spread)):
        resized = host.node("StyleDeltaResizeLora").execute(lora, 4, policy)[1]
        assert f"{size:.2f} MB at 2 bytes per number" in resized
        found = float(resized.split("overall relative error: ")[1].split()[0])
        # The size in the table is rounded to two digits, which may cost a singular vector.
        assert found == pytest.approx(float(error), abs=2e-3)


@pytest.mark.parametrize("connected", [True, False])
def test_a_baked_lora_in_core_is_the_stack_with_block_weights(host, checkpoint, connected):
    model, clip = checkpoint
    rules = "attn2=0, middle=0.5, output.1=-0.7, double=1"
    row = host.node("StyleDeltaAddLora").execute(KOHYA, 0.8, 0.6, "all blocks", rules)[0]
    stacked = host.node("StyleDeltaApplyLoraStack").execute(model, row, clip).result
    inputs = {"model": model, "clip": clip} if connected else {}
    baked, report, plot = bake(host, load(host, KOHYA), rules, 0.8, 0.6, **inputs)
    import comfy.sd

    core = comfy.sd.load_lora_for_models(model, clip, baked, 1.0, 1.0)
    for ours, theirs in zip(map(updates, core), map(updates, stacked[:2])):
        assert ours.keys() == theirs.keys() and ours
        for key, expected in theirs.items():
            assert (ours[key] - expected).norm() <= 1e-6 * expected.norm(), key
    assert "the rule double matches nothing" in report
    assert "112 of 120 layers kept" in report and "output.0 4" in report
    assert plot.dim() == 4 and plot.shape[-1] == 3


def test_dora_is_baked_with_a_model_and_refused_without(host, checkpoint, base_dir):
    model, clip = checkpoint
    tensors = load_file(base_dir / "models/loras" / KOHYA)
    up = next(name for name in tensors if name.startswith("lora_unet") and "attn1_to_q.lora_up" in name)
    layer = up.split(".")[0]
    dora = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{layer}.")}
    dora[f"{layer}.dora_scale"] = torch.full((tensors[up].shape[0], 1), 0.7)
    with pytest.raises(ValueError, match="is DoRA"):
        bake(host, dora)
    whole, half = (bake(host, dora, "", strength, model=model, clip=clip)[0] for strength in (1.0, 0.5))
    assert torch.allclose(half[f"{layer}.diff"], 0.5 * whole[f"{layer}.diff"], atol=1e-7)


@pytest.mark.parametrize(
    ("rules", "preset", "message"),
    [
        ("*=0", "all blocks", "switch off all 120 layers"),
        ("middle", "all blocks", "`middle` cannot be read"),
        ("", "no such preset", "There is no block preset"),
    ],
)
def test_rules_that_leave_nothing_or_cannot_be_read_are_refused(host, rules, preset, message):
    with pytest.raises(ValueError, match=message):
        bake(host, load(host, KOHYA), rules, preset=preset)


def test_the_report_compares_parameters_with_the_base_model(host, checkpoint):
    model = checkpoint[0]
    numbers = sum(weight.numel() for weight in model.model.diffusion_model.state_dict().values())
    lora = load(host, LOCON)
    own = sum(tensor.numel() for name, tensor in lora.items() if not name.endswith("alpha"))
    node = host.node("StyleDeltaLoraReport")
    assert f"\n- parameters: {own:,}\n" in node.execute(lora)[1]
    share = f"{100 * own / numbers:.3g} % of the base model's {numbers:,}"
    assert f"\n- parameters: {own:,}, {share}\n" in node.execute(lora, model)[1]


def test_cancel_stops_each_of_them(host, monkeypatch):
    import comfy.model_management

    lora = load(host, KOHYA)

    def interrupt():
        raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
    for run in (lambda: compare(host, lora_1=lora, lora_2=lora), lambda: preview(host, lora), lambda: bake(host, lora)):
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run()
