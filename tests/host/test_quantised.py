"""LoRAs on quantised models: the change is made beside the weights, in full, and leaves nothing behind."""

from __future__ import annotations

import gc
import json
import re
from functools import partial
from typing import Any

import pytest
import quantised
import torch
from quantised import cosine, load, loaded, outputs

from .tiny_models import model_config, normal, tiny_model

CHECKPOINT = "styledelta_emoji.safetensors"
BLOCK = "middle_block.1.transformer_blocks.0"
WITHIN = f"{BLOCK}.attn1."
LINEAR = f"{BLOCK}.attn1.to_q"
CONV = "middle_block.0.in_layers.2"
FORMATS = (*quantised.PLAIN, quantised.OLD, *quantised.LAYOUTS)
MEANT, SHARE = 0.999, 0.02


@pytest.fixture(scope="module")
def weights(host, base_dir) -> dict[str, torch.Tensor]:
    """The U-Net of the demo's trained model, float32."""
    return quantised.unet_of(str(base_dir / "models/checkpoints" / CHECKPOINT))


@pytest.fixture(scope="module")
def models(host, weights):
    """A function that loads the U-Net in a format, once."""
    found: dict[str, Any] = {}

    def model(name: str) -> Any:
        if name not in quantised.formats():
            pytest.skip(f"This host has no {name}.")
        if name not in found:
            found[name] = load(weights, name, WITHIN)
        return found[name]

    yield model
    found.clear()


@pytest.fixture(autouse=True)
def as_in_the_host(host):
    with torch.inference_mode():
        yield


@pytest.fixture
def apply(host):
    """Applies a LORA_MODEL with our node: the MODEL and the report."""

    def run(model, lora, mode="automatic", strength=1.0):
        result = host.node("StyleDeltaApplyLora").execute(model, lora, strength, 1.0, None, mode).result
        return result[0], result[2]

    return run


def inputs(layer: str) -> torch.Tensor:
    return normal("inputs", (1, 320, 4, 4) if layer == CONV else (1, 24, 320), 0)


def sized(weights, layer: str, update: torch.Tensor, share: float = SHARE) -> float:
    """The factor that makes an update that share of its weight."""
    return share * float(weights[f"{layer}.weight"].norm() / update.norm())


def lora(weights, layer: str = LINEAR, seed: int = 0, share: float = SHARE) -> dict[str, torch.Tensor]:
    """A LoRA file of one layer."""
    m, n = weights[f"{layer}.weight"].shape[:2]
    kernel = weights[f"{layer}.weight"].shape[2:]
    up, down = normal("up", (m, 4), seed), normal("down", (4, n, *kernel), seed)
    up *= sized(weights, layer, up @ down.flatten(1), share)
    name = f"diffusion_model.{layer}"
    return {f"{name}.lora_up.weight": up.reshape(m, 4, *[1] * len(kernel)), f"{name}.lora_down.weight": down}


