"""Add LoRA and Apply LoRA Stack on the real host."""

import json
import os

import pytest
import torch
from comfy_server import PromptError
from safetensors.torch import load_file, save_file

from .demo_loras import LORAS

CHECKPOINT = "styledelta_demo_sd15.safetensors"


@pytest.fixture
def loras(host, base_dir):
    """A place in models/loras for files of one test."""
    folder = base_dir / "models/loras/from_tests"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def add(host, name, strength_model=1.0, strength_clip=1.0, preset="all blocks", block_weights="", stack=None):
    node = host.node("StyleDeltaAddLora")
    return node.execute(name, strength_model, strength_clip, preset, block_weights, stack)[0]


def apply(host, model, stack, clip=None):
    return host.node("StyleDeltaApplyLoraStack").execute(model, stack, clip).result


def rows(host, *added, stack=None):
    return host.node("StyleDeltaLoraStack").execute(json.dumps(added), stack)[0]


def patched_weights(patcher) -> dict[str, torch.Tensor]:
    """Every patched weight as the host would compute it."""
    import comfy.lora

    patcher = getattr(patcher, "patcher", patcher)
    weights = patcher.model.state_dict()
    return {
        key: comfy.lora.calculate_weight(patches, weights[key].float().clone(), key)
        for key, patches in patcher.patches.items()
    }


def assert_same(ours: dict[str, torch.Tensor], core: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == core.keys() and ours
    for key, weight in core.items():
        assert (ours[key] - weight).abs().max() <= 1e-6 * weight.abs().max(), key


def test_a_stack_equals_chained_lora_loaders(host, checkpoint):
    model, clip = checkpoint
    stack, core_model, core_clip = None, model, clip
    for name, strength_model, strength_clip in LORAS:
        stack = add(host, name, strength_model, strength_clip, stack=stack)
        loader = host.node("LoraLoader")()
        core_model, core_clip = loader.load_lora(core_model, core_clip, name, strength_model, strength_clip)
    our_model, our_clip, report = apply(host, model, stack, clip)
    assert_same(patched_weights(our_model), patched_weights(core_model))
    assert_same(patched_weights(our_clip), patched_weights(core_clip))
    assert not model.patches and not clip.patcher.patches
    assert "matched nothing" not in report and report.count("model: ") == 3


def test_rows_equal_a_chain_of_single_nodes(host, checkpoint):
    first, second, third = LORAS
    chain = add(host, *first, "decoder half", "output.3=0.5", add(host, *third))
    chain = add(host, second[0], second[1], second[1], stack=chain)
    made = rows(
        host,
        {"on": True, "name": first[0], "model": first[1], "clip": first[2], "preset": "decoder half", "blocks": "output.3=0.5"},
        {"on": False, "name": "not/there.safetensors"},
        {"name": second[0], "model": second[1]},
        stack=add(host, *third),
    )  # fmt: skip
    assert made == chain and [row.block_weights for row in made] == [row.block_weights for row in chain]
    model, clip = checkpoint
    ours, theirs = apply(host, model, made, clip), apply(host, model, chain, clip)
    assert_same(patched_weights(ours[0]), patched_weights(theirs[0]))
    assert_same(patched_weights(ours[1]), patched_weights(theirs[1]))
    assert ours[2] == theirs[2]


def test_without_rows_the_earlier_stack_comes_through(host, checkpoint):
    earlier = add(host, *LORAS[0])
    assert rows(host, stack=earlier) == earlier
    assert rows(host, {"on": False, "name": LORAS[1][0]}) == []
    model, clip, report = apply(host, checkpoint[0], rows(host), checkpoint[1])
    assert not model.patches and not clip.patcher.patches and report.startswith("No LoRA is connected or switched on")


def test_a_row_without_its_file_is_named(host):
    message = "Row 2 of the LoRA stack: not/there.safetensors is not in .*loras.*Put the file there"
    with pytest.raises(FileNotFoundError, match=message):
        rows(host, {"name": LORAS[0][0]}, {"name": "not/there.safetensors"})


def test_changed_files_of_rows_that_are_on_are_noticed(host, loras):
    node = host.node("StyleDeltaLoraStack")
    path = loras / "changing.safetensors"
    save_file(load_file(loras.parent / LORAS[0][0]), path)
    text = json.dumps([{"name": LORAS[0][0]}, {"name": "from_tests/changing.safetensors"}])
    off = json.dumps([{"name": LORAS[0][0]}, {"name": "from_tests/changing.safetensors", "on": False}])
    before, before_off = node.fingerprint_inputs(rows=text), node.fingerprint_inputs(rows=off)
    assert node.fingerprint_inputs(rows=text) == before
    save_file(load_file(loras.parent / LORAS[1][0]), path)
    assert node.fingerprint_inputs(rows=text) != before
    assert node.fingerprint_inputs(rows=off) == before_off
    assert node.fingerprint_inputs(rows="[{") == ""


def test_rows_are_written_as_text_by_a_script(server):
    prompt = {
        "checkpoint": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "stack": {"class_type": "StyleDeltaLoraStack", "inputs": {"rows": json.dumps([{"name": LORAS[0][0], "model": 0.5}])}},
        "apply": {
            "class_type": "StyleDeltaApplyLoraStack",
            "inputs": {"model": ["checkpoint", 0], "clip": ["checkpoint", 1], "lora_stack": ["stack", 0]},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["apply", 2]}},
    }  # fmt: skip
    assert f"1. {LORAS[0][0]}  model 0.5, clip 0.5" in server.run(prompt)["show"]["text"][0]
    for text, message in (
        ("[{", "Node stack .*rows of the LoRA stack are not JSON"),
        ('[{"name": "lost.safetensors"}]', "Node stack .*Row 1 of the LoRA stack: lost.safetensors is not in"),
        ('[{"name": "a", "strength": 1}]', "Row 1 of the LoRA stack: the key `strength` is not known"),
    ):
        prompt["stack"]["inputs"]["rows"] = text
        with pytest.raises(PromptError, match=message):
            server.run(prompt)


