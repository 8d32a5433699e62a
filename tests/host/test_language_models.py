"""LoRAs of text encoders that are language models, Qwen and Gemma: their names, their strengths, and two names of one weight."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from .tiny_models import normal, tiny_model

CPU = torch.device("cpu")
WIDTH, INNER, STRENGTH = 64, 128, 0.5
SIZES = {
    "vocab_size": 32, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
ENCODERS = {"qwen3_4b": ("z_image", "ZImageTEModel"), "gemma2_2b": ("lumina2", "LuminaModel")}
LAYER = "layers.1.mlp.down_proj"
# Spellings of one layer: kohya's for Lumina and Anima, ComfyUI's two, PEFT's with and without the head of the model.
NAMES = {
    "kohya": "lora_te_layers_1_mlp_down_proj",
    "ComfyUI": "text_encoders.{encoder}.transformer.model." + LAYER,
    "ComfyUI, short": "text_encoders.transformer.model." + LAYER,
    "PEFT": "text_encoder." + LAYER,
    "PEFT, whole": "text_encoder.model." + LAYER,
}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def clip(host, encoder):
    """A CLIP of the host with a small language model, without a tokenizer."""
    import importlib

    import comfy.sd
    from comfy.model_patcher import ModelPatcher

    module, kind = ENCODERS[encoder]
    made = getattr(importlib.import_module(f"comfy.text_encoders.{module}"), kind)
    network = made(device=CPU, dtype=torch.float32, model_options={f"{encoder}_model_config": SIZES})
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(normal(name, tuple(weight.shape), 1))
    given = comfy.sd.CLIP(no_init=True)
    given.cond_stage_model, given.tokenizer, given.layer_idx = network, None, None
    given.patcher = ModelPatcher(network, load_device=CPU, offload_device=CPU)
    given.tokenizer_options, given.use_clip_schedule, given.apply_hooks_to_conds = {}, False, None
    return given


@pytest.fixture(scope="module")
def model(host):
    return tiny_model("z_image")


@pytest.fixture
def file(host, base_dir):
    """Writes a LoRA file of these tensors, and takes it away again."""
    path = base_dir / "models/loras/of_a_language_model.safetensors"

    def written(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, path)
        return path.name

    yield written
    path.unlink(missing_ok=True)


def factors(name: str, seed: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The tensors of a layer under a name, and the update that they are by hand."""
    up, down = normal("up", (WIDTH, 2), seed), normal("down", (2, INNER), seed)
    endings = ("lora_B", "lora_A") if "." in name else ("lora_up", "lora_down")
    return {f"{name}.{endings[0]}.weight": up, f"{name}.{endings[1]}.weight": down}, up @ down


def applied(host, model, clip, stack) -> tuple[torch.Tensor, str]:
    """What a stack adds to the weight of the layer, and the report."""
    import comfy.lora

    _, changed, report = host.node("StyleDeltaApplyLoraStack").execute(model, stack, clip).result
    (key,) = changed.patcher.patches
    assert key.endswith(f".transformer.model.{LAYER}.weight")
    stored = changed.cond_stage_model.state_dict()[key]
    return comfy.lora.calculate_weight(changed.patcher.patches[key], stored.clone(), key) - stored, report


@pytest.mark.parametrize("naming", NAMES)
def test_strengths_reach_it_under_every_name(host, model, clip, encoder, file, naming):
    tensors, update = factors(NAMES[naming].format(encoder=encoder), 2)
    change, report = applied(host, model, clip, [(file(tensors), 1.0, STRENGTH)])
    torch.testing.assert_close(change, STRENGTH * update, rtol=1e-4, atol=1e-4)
    assert f"clip: 1 weights (text.{encoder} 1)" in report and "matched nothing" not in report


def test_the_block_weights_of_its_layers_hold(host, model, clip, encoder, file):
    from_tensors, update = factors(NAMES["kohya"], 2)
    name = file(from_tensors)
    (entry,) = host.node("StyleDeltaAddLora").execute(name, 1.0, 1.0, "all blocks", "text.layer.1=0.25").args[0]
    torch.testing.assert_close(applied(host, model, clip, [entry])[0], 0.25 * update, rtol=1e-4, atol=1e-4)


def test_two_names_of_one_weight_are_added_up(host, model, clip, encoder, file):
    (one, first), (other, second) = (factors(NAMES[naming].format(encoder=encoder), seed) for naming, seed in (("kohya", 2), ("ComfyUI", 3)))  # fmt: skip
    change, report = applied(host, model, clip, [(file(one | other), 1.0, 1.0)])
    torch.testing.assert_close(change, first + second, rtol=1e-4, atol=1e-3)
    assert "matched nothing" not in report


def test_two_names_that_cannot_be_added_up_are_refused(host, model, clip, encoder, file):
    one, _ = factors(NAMES["kohya"], 2)
    name = NAMES["ComfyUI"].format(encoder=encoder)
    other = {f"{name}.set_weight": torch.zeros(WIDTH, INNER)}
    with pytest.raises(ValueError, match=f"{NAMES['kohya']} and {name}, which are the same weight of the model"):
        applied(host, model, clip, [(file(one | other), 1.0, 1.0)])


def test_a_merge_joins_names_of_one_weight(host, model, clip, encoder, file):
    """With the CLIP by the host's key map, without by the other names."""
    (one, first), (other, second) = (factors(NAMES[naming].format(encoder=encoder), seed) for naming, seed in (("ComfyUI", 2), ("kohya", 3)))  # fmt: skip
    for given in ({}, {"model": model, "clip": clip}):
        merged = merge(host, one, other, **given)
        assert {name.rpartition(".lora_")[0] for name in merged} == {NAMES["ComfyUI"].format(encoder=encoder)}
        change, _ = applied(host, model, clip, [(file({k: v.contiguous() for k, v in merged.items()}), 1.0, 1.0)])
        torch.testing.assert_close(change, first + second, rtol=1e-2, atol=1e-2)


def merge(host, one, other, **more):
    node = host.node("StyleDeltaMergeLoras")
    return node.execute("linear", "", 0, 0, **{"lora_1": one, "lora_2": other}, **more).args[0]
