"""Load, merge, resize, save and apply LoRAs on the real host."""

import json

import pytest
import torch
from comfy_server import PromptError
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .demo_loras import LORAS, load, updates


def merge(host, method="linear", parameters="", rank=0, seed=0, **inputs):
    return host.node("StyleDeltaMergeLoras").execute(method, parameters, rank, seed, **inputs).result


def apply(host, checkpoint, lora_model, strength=1.0):
    model, clip = checkpoint
    return host.node("StyleDeltaApplyLora").execute(model, lora_model, strength, strength, clip).result


def assert_same(ours, core, tolerance=1e-6):
    assert ours.keys() == core.keys() and ours
    for key, expected in core.items():
        assert (ours[key] - expected).norm() <= tolerance * expected.norm() + 1e-9, key


def test_a_linear_merge_equals_stacking_in_core(host, checkpoint):
    model, clip = core_model, core_clip = checkpoint
    for name, strength_model, strength_clip in LORAS:
        loader = host.node("LoraLoader")()
        core_model, core_clip = loader.load_lora(core_model, core_clip, name, strength_model, strength_clip)
    merged, report, plot = merge(host, lora_stack=LORAS, model=model, clip=clip)
    our_model, our_clip, _ = apply(host, checkpoint, merged)
    assert_same(updates(our_model), updates(core_model))
    assert_same(updates(our_clip), updates(core_clip))
    assert "overall relative error: 0\n" in report
    assert plot.dim() == 4 and plot.shape[-1] == 3


def test_models_and_stacks_merge_alike(host, checkpoint):
    model, clip = checkpoint
    (one, strength, _), (two, _, _) = LORAS[0], LORAS[1]
    from_stack = merge(host, lora_stack=[(one, strength, strength), (two, 1.0, 1.0)], model=model, clip=clip)[0]
    inputs = {"lora_1": load(host, one), "strength_1": strength, "lora_2": load(host, two)}
    from_models = merge(host, model=model, clip=clip, **inputs)[0]
    assert from_stack.keys() == from_models.keys()
    assert all(torch.equal(from_stack[name], from_models[name]) for name in from_stack)


def test_every_method_merges_the_demo_loras(host, checkpoint):
    model, clip = checkpoint
    options = host.node("StyleDeltaMergeLoras").INPUT_TYPES()["required"]["method"][1]["options"]
    assert len(options) >= 15
    for method in options:
        stack = LORAS[:2]
        lora, report, _ = merge(host, method, rank=8, lora_stack=stack, model=model, clip=clip)
        assert lora and all(torch.isfinite(tensor).all() for tensor in lora.values()), method
        assert method in report and "worst layers" in report
        assert ("lost to low-rank compression" in report) == (method in ("ties", "dare", "della", "breadcrumbs"))


def test_a_seed_repeats_bit_for_bit(host, checkpoint):
    def run(seed):
        return merge(host, "dare", "drop=0.5", rank=4, seed=seed, lora_stack=LORAS[:2], model=checkpoint[0])[0]

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first if name in other)


def test_resizing_lowers_the_rank_and_tells_the_error(host):
    lora = load(host, LORAS[0][0])
    small, report, _ = host.node("StyleDeltaResizeLora").execute(lora, 2).result
    assert max(t.shape[0] for name, t in small.items() if "lora_down" in name) == 2
    assert "overall relative error" in report and "rank 2" in report


def test_a_size_in_megabytes_is_met(host):
    lora = load(host, LORAS[0][0])
    policy = host.node("StyleDeltaRankPolicy").execute("size", 0.8, 0.0)[0]
    small = host.node("StyleDeltaResizeLora").execute(lora, 0, policy)[0]
    numbers = sum(t.numel() for name, t in small.items() if not name.endswith("alpha"))
    assert 0.75e6 <= numbers * 2 <= 0.8e6


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_saved_file_does_what_the_graph_did(host, checkpoint, base_dir, dtype):
    model, clip = checkpoint
    merged = merge(host, lora_stack=LORAS, rank=16, model=model, clip=clip)[0]
    path, report = host.node("StyleDeltaSaveLora").execute(merged, "test_loras/merged", dtype).result
    try:
        assert "read back and applied" in report
        loader = host.node("LoraLoader")()
        # Core's loader takes a full path only through its folders, so the file is linked there.
        link = base_dir / "models/loras/test_merged.safetensors"
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
        core = loader.load_lora(model, clip, link.name, 1.0, 1.0)
        link.unlink()
        ours = apply(host, checkpoint, merged)
        tolerance = {"float32": 1e-6, "float16": 5e-3, "bfloat16": 2e-2}[dtype]
        assert_same(updates(core[0]), updates(ours[0]), tolerance)
        assert_same(updates(core[1]), updates(ours[1]), tolerance)
        with safe_open(path, framework="pt") as file:
            recipe = json.loads(file.metadata()["styledelta.recipe"])
        assert recipe["method"] == "linear" and [s["name"] for s in recipe["sources"]] == [row[0] for row in LORAS]
        assert all(len(source["sha256"]) == 64 for source in recipe["sources"])
    finally:
        import os

        os.unlink(path)