def sampled(model: list, positive: list, prefix: str) -> dict:
    return {
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": model, "positive": positive, "negative": positive, "latent_image": ["latent", 0],
                "seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            },
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sample", 0], "filename_prefix": prefix}},
    }  # fmt: skip


def test_a_stack_samples_the_same_latent_as_core(server, base_dir):
    def run(chain: dict, model: list, clip: list, prefix: str) -> torch.Tensor:
        prompt = {
            "checkpoint": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
            "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "text": {"class_type": "CLIPTextEncode", "inputs": {"clip": clip, "text": "a village"}},
            **chain,
            **sampled(model, ["text", 0], prefix),
        }
        saved = server.run(prompt)["save"]["latents"][0]
        return load_file(base_dir / "output" / saved["subfolder"] / saved["filename"])["latent_tensor"]

    core, ours = {}, {}
    model, clip, stack = ["checkpoint", 0], ["checkpoint", 1], None
    for index, (name, strength_model, strength_clip) in enumerate(LORAS):
        values = {"lora_name": name, "strength_model": strength_model, "strength_clip": strength_clip}
        core[f"lora{index}"] = {"class_type": "LoraLoader", "inputs": {"model": model, "clip": clip, **values}}
        model, clip = [f"lora{index}", 0], [f"lora{index}", 1]
        values |= {"preset": "all blocks", "block_weights": ""} | ({"lora_stack": stack} if stack else {})
        ours[f"lora{index}"] = {"class_type": "StyleDeltaAddLora", "inputs": values}
        stack = [f"lora{index}", 0]
    ours["apply"] = {
        "class_type": "StyleDeltaApplyLoraStack",
        "inputs": {"model": ["checkpoint", 0], "clip": ["checkpoint", 1], "lora_stack": stack},
    }
    expected = run(core, model, clip, "test_latents/core")
    base = run({}, ["checkpoint", 0], ["checkpoint", 1], "test_latents/base")
    stacked = run(ours, ["apply", 0], ["apply", 1], "test_latents/ours")
    assert (stacked - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert (stacked - base).abs().max() > 1e-2


def test_block_weights_scale_only_what_they_name(host, checkpoint):
    model, clip = checkpoint
    weights = model.model.state_dict()
    name = LORAS[0][0]
    full = patched_weights(apply(host, model, add(host, name), clip)[0])
    part, _, report = apply(host, model, add(host, name, block_weights="attn2=0, input.3=0.5"), clip)
    part = patched_weights(part)
    for key, weight in full.items():
        change = weight - weights[key]
        if "input_blocks.3." in key:
            assert torch.allclose(part[key] - weights[key], change / 2, atol=1e-6)
        elif ".attn2." in key:
            assert key not in part
        else:
            assert torch.equal(part[key], weight)
    assert "switched off" in report and "block weights: `attn2=0, input.3=0.5`" in report


def test_a_rule_for_a_missing_block_is_told(host, checkpoint):
    report = apply(host, checkpoint[0], add(host, LORAS[0][0], block_weights="double.3=0.5"))[2]
    assert "rules that match nothing here: double.3" in report


def test_presets_and_rules_are_checked_when_the_row_is_made(host):
    with pytest.raises(ValueError, match="no block preset"):
        add(host, LORAS[0][0], preset="everything")
    with pytest.raises(ValueError, match="`attn2` cannot be read"):
        add(host, LORAS[0][0], block_weights="attn2")
    with pytest.raises(FileNotFoundError, match="gone.safetensors is not in .*Put the file there"):
        add(host, "gone.safetensors")


def test_without_clip_the_text_encoder_part_is_reported(host, checkpoint):
    model, clip, report = apply(host, checkpoint[0], add(host, LORAS[0][0]))
    assert clip is None and "no CLIP connected: 216 text encoder tensors" in report and "matched nothing" not in report


def test_a_stack_of_another_pack_is_accepted(host, checkpoint, loras):
    save_file(load_file(loras.parent / LORAS[0][0]), loras / "inside.safetensors")
    rows = [("None", 1.0, 1.0), (LORAS[1][0], 0.5, 0.5), ("from_tests\\inside.safetensors", 1.0, 1.0, "extra")]
    model, clip = checkpoint
    ours = patched_weights(apply(host, model, rows, clip)[0])
    stack = add(host, LORAS[0][0], stack=add(host, LORAS[1][0], 0.5, 0.5))
    assert_same(ours, patched_weights(apply(host, model, stack, clip)[0]))


def test_one_row_gives_both_models_their_own_file_of_a_pair(host, checkpoint, loras):
    """Each side is what core's loader makes of its own file at its own strength."""
    model, _ = checkpoint
    tensors = load_file(os.path.join(os.path.dirname(loras), LORAS[0][0]))
    for name, scale in (("pair_high_noise", 1.0), ("pair_low_noise", -0.5)):
        scaled = {key: scale * tensor if "lora_up" in key else tensor for key, tensor in tensors.items()}
        save_file(scaled, loras / f"{name}.safetensors")
    stack = rows(host, {"name": "from_tests/pair_low_noise.safetensors", "model": 0.8, "low": 0.5})
    high, low, report = host.node("StyleDeltaSplitHighLow").execute(stack, 1.0, 2.0).result
    sides = {"from_tests/pair_high_noise.safetensors": (high, 0.8), "from_tests/pair_low_noise.safetensors": (low, 1.0)}
    for name, (side, strength) in sides.items():
        expected = host.node("LoraLoaderModelOnly")().load_lora_model_only(model, name, strength)[0]
        assert_same(patched_weights(apply(host, model, side)[0]), patched_weights(expected))
    assert report == f"1. {', '.join(f'{s} noise {n:g} {f}' for s, (f, (_, n)) in zip(('high', 'low'), sides.items()))}"
    alone = host.node("StyleDeltaSplitHighLow").execute(
        [("from_tests/pair_high_noise.safetensors", 1.0, 1.0)], 1.0, 0.0
    )
    assert not apply(host, model, alone.result[1])[0].patches


def test_tensors_that_match_nothing_are_all_listed(host, checkpoint, loras):
    tensors = load_file(loras.parent / LORAS[0][0])
    extra = {f"lora_unet_no_such_layer.{part}": torch.ones(4, 4) for part in ("lora_up.weight", "lora_down.weight")}
    save_file(tensors | extra, loras / "extra.safetensors")
    report = apply(host, checkpoint[0], add(host, "from_tests/extra.safetensors"), checkpoint[1])[2]
    assert sorted(line.split()[-1] for line in report.splitlines() if "matched nothing" in line) == sorted(extra)


def test_files_that_do_not_fit_are_refused(host, checkpoint, loras):
    model, clip = checkpoint
    with pytest.raises(ValueError, match="other_architecture.safetensors does not fit.*none of its.*Flux.*BaseModel"):
        apply(host, model, add(host, "styledelta_demo_other_architecture.safetensors"), clip)
    both = load_file(loras.parent / "styledelta_demo_other_architecture.safetensors")
    text = {key: t for key, t in load_file(loras.parent / LORAS[0][0]).items() if key.startswith("lora_te")}
    save_file(both | text, loras / "both.safetensors")
    for encoder in (clip, None):
        with pytest.raises(ValueError, match="none of its 12 tensors for the diffusion model matches.*Flux"):
            apply(host, model, add(host, "from_tests/both.safetensors"), encoder)
    wide = {
        key: torch.cat([t, t]) if ".lora_up" in key else t for key, t in load_file(loras.parent / LORAS[0][0]).items()
    }
    save_file(wide, loras / "wide.safetensors")
    with pytest.raises(ValueError, match=r"wide.safetensors does not fit.*is \(.*\) in the model"):
        apply(host, model, add(host, "from_tests/wide.safetensors"), clip)
    os.link(loras.parents[1] / "checkpoints" / CHECKPOINT, loras / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors is not a LoRA; it is a full checkpoint"):
        apply(host, model, add(host, "from_tests/model.safetensors"), clip)


def test_damaged_files_are_refused(host, checkpoint, loras):
    whole = (loras.parent / LORAS[0][0]).read_bytes()
    (loras / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
        apply(host, checkpoint[0], add(host, "from_tests/cut.safetensors"))
    tensors = load_file(loras.parent / LORAS[0][0])
    name = next(key for key in tensors if key.endswith("lora_up.weight"))
    half = {key: t for key, t in tensors.items() if key != name.replace("lora_up", "lora_down")}
    save_file(half, loras / "half.safetensors")
    with pytest.raises(ValueError, match="half.safetensors lacks the tensor .*lora_down.weight"):
        apply(host, checkpoint[0], add(host, "from_tests/half.safetensors"), checkpoint[1])
    eight = {key: t.to(torch.float8_e4m3fn) if t.dim() > 1 else t for key, t in tensors.items()}
    save_file(eight, loras / "eight.safetensors")
    assert "48 weights" in apply(host, checkpoint[0], add(host, "from_tests/eight.safetensors"))[2]
    tensors[name][0, 0] = float("inf")
    save_file(tensors, loras / "inf.safetensors")
    with pytest.raises(ValueError, match=f"inf.safetensors: the tensor {name} holds NaN or infinite"):
        apply(host, checkpoint[0], add(host, "from_tests/inf.safetensors"))


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(host, checkpoint, loras):
    path = loras / "changing.safetensors"
    save_file(load_file(loras.parent / LORAS[0][0]), path)
    model = checkpoint[0]
    node = host.node("StyleDeltaAddLora")
    stack, before = (
        add(host, "from_tests/changing.safetensors"),
        node.fingerprint_inputs("from_tests/changing.safetensors"),
    )
    first = apply(host, model, stack)[0].patches
    again = apply(host, model, stack)[0].patches
    key = next(iter(first))
    assert first[key][0][1].weights[0] is again[key][0][1].weights[0]
    save_file(load_file(loras.parent / LORAS[1][0]), path)
    assert node.fingerprint_inputs("from_tests/changing.safetensors") != before
    assert apply(host, model, stack)[0].patches.keys() != first.keys()


def test_an_error_names_the_file_and_the_queue_goes_on(server):
    prompt = {
        "checkpoint": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "add": {
            "class_type": "StyleDeltaAddLora",
            "inputs": {
                "lora_name": "styledelta_demo_other_architecture.safetensors",
                "strength_model": 1.0, "strength_clip": 1.0, "preset": "all blocks", "block_weights": "",
            },
        },
        "apply": {
            "class_type": "StyleDeltaApplyLoraStack",
            "inputs": {"model": ["checkpoint", 0], "lora_stack": ["add", 0]},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["apply", 2]}},
    }  # fmt: skip
    with pytest.raises(PromptError, match="styledelta_demo_other_architecture.safetensors does not fit this model"):
        server.run(prompt)
    prompt["add"]["inputs"]["lora_name"] = LORAS[0][0]
    assert "input.3 12" in json.dumps(server.run(prompt)["show"])
