"""Control nets that are model patches: as core's node by default, and in the steps and places that are asked for."""

from __future__ import annotations

import functools

import pytest
import torch

from . import tiny_controls, tiny_models
from .tiny_controls import _filled
from .tiny_models import LATENT_SHAPES, conditioning, normal

CPU = torch.device("cpu")
LAYOUTS = {"qwen": "QwenImageDiffsynthControlnet", "z_image": "ZImageFunControlnet"}
STEPS = 4


@pytest.fixture(params=LAYOUTS)
def layout(request, host) -> str:
    if LAYOUTS[request.param] not in host.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this ComfyUI has no {LAYOUTS[request.param]}")
    return request.param


@pytest.fixture(scope="module", autouse=True)
def caches():
    """The models of this file; the host cannot take them apart after its own end."""
    yield
    for cached in (model, patch, vae):
        cached.cache_clear()


@functools.cache
def model(layout: str):
    return tiny_models.tiny_model(layout)


@functools.cache
def vae(layout: str):
    return tiny_controls.tiny_vae("qwen" if layout == "qwen" else "sd3")


@functools.cache
def patch(layout: str):
    """A MODEL_PATCH with weights drawn at random."""
    import comfy.ops
    from comfy.model_patcher import ModelPatcher

    import nodes

    operations = comfy.ops.manual_cast
    if layout == "qwen":
        module = __import__(nodes.NODE_CLASS_MAPPINGS[LAYOUTS["qwen"]].__module__, fromlist=["x"])
        network = module.QwenImageBlockWiseControlNet(num_layers=2, dim=64, operations=operations)
    else:
        from comfy.ldm.lumina.controlnet import ZImage_Control

        network = ZImage_Control(
            dim=256, n_heads=4, n_kv_heads=4, ffn_dim_multiplier=1.0, n_control_layers=1, operations=operations
        )
    return ModelPatcher(_filled(network, 7), load_device=CPU, offload_device=CPU)


def hint(layout: str) -> torch.Tensor:
    height, width = (8 * side for side in LATENT_SHAPES[layout][-2:])
    return torch.nn.functional.interpolate(normal("hint", (1, 3, 4, 4), 3).sigmoid(), (height, width)).movedim(1, -1)


def ours(host, layout, strength=1.0, start=0.0, end=1.0, base=None, **more):
    node = host.node("StyleDeltaApplyModelPatch")
    given = base or model(layout)
    return node.execute(given, patch(layout), vae(layout), hint(layout), strength, start, end, **more).args[0]


def core(host, layout, strength=1.0):
    node = host.node("QwenImageDiffsynthControlnet")()
    return node.diffsynth_controlnet(model(layout), patch(layout), vae(layout), image=hint(layout), strength=strength)[
        0
    ]


def sample(patched, layout, batch=1) -> torch.Tensor:
    import comfy.model_management
    import comfy.sample

    noise = normal("noise", (batch, *LATENT_SHAPES[layout][1:]), 0)
    pair = (conditioning(layout, name) for name in ("positive", "negative"))
    result = comfy.sample.sample(
        patched, noise, STEPS, 2.0, "euler", "simple", *pair, torch.zeros_like(noise), disable_pbar=True, seed=0
    )
    comfy.model_management.unload_all_models()
    return result


def recorded(host, layout, **more) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    """The noise level, and the tokens before and after the net, at the first block of every evaluation."""
    seen: list = []

    def before(arguments):
        if arguments["block_index"] == 0:
            seen.append((float(arguments["transformer_options"]["sigmas"][0]), arguments["img"].clone()))
        return {name: arguments[name] for name in ("img", "txt")}

    def after(arguments):
        if arguments["block_index"] == 0:
            seen[-1] += (arguments["img"].clone(),)
        return {name: arguments[name] for name in ("img", "txt")}

    base = model(layout).clone()
    base.set_model_double_block_patch(before)
    patched = ours(host, layout, base=base, **more)
    patched.set_model_double_block_patch(after)
    sample(patched, layout, more.get("batch", 1))
    return seen


def schedule(host, text: str):
    node = host.node("StyleDeltaControlSchedule")
    return node.execute(text, "hold", "constant", 0.0, 1.0, 1.0, 20).args[0]