def test_a_foreign_tensor_is_named_in_the_reports(host, base_dir):
    path = base_dir / "models/loras/test_foreign.safetensors"
    save_file(load_file(path.parent / LORAS[0][0]) | {"optimizer.state": torch.zeros(3)}, path)
    try:
        lora = load(host, path.name)
        assert "left out: optimizer.state" in host.node("StyleDeltaResizeLora").execute(lora, 4)[1]
        saved, report = host.node("StyleDeltaSaveLora").execute(lora, "test_loras/foreign", "float32").result
        assert "left out: optimizer.state" in report
        __import__("os").unlink(saved)
    finally:
        path.unlink()


def test_dora_is_baked_with_a_model_and_refused_without(host, checkpoint, base_dir):
    import comfy.lora

    model, clip = checkpoint
    tensors = load_file(base_dir / "models/loras" / LORAS[0][0])
    name = next(key for key in tensors if key.startswith("lora_unet") and "attn1_to_q" in key and "up" in key)
    layer = name.split(".")[0]
    tensors = {key: tensor for key, tensor in tensors.items() if key.startswith(layer + ".")}
    tensors[f"{layer}.dora_scale"] = torch.full((tensors[f"{layer}.lora_up.weight"].shape[0], 1), 0.7)
    with pytest.raises(ValueError, match="is DoRA.*the model is connected"):
        merge(host, lora_1=tensors)
    merged = merge(host, lora_1=tensors, model=model, clip=clip)[0]
    (key,) = (key for key, value in comfy.lora.model_lora_keys_unet(model.model, {}).items() if key == layer)
    weight_key = comfy.lora.model_lora_keys_unet(model.model, {})[key]
    weight = model.model.state_dict()[weight_key].float()
    patch = comfy.lora.load_lora(tensors, {layer: weight_key})[weight_key]
    expected = comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weight.clone(), weight_key) - weight
    assert torch.allclose(updates(apply(host, checkpoint, merged)[0])[weight_key], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "nonsense"}, "There is no merge method"),
        ({"method": "ties", "parameters": "keep"}, "`keep` cannot be read"),
        ({"method": "ties", "parameters": "kept=0.3"}, "has no parameter kept.*keep"),
        ({"lora_stack": None}, "There is no LoRA to merge"),
    ],
)
def test_bad_requests_are_refused(host, change, message):
    with pytest.raises(ValueError, match=message):
        merge(host, **({"lora_stack": LORAS[:2], "rank": 4} | change))


def test_loras_of_two_models_are_refused(host):
    narrow = {"x.lora_up.weight": torch.ones(4, 1), "x.lora_down.weight": torch.ones(1, 4)}
    wide = {"x.lora_up.weight": torch.ones(8, 1), "x.lora_down.weight": torch.ones(1, 4)}
    with pytest.raises(ValueError, match="for different models"):
        merge(host, lora_1=narrow, lora_2=wide)


def test_block_weights_are_baked_in(host, checkpoint):
    model, clip = checkpoint
    row = host.node("StyleDeltaAddLora").execute(LORAS[0][0], 0.8, 0.6, "all blocks", "attn2=0, middle=0.5, double=1")[
        0
    ]
    merged, report, _ = merge(host, lora_stack=row, model=model, clip=clip)
    stacked = host.node("StyleDeltaApplyLoraStack").execute(model, row, clip).result
    ours = {key: value for key, value in updates(apply(host, checkpoint, merged)[0]).items() if value.any()}
    assert_same(ours, updates(stacked[0]))
    assert "the rule double matches nothing" in report


def test_an_unknown_rank_mode_is_refused(host):
    with pytest.raises(ValueError, match="There is no rank mode"):
        host.node("StyleDeltaRankPolicy").execute("most", 1.0, 0.0)
    with pytest.raises(ValueError, match="keeps nothing. Give a rank of at least 1"):
        host.node("StyleDeltaRankPolicy").execute("fixed", 0.95, 0.0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        host.node("StyleDeltaRankPolicy").execute("energy", 95.0, 0.0)


def test_cancel_half_way_leaves_no_file(host, base_dir, monkeypatch):
    import comfy.model_management

    lora = load(host, LORAS[0][0])
    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 5:
            raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        host.node("StyleDeltaSaveLora").execute(lora, "test_cancelled/lora", "float16")
    assert not list((base_dir / "output/test_cancelled").iterdir())


def test_the_queue_goes_on_after_a_failed_merge(server):
    prompt = {
        "load": {"class_type": "StyleDeltaLoadLora", "inputs": {"lora_name": LORAS[0][0]}},
        "merge": {
            "class_type": "StyleDeltaMergeLoras",
            "inputs": {"method": "ties", "parameters": "kept=1", "rank": 4, "seed": 0, "lora_1": ["load", 0]},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["merge", 1]}},
    }
    with pytest.raises(PromptError, match="has no parameter kept"):
        server.run(prompt)
    prompt["merge"]["inputs"]["parameters"] = ""
    assert "worst layers" in json.dumps(server.run(prompt)["show"])
