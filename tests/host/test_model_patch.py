"""Control nets that are model patches: as core's node by default, and in the steps and places that are asked for."""

from __future__ import annotations

import functools

import pytest
import torch

from . import tiny_controls, tiny_models
from .tiny_controls import _filled
from .tiny_models import LATENT_SHAPES, conditioning, normal

CPU = torch.device("cpu")
# Core's node of each kind of net, and the tiny model that the net is for.
LAYOUTS = {
    "qwen": ("QwenImageDiffsynthControlnet", "qwen"),
    "z_image": ("ZImageFunControlnet", "z_image"),
    "z_image_inpaint": ("ZImageFunControlnet", "z_image"),
    "uni3c": ("WanUni3CControlnetApply", "wan"),
    # Anima's own widths are fixed; Cosmos Predict 2 has the same blocks.
    "lllite": ("AnimaLLLiteApply", "cosmos_predict2"),
    "lllite_inpaint": ("AnimaLLLiteApply", "cosmos_predict2"),
}
SHAPES = LATENT_SHAPES | {"cosmos_predict2": (1, 16, 1, 8, 8)}
ADDING = ("qwen", "z_image", "uni3c")
STEPS = 4


def skip_where_missing(host, layout: str) -> str:
    if LAYOUTS[layout][0] not in host.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this ComfyUI has no {LAYOUTS[layout][0]}")
    return layout


@pytest.fixture(params=("qwen", "z_image", "uni3c", "lllite"))
def layout(request, host) -> str:
    return skip_where_missing(host, request.param)


@pytest.fixture(params=ADDING)
def adding(request, host) -> str:
    """A kind of net that adds to the tokens between blocks."""
    return skip_where_missing(host, request.param)


@pytest.fixture(scope="module", autouse=True)
def caches():
    """The models of this file; the host cannot take them apart after its own end."""
    yield
    for cached in (model, patch, vae):
        cached.cache_clear()


@functools.cache
def model(layout: str):
    return tiny_models.tiny_model(LAYOUTS[layout][1])


@functools.cache
def vae(layout: str):
    return tiny_controls.tiny_vae("sd3" if layout.startswith("z_image") else "qwen")


@functools.cache
def patch(layout: str):
    """A MODEL_PATCH with weights drawn at random."""
    import comfy.ops
    from comfy.model_patcher import ModelPatcher

    import nodes

    operations = comfy.ops.manual_cast
    if layout == "qwen":
        module = __import__(nodes.NODE_CLASS_MAPPINGS[LAYOUTS["qwen"][0]].__module__, fromlist=["x"])
        network = module.QwenImageBlockWiseControlNet(num_layers=2, dim=64, operations=operations)
    elif layout.startswith("z_image"):
        from comfy.ldm.lumina.controlnet import ZImage_Control

        inpaints = {"additional_in_dim": 17, "refiner_control": True} if layout == "z_image_inpaint" else {}
        sizes = {"dim": 256, "n_heads": 4, "n_kv_heads": 4, "ffn_dim_multiplier": 1.0, "n_control_layers": 1}
        network = ZImage_Control(**sizes, **inpaints, operations=operations)
    elif layout == "uni3c":
        from comfy.ldm.wan.uni3c import WanUni3CControlnet

        sizes = {"conv_out_dim": 48, "dim": 24, "ffn_dim": 48, "num_heads": 2, "num_layers": 2, "mid_channels": 16}
        network = WanUni3CControlnet(**sizes, time_embed_dim=48, out_proj_dim=48, operations=operations)
    else:
        from comfy.ldm.anima.lllite import AnimaLLLite

        network = AnimaLLLite(lllite_shapes(4 if layout == "lllite_inpaint" else 3), {}, operations=operations)
    return ModelPatcher(_filled(network, 7), load_device=CPU, offload_device=CPU)


def lllite_shapes(channels: int) -> dict[str, torch.Tensor]:
    """Tensors by which the host knows the sizes of an Anima LLLite, with a module at each kind of place."""
    conditioning = "lllite_conditioning1"
    shapes = {
        f"{conditioning}.conv1.weight": (8, channels, 4, 4),
        f"{conditioning}.conv3.weight": (16, 8, 4, 4),
        f"{conditioning}.proj.weight": (8, 16, 1, 1),
    }
    for place in ("0_self_attn_q_proj", "0_self_attn_v_proj", "0_mlp_layer1", "1_cross_attn_q_proj"):
        shapes |= {
            f"lllite_dit_blocks_{place}.{name}.weight": size
            for name, size in (("down", (4, 64)), ("cond_to_film", (8, 8)))
        }
    return {name: torch.empty(shape) for name, shape in shapes.items()}


def shape(layout: str) -> tuple[int, ...]:
    return SHAPES[LAYOUTS[layout][1]]


def hint(layout: str, seed: int = 3) -> torch.Tensor:
    """A picture of the size of the layout's; of a video a frame too few, as many as there are."""
    height, width = (8 * side for side in shape(layout)[-2:])
    frames = 4 if layout == "uni3c" else 1
    coarse = normal("hint", (frames, 3, 4, 4), seed).sigmoid()
    return torch.nn.functional.interpolate(coarse, (height, width)).movedim(1, -1)