def others(weights, kind: str, layer: str = LINEAR) -> dict[str, torch.Tensor]:
    """A file of one layer with another kind of adapter."""
    m, n = weights[f"{layer}.weight"].shape
    weight = weights[f"{layer}.weight"]
    tensors = {
        "DoRA": lora(weights, layer)
        | {f"diffusion_model.{layer}.dora_scale": weight.norm(dim=1, keepdim=True) * (1 + 0.02 * normal("d", (m, 1), 0))},
        "LoKr": {"lokr_w1": normal("w1", (4, 4), 0), "lokr_w2": 3e-4 * normal("w2", (m // 4, n // 4), 0)},
        "LoHa": {name: 0.03 * normal(name, (m, 2) if name.endswith("a") else (2, n), 0)
                 for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
        "OFT": {"oft_blocks": 0.01 * normal("oft", (m // 32, 32, 32), 0)},
        "GLoRA": {"a1.weight": 0.01 * normal("a1", (n, 3), 0), "a2.weight": normal("a2", (3, n), 0) * 0.03,
                  "b1.weight": 0.002 * normal("b1", (m, 3), 0), "b2.weight": normal("b2", (3, n), 0) * 0.1},
        "diff": {"diff": SHARE * weight.std() * normal("diff", (m, n), 0)},
    }[kind]  # fmt: skip
    return tensors if kind == "DoRA" else {f"diffusion_model.{layer}.{name}": part for name, part in tensors.items()}


def meant(apply, model, file, layer: str, **options) -> torch.Tensor:
    """What the host makes of the layer in float32, out of the same dequantised weights and the file baked."""
    wide = load(quantised.dequantised(model), None)
    changed = apply(wide, file, "bake", **options)[0]
    return outputs(changed, layer, inputs(layer)) - outputs(wide, layer, inputs(layer))


def made(apply, model, file, layer: str, mode="automatic", **options) -> torch.Tensor:
    changed = apply(model, file, mode, **options)[0]
    return outputs(changed, layer, inputs(layer)) - outputs(model, layer, inputs(layer))


@pytest.mark.parametrize("name", FORMATS)
def test_a_lora_keeps_its_whole_effect_in_every_format(apply, models, weights, name):
    model, file = models(name), lora(weights)
    expected = meant(apply, model, file, LINEAR, strength=-0.7)
    assert cosine(made(apply, model, file, LINEAR, strength=-0.7), expected) > MEANT
    # And what it would have kept, as the report says.
    baked = cosine(made(apply, model, file, LINEAR, "bake", strength=-0.7), expected)
    report = apply(model, file, strength=-0.7)[1]
    told = float(re.search(r"cosine (\S+),", report)[1])
    assert baked < 0.95 and told == pytest.approx(baked, abs=0.07)


@pytest.mark.parametrize("kind", ["DoRA", "LoKr", "LoHa", "OFT", "GLoRA", "diff"])
def test_every_kind_of_adapter_keeps_its_effect(apply, models, weights, kind):
    model, file = models("fp8 e4m3"), others(weights, kind)
    assert cosine(made(apply, model, file, LINEAR), meant(apply, model, file, LINEAR)) > MEANT


@pytest.mark.parametrize("kind", ["LoRA", "DoRA"])
def test_fp8_layers_that_the_metadata_names_keep_the_whole_effect(host, apply, weights, kind):
    """ComfyUI's first files of mixed precision, which also the oldest hosts read."""
    import comfy.sd
    from comfy.quant_ops import QuantizedTensor

    weight = weights[f"{LINEAR}.weight"]
    scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    stored = weights | {f"{LINEAR}.weight": (weight / scale).to(torch.float8_e4m3fn), f"{LINEAR}.weight_scale": scale}
    layers = {"format_version": "1.0", "layers": {LINEAR: {"format": "float8_e4m3fn"}}}
    metadata = {"_quantization_metadata": json.dumps(layers)}
    model = comfy.sd.load_diffusion_model_state_dict(stored, metadata=metadata)
    assert isinstance(model.model.diffusion_model.get_submodule(LINEAR).weight, QuantizedTensor)
    file = lora(weights) if kind == "LoRA" else others(weights, kind)
    assert cosine(made(apply, model, file, LINEAR), meant(apply, model, file, LINEAR)) > MEANT
    assert cosine(made(apply, model, file, LINEAR, "bake"), meant(apply, model, file, LINEAR)) < 0.95


@pytest.mark.parametrize("mode", ["automatic", "bypass", "bake"])
def test_the_style_library_does_what_apply_lora_model_does(host, apply, models, mode):
    model = models("fp8 e4m3")
    library = host.node("StyleDeltaStyleLibrary").execute
    changed, _, style, _, report = library(model, "all folders", 0, STYLE, 0.3, 0.0, None, mode).result
    file = host.node("StyleDeltaLoadLora").execute(STYLE).result[0]
    expected = apply(model, file, mode, strength=0.3)[0]
    assert style == STYLE and changed.patches.keys() == expected.patches.keys()
    assert ("float8_e4m3fn weights stay as they are" in report) == (mode != "bake")
    assert torch.equal(outputs(changed, LINEAR, inputs(LINEAR)), outputs(expected, LINEAR, inputs(LINEAR)))
    found = outputs(changed, LINEAR, inputs(LINEAR)) - outputs(model, LINEAR, inputs(LINEAR))
    assert (cosine(found, meant(apply, model, file, LINEAR, strength=0.3)) > MEANT) == (mode != "bake")


def test_several_loras_on_one_layer_add_up(apply, models, weights):
    model = models("fp8 e4m3")
    files = [lora(weights, seed=seed) for seed in range(3)] + [others(weights, "DoRA")]
    wide = load(quantised.dequantised(model), None)
    changed, expected = model, wide
    for file in files:
        changed, expected = apply(changed, file)[0], apply(expected, file, "bake")[0]
    difference = [
        outputs(after, LINEAR, inputs(LINEAR)) - outputs(before, LINEAR, inputs(LINEAR))
        for after, before in ((changed, model), (expected, wide))
    ]
    torch.testing.assert_close(*difference, rtol=1e-3, atol=1e-4)


def test_convolutions_biases_and_norms_of_eight_bits_change_in_full(apply, models, weights):
    model = models("fp8 e4m3")
    file = lora(weights, CONV)
    assert cosine(made(apply, model, file, CONV), meant(apply, model, file, CONV)) > MEANT
    for layer, ending in ((f"{BLOCK}.norm1", "w_norm"), (CONV, "diff_b")):
        last = "weight" if ending == "w_norm" else "bias"
        change = SHARE * normal(layer, tuple(weights[f"{layer}.{last}"].shape), 0)
        file = {f"diffusion_model.{layer}.{ending}": change}
        assert cosine(made(apply, model, file, layer), meant(apply, model, file, layer)) > MEANT


def test_block_weights_and_strength_0_count(host, base_dir, models):
    node, rows = host.node("StyleDeltaApplyLoraStack"), host.node("StyleDeltaAddLora")
    model = models("fp8 e4m3")
    name = "emoji_ink_rank4.safetensors"
    stack = rows.execute(name, 1.0, 0.0, "all blocks", "*=0, middle=0.5").result[0]
    halved = node.execute(model, stack).result[0]
    whole = node.execute(model, rows.execute(name, 0.5, 0.0, "all blocks", "").result[0]).result[0]
    assert torch.equal(outputs(halved, LINEAR, inputs(LINEAR)), outputs(whole, LINEAR, inputs(LINEAR)))
    outside = "output_blocks.0.1.transformer_blocks.0.attn1.to_q"
    assert torch.equal(outputs(halved, outside, inputs(outside)), outputs(model, outside, inputs(outside)))
    nothing = node.execute(model, rows.execute(name, 0.0, 0.0, "all blocks", "").result[0]).result[0]
    assert torch.equal(outputs(nothing, LINEAR, inputs(LINEAR)), outputs(model, LINEAR, inputs(LINEAR)))


@pytest.fixture(scope="module")
def picture(host):
    """Draws with a MODEL through the host's sampler: a latent for each seed."""
    _, clip, _ = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    encode = host.node("CLIPTextEncode")().encode
    with torch.inference_mode():
        words, nothing = encode(clip, "frog")[0], encode(clip, "")[0]

    def draw(model, hooks=None, seeds=(5,)):
        conditioning = words
        if hooks is not None:
            conditioning = [[words[0][0], {**words[0][1], "hooks": hooks}]]
        sampler = host.node("KSampler")()

        def sampled(seed):
            latent = {"samples": torch.zeros(1, 4, 8, 8)}
            return sampler.sample(model, seed, 3, 3.0, "euler", "normal", conditioning, nothing, latent)[0]["samples"]

        with torch.inference_mode():
            return torch.cat([sampled(seed) for seed in seeds])

    return draw


STYLE = "emoji_ink_rank4.safetensors"


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_are_those_of_the_dequantised_model_with_the_lora(host, apply, models, picture, name):
    model, file = models(name), host.node("StyleDeltaLoadLora").execute(STYLE).result[0]
    wide = load(quantised.dequantised(model), None)
    changed = apply(model, file, strength=0.3)[0]
    # Formats that round what a layer is given, too, differ from the wide model without any LoRA, by chance: from picture to
    # picture by 0.8 to 1.4 times as much.
    draw = partial(picture, seeds=range(5, 8))
    before, after = draw(model), draw(changed)
    expected, plain = draw(apply(wide, file, "bake", strength=0.3)[0]), draw(wide)
    own = float((before - plain).norm())
    assert float((after - expected).norm()) < 1.5 * own + 1e-3 * float(expected.norm())
    assert float((after - before).norm()) > 10 * float((after - expected).norm()) or own > 0
    assert torch.equal(draw(model), before)


def test_nothing_is_left_behind(host, apply, models, weights, picture):
    """Whatever the order in which clones are loaded and thrown away."""
    model = models("fp8 e4m3")
    stored = {name: value.clone() for name, value in loaded(model).model.state_dict().items()}
    before = picture(model)
    one = apply(model, lora(weights) | others(weights, "DoRA", f"{BLOCK}.attn1.to_k"))[0]
    two = apply(model, lora(weights, seed=1))[0]
    first, second = picture(one), picture(two)
    assert not torch.equal(first, before) and not torch.equal(second, before) and not torch.equal(first, second)
    assert torch.equal(picture(one.clone()), first) and torch.equal(picture(two), second)
    loaded(one)
    del one, two
    gc.collect()
    assert torch.equal(picture(model), before)
    modules = model.model.diffusion_model.modules()
    assert not any(module._forward_hooks or getattr(module, "weight_function", None) for module in modules)
    after = loaded(model).model.state_dict()
    assert all(torch.equal(after[name].view(torch.uint8), value.view(torch.uint8)) for name, value in stored.items())


def test_a_model_that_does_not_fit_is_changed_in_full_too(host, apply, models, weights):
    model = models("fp8 e4m3")
    dora = f"{BLOCK}.attn1.to_k"
    changed = apply(model, lora(weights) | others(weights, "DoRA", dora))[0]
    whole = {layer: outputs(changed, layer, inputs(layer)) for layer in (LINEAR, dora)}
    changed.detach()
    device = torch.device("cpu")
    changed.partially_load(device, extra_memory=1)
    assert changed.model.model_lowvram
    with torch.inference_mode():
        found = {layer: changed.model.diffusion_model.get_submodule(layer)(inputs(layer)) for layer in whole}
    for layer, expected in whole.items():
        torch.testing.assert_close(found[layer], expected)
    changed.detach()


def test_hooks_of_a_conditioning_act_as_well(host, base_dir, apply, models, weights, picture):
    """A LoRA of the conditioning, which the host patches and takes away while it samples, beside ours."""
    model = models("fp8 e4m3")
    changed = apply(model, lora(weights, share=0.3))[0]
    plain = picture(changed)
    hooks = host.node("CreateHookLora")().create_hook(STYLE, 1.0, 0.0)[0]
    hooked = picture(changed, hooks)
    assert not torch.equal(hooked, plain) and not torch.equal(hooked, picture(model, hooks))
    assert torch.equal(picture(changed), plain)


def test_bypass_changes_no_weight_of_any_type(host, apply, weights):
    model = load(weights, None)
    changed, report = apply(model, lora(weights), "bypass")
    assert changed.patches == {} and "quantised" not in report
    expected = outputs(apply(model, lora(weights), "bake")[0], LINEAR, inputs(LINEAR))
    torch.testing.assert_close(outputs(changed, LINEAR, inputs(LINEAR)), expected, rtol=1e-4, atol=1e-4)
    assert apply(model, lora(weights))[0].patches.keys() == {f"diffusion_model.{LINEAR}.weight"}


def test_the_report_says_what_baking_costs(apply, models, weights):
    model = models("fp8 e4m3")
    assert "1 float8_e4m3fn weights stay as they are" in apply(model, lora(weights))[1]
    assert re.search(
        r"baked into 1 float8_e4m3fn weights and rounded, the rounding noise is \S+ times the change \(cosine 0\.\d\d, measured "
        r"on 1\)",
        apply(model, lora(weights), "bake")[1],
    )


def test_an_unknown_way_is_refused(apply, models, weights):
    with pytest.raises(ValueError, match="no mode 'later'.*Choose one of: automatic, bypass, bake"):
        apply(models("fp8 e4m3"), lora(weights), "later")


def test_extraction_reads_what_is_kept_beside_the_weights(host, apply, models, weights):
    model, file = models("fp8 e4m3"), lora(weights)
    changed = apply(model, file)[0]
    options = {"conv_rank": 0, "biases_and_norms": True, "ignore_noise": False, "device": "cpu"}
    found = host.node("StyleDeltaExtractLora").execute(changed, model, 4, **options).result[0]
    name = f"diffusion_model.{LINEAR}"
    up, down = (
        next(value for key, value in found.items() if key.endswith(ending))
        for ending in ("lora_up.weight", "lora_down.weight")
    )
    expected = file[f"{name}.lora_up.weight"] @ file[f"{name}.lora_down.weight"]
    torch.testing.assert_close(up.float() @ down.float(), expected, rtol=1e-3, atol=1e-5)


def test_layer_swap_takes_what_is_kept_along(host, apply, models, weights):
    """Swapped in whole, the layer computes what it does in the other model; and the own change is gone with the own layer."""
    model = models("fp8 e4m3")
    mine, theirs = apply(model, lora(weights, share=0.3))[0], apply(model, lora(weights, seed=1, share=0.3))[0]
    expected = outputs(theirs, LINEAR, inputs(LINEAR))
    swapped = host.node("StyleDeltaLayerSwap").execute(mine, theirs, 1.0, "everything", "all blocks", "").result[0]
    # Swapped weights are rounded to 8 bits.
    assert cosine(outputs(swapped, LINEAR, inputs(LINEAR)) - outputs(model, LINEAR, inputs(LINEAR)),
                  expected - outputs(model, LINEAR, inputs(LINEAR))) > 0.98  # fmt: skip


def wan(name: str, layer: str) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """A small Wan with one layer in a format, the same dequantised, and a LoRA of the layer."""
    patcher = tiny_model("wan")
    tensors = {key: value.detach().clone() for key, value in patcher.model.diffusion_model.state_dict().items()}
    model = quantised.rebuilt(model_config("wan"), tensors, name, layer)
    for key, value in quantised.dequantised(model).items():
        patcher.model.diffusion_model.get_parameter(key).data.copy_(value)
    return model, patcher, lora(tensors, layer, share=0.2)


def test_a_layer_that_the_host_runs_without_a_call_changes_too(host, apply):
    """No hook of such a layer is called: Wan's second linear layer in int8, on hosts that fold the activation before it in."""
    import comfy.ops

    if not hasattr(comfy.ops, "linear_input_act"):
        pytest.skip("This host calls every layer.")
    layer = "blocks.0.ffn.2"
    model, wide, file = wan("int8", layer)
    changed = apply(model, file)[0]
    assert changed.weight_wrapper_patches[f"diffusion_model.{layer}.weight"]
    given = normal("inputs", (1, 24, model.model.diffusion_model.blocks[0].ffn[0].in_features), 0)

    def of_block(patcher):
        return loaded(patcher).model.diffusion_model.blocks[0].ffn(given.clone())

    expected = of_block(apply(wide, file, "bake")[0]) - of_block(wide)
    # Without a LoRA the layer's input is rounded as well.
    assert cosine(of_block(changed) - of_block(model), expected) > 0.99


@pytest.mark.parametrize("mode", ["automatic", "bake"])
@pytest.mark.parametrize("kind", ["LoRA", "DoRA"])
def test_a_weight_whose_input_is_scaled_changes_as_the_true_one(host, apply, weights, models, kind, mode):
    """AWQ's smoothing: the layer multiplies its input, and what is stored is the weight over those factors."""
    model = models("nvfp4")
    factors = 1 + normal("smoothing", (320,), 0).abs()
    module = model.model.diffusion_model.get_submodule(LINEAR)
    wide = load(quantised.dequantised(model), None)
    wide.model.diffusion_model.get_submodule(LINEAR).weight.data *= factors
    file = lora(weights) if kind == "LoRA" else others(weights, kind)
    module.register_parameter("pre_quant_scale", torch.nn.Parameter(factors, requires_grad=False))
    try:
        found = made(apply, model, file, LINEAR, mode)
    finally:
        del module.pre_quant_scale
    expected = outputs(apply(wide, file, "bake")[0], LINEAR, inputs(LINEAR)) - outputs(wide, LINEAR, inputs(LINEAR))
    assert cosine(found, expected) > MEANT


def test_a_text_encoder_of_eight_bits_changes_in_full(host):
    loader = host.node("CheckpointLoaderSimple")()
    model, clip, _ = loader.load_checkpoint("styledelta_demo_sd15.safetensors")
    encoder = clip.cond_stage_model.clip_l.transformer
    layer = "text_model.encoder.layers.0.self_attn.q_proj"
    module = encoder.get_submodule(layer)
    for parameter in module.parameters():
        parameter.data = parameter.data.to(torch.float8_e4m3fn)
    up, down = normal("up", (module.out_features, 4), 0), normal("down", (4, module.in_features), 0)
    up *= SHARE * float(module.weight.float().norm() / (up @ down).norm())
    name = f"text_encoders.clip_l.transformer.{layer}"
    file = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    changed = host.node("StyleDeltaApplyLora").execute(model, file, 1.0, 1.0, clip).result[1]
    given = normal("inputs", (1, 77, module.in_features), 0)

    def of_layer(found):
        found.load_model()
        return found.cond_stage_model.clip_l.transformer.get_submodule(layer)(given.clone())

    assert cosine(of_layer(changed) - of_layer(clip), given @ (up @ down).T) > MEANT
    tokens = clip.tokenize("frog")
    assert not torch.equal(changed.encode_from_tokens(tokens), clip.encode_from_tokens(tokens))