def test_without_more_it_is_cores_node_bit_for_bit(host, layout):
    plain, expected = sample(model(layout), layout), sample(core(host, layout, 0.7), layout)
    assert not torch.equal(plain, expected)
    assert torch.equal(sample(ours(host, layout, 0.7), layout), expected)
    dressed = ours(host, layout, 0.7, schedule=schedule(host, "1@0"), mask=torch.ones(1, 9, 5))
    assert torch.equal(sample(dressed, layout), expected)


def test_nothing_of_it_is_nothing(host, layout):
    plain = sample(model(layout), layout)
    assert ours(host, layout, 0.0) is model(layout)
    for patched in (
        ours(host, layout, mask=torch.zeros(1, 9, 5)),
        ours(host, layout, schedule=schedule(host, "0@0")),
    ):
        assert torch.equal(sample(patched, layout), plain)
    assert torch.equal(sample(model(layout), layout), plain)


def test_it_acts_in_its_steps_only(host, layout):
    sampling = model(layout).get_model_object("model_sampling")
    first, last = (float(sampling.percent_to_sigma(percent)) for percent in (0.3, 0.7))
    for sigma, before, after in recorded(host, layout, start=0.3, end=0.7):
        assert torch.equal(before, after) == (not last <= sigma <= first)
    acted = [not torch.equal(before, after) for _, before, after in recorded(host, layout, start=0.3, end=0.7)]
    assert any(acted) and not all(acted)


def test_its_steps_are_those_of_a_model_shifted_afterwards(host, layout):
    """As by ModelSamplingAuraFlow between this node and the sampler."""
    shift = host.node("ModelSamplingAuraFlow")()
    shifted = shift.patch_aura(model(layout), 7.0)[0]
    expected = sample(ours(host, layout, end=0.5, base=shifted), layout)
    later = shift.patch_aura(ours(host, layout, end=0.5), 7.0)[0]
    assert torch.equal(sample(later, layout), expected)
    assert not torch.equal(expected, sample(shift.patch_aura(ours(host, layout), 7.0)[0], layout))


def test_a_schedule_scales_what_it_adds(host, layout):
    full = recorded(host, layout, end=0.2)
    half = recorded(host, layout, end=0.2, schedule=schedule(host, "0.5@0"))
    added, half_added = (seen[0][2] - seen[0][1] for seen in (full, half))
    assert added.abs().max() > 0
    torch.testing.assert_close(half_added, 0.5 * added, rtol=1e-4, atol=1e-5 * float(added.abs().max()) + 1e-6)


def test_a_mask_keeps_it_to_its_place(host, layout):
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    full, half = recorded(host, layout, end=0.2), recorded(host, layout, end=0.2, mask=mask)
    rows, columns = (side // 2 for side in LATENT_SHAPES[layout][-2:])
    for (_, before, after), (_, _, whole) in zip(half[:1], full[:1]):
        tokens = [part[:, : rows * columns].reshape(len(part), rows, columns, -1) for part in (before, after, whole)]
        assert torch.equal(tokens[1][:, :, columns // 2 :], tokens[0][:, :, columns // 2 :])
        assert torch.equal(tokens[1][:, :, : columns // 2], tokens[2][:, :, : columns // 2])
        assert not torch.equal(tokens[1], tokens[0])


def test_clones_of_the_model_share_it(host, layout):
    patched = ours(host, layout)
    clones = [
        given.model_options["transformer_options"]["patches"]["double_block"] for given in (patched, patched.clone())
    ]
    assert clones[0][0] is clones[1][0]


def test_the_host_finds_its_models(host, layout):
    patched = ours(host, layout)
    assert patch(layout) in patched.model_patches_models()


def test_patches_and_models_of_other_kinds_are_refused(host, layout):
    from comfy.model_patcher import ModelPatcher

    other = ModelPatcher(torch.nn.Linear(1, 1), load_device=CPU, offload_device=CPU)
    node = host.node("StyleDeltaApplyModelPatch")
    with pytest.raises(ValueError, match="is a Linear, which is no ControlNet .* Qwen-Image DiffSynth ControlNet"):
        node.execute(model(layout), other, vae(layout), hint(layout), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="tokens .* wide, but SD|tokens .* wide, but BaseModel"):
        node.execute(tiny_models.tiny_model("sd15"), patch(layout), vae(layout), hint(layout), 1.0, 0.0, 1.0)
    if layout == "z_image":
        with pytest.raises(ValueError, match="inpaint_mask is for Qwen-Image nets"):
            ours(host, layout, inpaint_mask=torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="Give start_percent below end_percent"):
        ours(host, layout, start=0.7, end=0.2)