def ours(host, layout, strength=1.0, start=0.0, end=1.0, base=None, **more):
    node = host.node("StyleDeltaApplyModelPatch")
    given = base or model(layout)
    return node.execute(given, patch(layout), vae(layout), hint(layout), strength, start, end, **more).args[0]


def core(host, layout, strength=1.0, **more):
    given = model(layout), patch(layout), *(() if layout.startswith("lllite") else (vae(layout),))
    node = host.node(LAYOUTS[layout][0])()
    name = "render_video" if layout == "uni3c" else "image"
    span = {} if layout.startswith(("qwen", "z_image")) else {"start_percent": 0.0, "end_percent": 1.0}
    return getattr(node, node.FUNCTION)(*given, **{name: hint(layout)}, strength=strength, **span, **more)[0]


def sample(patched, layout, batch=1) -> torch.Tensor:
    import comfy.model_management
    import comfy.sample

    noise = normal("noise", (batch, *shape(layout)[1:]), 0)
    pair = (conditioning(LAYOUTS[layout][1], name) for name in ("positive", "negative"))
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
        return {name: arguments[name] for name in ("img", "txt") if name in arguments}

    def after(arguments):
        if arguments["block_index"] == 0:
            seen[-1] += (arguments["img"].clone(),)
        return {name: arguments[name] for name in ("img", "txt") if name in arguments}

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
    assert ours(host, layout, 0.0) is model(layout) is ours(host, layout, start=0.0, end=0.0)
    for patched in (
        ours(host, layout, mask=torch.zeros(1, 9, 5)),
        ours(host, layout, schedule=schedule(host, "0@0")),
    ):
        assert torch.equal(sample(patched, layout), plain)
    assert torch.equal(sample(model(layout), layout), plain)


def test_it_acts_in_its_steps_only(host, adding):
    layout = adding
    sampling = model(layout).get_model_object("model_sampling")
    first, last = (float(sampling.percent_to_sigma(percent)) for percent in (0.3, 0.7))
    for sigma, before, after in recorded(host, layout, start=0.3, end=0.7):
        assert torch.equal(before, after) == (not last <= sigma <= first)
    acted = [not torch.equal(before, after) for _, before, after in recorded(host, layout, start=0.3, end=0.7)]
    assert any(acted) and not all(acted)


def test_its_steps_are_those_of_a_model_shifted_afterwards(host, adding):
    """As by ModelSamplingAuraFlow between this node and the sampler."""
    layout = adding
    shift = host.node("ModelSamplingAuraFlow")()
    shifted = shift.patch_aura(model(layout), 7.0)[0]
    expected = sample(ours(host, layout, end=0.5, base=shifted), layout)
    later = shift.patch_aura(ours(host, layout, end=0.5), 7.0)[0]
    assert torch.equal(sample(later, layout), expected)
    assert not torch.equal(expected, sample(shift.patch_aura(ours(host, layout), 7.0)[0], layout))


def test_a_schedule_scales_what_it_adds(host, adding):
    layout = adding
    full = recorded(host, layout, end=0.2)
    half = recorded(host, layout, end=0.2, schedule=schedule(host, "0.5@0"))
    added, half_added = (seen[0][2] - seen[0][1] for seen in (full, half))
    assert added.abs().max() > 0
    torch.testing.assert_close(half_added, 0.5 * added, rtol=1e-4, atol=1e-5 * float(added.abs().max()) + 1e-6)


def test_a_mask_keeps_it_to_its_place(host, adding):
    layout = adding
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    full, half = recorded(host, layout, end=0.2), recorded(host, layout, end=0.2, mask=mask)
    rows, columns = (side // 2 for side in shape(layout)[-2:])
    for (_, before, after), (_, _, whole) in zip(half[:1], full[:1]):
        tokens = [part[:, : rows * columns].reshape(len(part), rows, columns, -1) for part in (before, after, whole)]
        assert torch.equal(tokens[1][:, :, columns // 2 :], tokens[0][:, :, columns // 2 :])
        assert torch.equal(tokens[1][:, :, : columns // 2], tokens[2][:, :, : columns // 2])
        assert not torch.equal(tokens[1], tokens[0])


def test_clones_of_the_model_share_it(host, layout):
    patched = ours(host, layout)
    place = "post_input" if layout == "lllite" else "double_block"
    clones = [given.model_options["transformer_options"]["patches"][place] for given in (patched, patched.clone())]
    assert clones[0][0] is clones[1][0]


def test_the_host_finds_its_models(host, layout):
    patched = ours(host, layout)
    assert patch(layout) in patched.model_patches_models()


def test_patches_and_models_of_other_kinds_are_refused(host, layout):
    from comfy.model_patcher import ModelPatcher

    other = ModelPatcher(torch.nn.Linear(1, 1), load_device=CPU, offload_device=CPU)
    node = host.node("StyleDeltaApplyModelPatch")
    with pytest.raises(
        ValueError, match="is a Linear, which this node does not support.* Qwen-Image DiffSynth ControlNet"
    ):
        node.execute(model(layout), other, vae(layout), hint(layout), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="tokens .* wide, but SD|tokens .* wide, but BaseModel"):
        node.execute(tiny_models.tiny_model("sd15"), patch(layout), vae(layout), hint(layout), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="does not read inpaint_image"):
        ours(host, layout, inpaint_image=hint(layout))
    if layout != "qwen":
        with pytest.raises(ValueError, match="does not read inpaint_mask"):
            ours(host, layout, inpaint_mask=torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="Set start_percent below end_percent"):
        ours(host, layout, start=0.7, end=0.2)


@pytest.mark.parametrize("layout", ["z_image_inpaint", "lllite_inpaint"])
def test_inpainting_is_that_of_cores_node(host, layout):
    skip_where_missing(host, layout)
    height, width = hint(layout).shape[1:3]
    mask = torch.zeros(1, height, width)
    mask[:, : height // 2] = 1
    given = {"inpaint_image": hint(layout, 4)} if layout == "z_image_inpaint" else {}
    expected = sample(core(host, layout, 0.7, mask=mask, **given), layout)
    assert torch.equal(sample(ours(host, layout, 0.7, inpaint_mask=mask, **given), layout), expected)
    assert not torch.equal(sample(ours(host, layout, 0.7), layout), expected)
    if given:
        other = sample(ours(host, layout, 0.7, inpaint_mask=mask, inpaint_image=hint(layout, 5)), layout)
        assert not torch.equal(other, expected)
        with pytest.raises(ValueError, match="needs the picture to inpaint as well as the mask"):
            ours(host, layout, inpaint_mask=mask)


def test_an_lllite_changes_attention_in_its_steps_and_its_place(host):
    layout = skip_where_missing(host, "lllite")
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    for more in ({}, {"mask": mask}, {"schedule": schedule(host, "0.5@0")}):
        seen = [changes for _, changes in recorded_queries(host, layout, end=0.6, **more)]
        full = [changes for _, changes in recorded_queries(host, layout, end=0.6)]
        # Before it, the model is as without.
        first, whole = seen[0].reshape(-1, 4, 4, 64), full[0].reshape(-1, 4, 4, 64)
        assert whole.abs().max() > 0 and not seen[-1].any()
        if "mask" in more:
            assert not first[:, :, 2:].any() and torch.equal(first[:, :, :2], whole[:, :, :2])
        factor = 0.5 if "schedule" in more else 1.0
        torch.testing.assert_close(first[:, :, :2], factor * whole[:, :, :2], rtol=1e-4, atol=1e-5)


def recorded_queries(host, layout, **more) -> list[tuple[float, torch.Tensor]]:
    """The noise level, and what the net adds to the queries of the first self-attention, at every evaluation."""
    seen: list = []

    def before(q, k, v, extra_options, **_):
        if extra_options["block_index"] == 0:
            seen.append((float(extra_options["sigmas"][0]), q.clone()))
        return {"q": q, "k": k, "v": v}

    def after(q, k, v, extra_options, **_):
        if extra_options["block_index"] == 0:
            seen[-1] = seen[-1][0], q - seen[-1][1]
        return {"q": q, "k": k, "v": v}

    base = model(layout).clone()
    base.set_model_attn1_patch(before)
    patched = ours(host, layout, base=base, **more)
    patched.set_model_attn1_patch(after)
    sample(patched, layout)
    return seen


@pytest.mark.parametrize("kind", ["SigLIPMultiFeatProjModel", "SUPIR", "MultiTalkModelPatch", "DurationHead"])
def test_patches_that_control_nothing_are_named_with_their_node(host, kind):
    """By the host's own classes, without their weights."""
    module = __import__(host.nodes.NODE_CLASS_MAPPINGS["ModelPatchLoader"].__module__, fromlist=["x"])
    places = (module, getattr(module.comfy.ldm, "supir", None) and module.comfy.ldm.supir.supir_modules)
    places += (getattr(getattr(module.comfy.ldm, "lightricks", None), "duration_head", None),)
    made = next((getattr(place, kind) for place in places if hasattr(place, kind)), None)
    if made is None:
        pytest.skip(f"this ComfyUI has no {kind}")
    named = {
        "SigLIPMultiFeatProjModel": "USOStyleReference",
        "SUPIR": "SUPIRApply",
        "DurationHead": "LTXVDurationPredictor",
    }
    node = named.get(kind, "WanInfiniteTalkToVideo")
    assert node in host.nodes.NODE_CLASS_MAPPINGS

    class Given:
        model = made.__new__(made)

    with pytest.raises(ValueError, match=f"Apply it with ComfyUI's own {node}"):
        host.node("StyleDeltaApplyModelPatch").execute(model("qwen"), Given(), vae("qwen"), hint("qwen"), 1.0, 0.0, 1.0)
