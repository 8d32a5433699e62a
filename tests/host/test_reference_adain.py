"""Reference AdaIN and saved statistics on tiny models, through the host's own sampler."""

import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .tiny_models import CONTEXT_TOKENS, LATENT_SHAPES, conditioning, normal, sample, tiny_model

LAYOUTS = ("sd15", "sdxl", "flux", "wan", "qwen", "z_image")
SETTINGS = {
    "amount": 1.0,
    "style_fidelity": 1.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "latent_amount": 0.0,
    "block_weights": "",
}
# A late norm of each model, and how many tokens stand before the picture there: Z-Image fills the text up to 32.
LATE_SITES = {
    "sd15": ("output_blocks.11.0.out_layers.0", None),
    "sdxl": ("output_blocks.5.1.transformer_blocks.1.norm3", 0),
    "flux": ("single_blocks.1.pre_norm", CONTEXT_TOKENS),
    "wan": ("head.norm", 0),
    "qwen": ("transformer_blocks.1.img_norm2", 0),
    "z_image": ("layers.1.ffn_norm1", 32),
}
PICTURE_TOKENS = {"flux": 16, "z_image": 16}
LAST_NORM = "*=0, out.0=1"


def latent(layout: str, seed: int = 7, count: int = 1, side: int | None = None) -> dict:
    """A LATENT whose channels have means and deviations of their own."""
    _, channels, *frames, height, width = LATENT_SHAPES[layout]
    shape = (count, channels, *frames, side or height, side or width)
    ones = (1, channels, *(1,) * (len(shape) - 2))
    mean, deviation = (normal(f"latent.{part}", ones, seed) for part in ("mean", "deviation"))
    return {"samples": mean + deviation.exp() * normal("latent", shape, seed)}


def matched(host, model, **inputs):
    return host.node("StyleDeltaReferenceAdaIN").execute(model, **{**SETTINGS, **inputs})[0]


def hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())


def wrapped(model, wrapper):
    """A clone with one more wrapper inside those that it has."""
    from comfy.patcher_extension import WrappersMP

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", wrapper)
    return clone


def watched(model, *names):
    """A clone that notes what each call leaves at these modules: (whether the reference passes, its options, outputs)."""
    calls = []

    def wrapper(executor, *arguments, **others):
        outputs, options = {}, arguments[5]
        modules = [(name, executor.class_obj.diffusion_model.get_submodule(name)) for name in names]
        handles = [
            module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output.clone()}))
            for name, module in modules
        ]
        try:
            return executor(*arguments, **others)
        finally:
            for handle in handles:
                handle.remove()
            calls.append(("styledelta_capture" in options, options["cond_or_uncond"], outputs))

    return wrapped(model, wrapper), calls


def mean_and_deviation(output: torch.Tensor, layout: str) -> torch.Tensor:
    """Of the picture's part of a late site's output: [2, rows, channels]."""
    start = LATE_SITES[layout][1]
    tokens = output.flatten(2).transpose(1, 2) if start is None else output[:, start:]
    tokens = tokens[:, : PICTURE_TOKENS.get(layout, tokens.shape[1])].double()
    return torch.stack([tokens.mean(1), tokens.std(1, correction=0)])


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    """The same but for the rounding of float32, which depends on the size of the batch."""
    assert (one - other).norm() < 1e-5 * other.norm()


def sampled(model, layout, count=1, steps=2, cfg=2.0, sampler="euler", **given):
    """Like tiny_models.sample, for several pictures with noise of their own. given: what prompts hold besides text."""
    import comfy.sample

    noise = torch.cat([normal("noise", LATENT_SHAPES[layout], seed) for seed in range(count)])
    prompts = [conditioning(layout, prompt, 0) for prompt in ("positive", "negative")]
    for prompt in prompts:
        prompt[0][1].update(given)
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "normal", *prompts, torch.zeros_like(noise), disable_pbar=True, seed=0
    )


@pytest.fixture(scope="module")
def models(host):
    """Tiny models by layout, made once."""
    return {layout: tiny_model(layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_look_changes_and_the_model_stays_bit_for_bit(host, models, layout):
    model = models[layout]
    base, weights = sample(model, layout), {n: w.clone() for n, w in model.model.state_dict().items()}
    other = matched(host, model, reference=latent(layout))
    changed = sample(other, layout)
    assert (changed - base).norm() > 0.05 * base.norm() and torch.isfinite(changed).all()
    assert hooks(model) == 0
    assert torch.equal(sample(model, layout), base)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.model.state_dict().items())
    assert torch.equal(sample(other, layout), changed)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_amount_0_is_the_model_bit_for_bit(host, models, layout):
    model = matched(host, models[layout], amount=0.0, reference=latent(layout))
    assert torch.equal(sample(model, layout), sample(models[layout], layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_at_amount_1_the_picture_has_the_statistics_of_the_reference(host, models, layout):
    site = LATE_SITES[layout][0]
    model, calls = watched(matched(host, models[layout], reference=latent(layout)), site)
    sampled(model, layout, count=2)
    plain, plain_calls = watched(models[layout], site)
    sampled(plain, layout, count=2)
    assert [is_reference for is_reference, _, _ in calls] == [True, False] * 2
    for (_, order, reference), (_, same_order, content), (_, _, unmatched) in zip(calls[::2], calls[1::2], plain_calls):
        assert order == same_order and sorted(order) == [0, 1]
        goal, got, before = (mean_and_deviation(outputs[site], layout) for outputs in (reference, content, unmatched))
        assert (got - goal).abs().max() < 1e-4 and (before - goal).abs().max() > 0.05


def test_text_tokens_are_left_alone(host, models):
    """With only the first single block matched, its text tokens are what they were."""
    for layout, site, rules, text in (
        ("flux", "single_blocks.0.pre_norm", "*=0, single.0=1", CONTEXT_TOKENS),
        ("z_image", "layers.0.attention_norm1", "*=0, layer.0.attention_norm1=1", 32),
    ):
        model, calls = watched(matched(host, models[layout], block_weights=rules, reference=latent(layout)), site)
        plain, plain_calls = watched(models[layout], site)
        sampled(model, layout, steps=1), sampled(plain, layout, steps=1)
        got, before = calls[1][2][site], plain_calls[0][2][site]
        picture = slice(text, text + PICTURE_TOKENS[layout])
        assert torch.equal(got[:, :text], before[:, :text])
        assert torch.equal(got[:, picture.stop :], before[:, picture.stop :])
        assert (got[:, picture] - before[:, picture]).abs().max() > 0.05


@pytest.mark.parametrize(
    ("layout", "site", "rules", "start"),
    [
        ("flux", "double_blocks.0.img_norm1", "*=0, double.0.img_norm1=1", 0),
        ("flux", "single_blocks.0.pre_norm", "*=0, single.0=1", CONTEXT_TOKENS),
        ("qwen", "transformer_blocks.0.img_norm1", "*=0, transformer.0.img_norm1=1", 0),
        # What is filled up to 32 with the picture is last, on hosts that take reference pictures and on others.
        ("z_image", "layers.0.attention_norm1", "*=0, layer.0.attention_norm1=1", -32),
    ],
)
def test_pictures_that_an_edit_model_is_given_are_left_alone(host, models, layout, site, rules, start):
    given = {"reference_latents": [latent(layout, 3, side=12)["samples"]]}
    model, calls = watched(matched(host, models[layout], block_weights=rules, reference=latent(layout)), site)
    plain, plain_calls = watched(models[layout], site)
    for one in (model, plain):
        sampled(one, layout, steps=1, **given)
    got, before = calls[1][2][site], plain_calls[0][2][site]
    assert got.shape[1] > 16 and got.shape == before.shape
    changed = (got != before).any(2).any(0).nonzero().flatten()
    first = start % got.shape[1]
    assert changed.tolist() == list(range(first, first + 16))


def test_style_fidelity_is_the_share_of_the_negative_conditioning(host, models):
    deviations = {}
    for fidelity in (0.0, 1.0):
        model = matched(
            host, models["sd15"], style_fidelity=fidelity, block_weights=LAST_NORM, reference=latent("sd15")
        )
        model, calls = watched(model, "out.0")
        sampled(model, "sd15", steps=1)
        for order, output in zip(calls[1][1], calls[1][2]["out.0"]):
            deviations[fidelity, order] = output
    plain, calls = watched(models["sd15"], "out.0")
    sampled(plain, "sd15", steps=1)
    before = dict(zip(calls[0][1], calls[0][2]["out.0"]))
    assert torch.equal(deviations[0.0, 1], before[1])
    assert not torch.equal(deviations[0.0, 0], before[0]) and not torch.equal(deviations[1.0, 1], before[1])
    assert torch.equal(deviations[0.0, 0], deviations[1.0, 0])


def test_the_order_of_the_conditionings_does_not_matter(host, models):
    """Three pictures; the host gives negative before positive, the wrapper turns them round."""

    def turned(apply_model, arguments):
        c, orders = dict(arguments["c"]), arguments["cond_or_uncond"]
        turn = lambda rows: torch.cat(rows.chunk(len(orders))[::-1])  # noqa: E731
        options = c["transformer_options"]
        c["transformer_options"] = {**options, **{key: options[key][::-1] for key in ("cond_or_uncond", "uuids")}}
        rows = [key for key, value in c.items() if isinstance(value, torch.Tensor)]
        assert {"c_crossattn", "y"} <= set(rows)
        c |= {key: turn(c[key]) for key in rows}
        return turn(apply_model(turn(arguments["input"]), arguments["timestep"], **c))

    model = matched(host, models["flux"], style_fidelity=0.3, reference=latent("flux"))
    other = model.clone()
    other.set_model_unet_function_wrapper(turned)
    first, second = sampled(model, "flux", count=3), sampled(other, "flux", count=3)
    assert_close(first, second)
    assert not torch.allclose(first, sampled(models["flux"], "flux", count=3), atol=1e-2)


def test_every_picture_of_a_batch_is_matched_as_if_alone(host, models):
    model = matched(host, models["flux"], reference=latent("flux"))
    assert_close(sampled(model, "flux", count=3)[:1], sampled(model, "flux"))


def test_several_references_are_averaged_and_may_have_another_size(host, models):
    tables = []
    several = latent("sd15", count=2, side=24)["samples"]
    for samples in (several, several[:1], several[1:]):
        # The noise of a reference depends on its place, so that the second one alone has the noise of the first.
        model, calls = watched(matched(host, models["sd15"], reference={"samples": samples}), "out.0")
        sampled(model, "sd15", steps=1, cfg=1.0)
        tables.append([mean_and_deviation(outputs["out.0"], "sd15") for _, _, outputs in calls])
    both, first, _ = tables
    assert len(both) == 3 and len(first) == 2
    assert (both[0] - first[0]).abs().max() < 1e-4
    assert (both[2] - (both[0] + both[1]) / 2).abs().max() < 1e-4


def test_a_mask_keeps_the_rest_and_takes_statistics_inside(host, models):
    mask = torch.zeros(64, 64)
    mask[:, :32] = 1
    model = matched(host, models["sd15"], block_weights=LAST_NORM, reference=latent("sd15"), mask=mask)
    model, calls = watched(model, "out.0")
    plain, plain_calls = watched(models["sd15"], "out.0")
    sampled(model, "sd15", steps=1), sampled(plain, "sd15", steps=1)
    reference, got, before = calls[0][2]["out.0"], calls[1][2]["out.0"], plain_calls[0][2]["out.0"]
    # The edge of the mask is soft by one position.
    assert torch.equal(got[..., 9:], before[..., 9:])
    weights = torch.nn.functional.interpolate(mask[None, None], (16, 16), mode="bilinear", antialias=True)[0, 0, 0]
    assert weights[:7].min() > 0.999
    goal, moved, start = (mean_and_deviation(part, "sd15") for part in (reference, got[..., :7], before[..., :7]))
    assert (moved - goal).abs().mean() < 0.3 * (start - goal).abs().mean()


def test_masks_of_several_pictures_and_of_video(host, models):
    white, black_left = torch.ones(64, 64), torch.ones(64, 64)
    black_left[:, :32] = 0
    one = matched(host, models["flux"], reference=latent("flux"), mask=black_left)
    two = matched(host, models["flux"], reference=latent("flux"), mask=torch.stack([white, black_left]))
    whole = matched(host, models["flux"], reference=latent("flux"))
    both = sampled(two, "flux", count=2)
    assert_close(both[0], sampled(whole, "flux", count=2)[0])
    assert_close(both[1], sampled(one, "flux", count=2)[1])
    video = matched(host, models["wan"], reference=latent("wan"), mask=white)
    assert_close(sample(video, "wan"), sample(matched(host, models["wan"], reference=latent("wan")), "wan"))


def test_start_and_end(host, models):
    base = sample(models["flux"], "flux")
    early, late, none, whole = (
        sample(matched(host, models["flux"], start_percent=s, end_percent=e, reference=latent("flux")), "flux")
        for s, e in ((0.0, 0.3), (0.9, 1.0), (0.4, 0.6), (0.0, 1.0))
    )
    # The two steps lie at the beginning and at the end.
    assert torch.equal(none, base)
    different = [base, early, late, whole]
    assert not any(torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_block_weights_multiply_the_amount(host, models):
    half, same, double, single = (
        sample(matched(host, models["flux"], reference=latent("flux"), **inputs), "flux")
        for inputs in (
            {"block_weights": "*=0.5"},
            {"amount": 0.5},
            {"block_weights": "double=0"},
            {"block_weights": "single=0"},
        )
    )
    assert torch.equal(half, same)
    assert not torch.equal(double, single)


def test_two_references_on_one_model_do_not_disturb_each_other(host, models):
    """The second reference passes through the model unmatched, and each has its own norms."""
    first, last = "*=0, input.1.0.in_layers=1", LAST_NORM
    names = ("input_blocks.1.0.in_layers.0", "out.0")
    one = matched(host, models["sd15"], block_weights=first, reference=latent("sd15", 7))
    both, calls = watched(matched(host, one, block_weights=last, reference=latent("sd15", 8)), *names)
    alone, alone_calls = watched(matched(host, models["sd15"], block_weights=last, reference=latent("sd15", 8)), *names)
    sampled(both, "sd15", steps=1), sampled(alone, "sd15", steps=1)
    assert [call[0] for call in calls] == [True, True, False]
    assert torch.equal(calls[1][2]["out.0"], alone_calls[0][2]["out.0"])
    for name, source in zip(names, calls):
        goal, got = (mean_and_deviation(call[2][name], "sd15") for call in (source, calls[2]))
        assert (got - goal).abs().max() < 1e-4


@pytest.mark.parametrize("layout", ["sd15", "wan"])
def test_the_predicted_latent_takes_over_the_reference_s_channels(host, models, layout):
    model = matched(host, models[layout], amount=0.0, latent_amount=1.0, reference=latent(layout))
    # The sampler ends at the predicted latent.
    result, goal = (tokens.flatten(2).double() for tokens in (sample(model, layout), latent(layout)["samples"]))
    assert torch.allclose(result.mean(2), goal.mean(2), atol=1e-4)
    assert torch.allclose(result.std(2), goal.std(2), rtol=1e-4)


def save(host, model, layout, folder, **inputs):
    """The outputs of Save Statistics at the noise levels of the two steps; the file is left to the caller."""
    inputs = {"reference": latent(layout), "noise_levels": 2} | inputs
    return host.node("StyleDeltaSaveStatistics").execute(
        model, positive=conditioning(layout, "positive", 0), filename_prefix=f"feature_statistics/{folder}", **inputs
    )


@pytest.fixture
def output(base_dir):
    """The output folder of the statistics, emptied afterwards."""
    folder = base_dir / "output/feature_statistics"
    yield folder
    for path in folder.glob("*"):
        path.unlink()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_statistics_replace_the_reference(host, models, layout, output):
    statistics, path = save(host, models[layout], layout, "test").result
    assert hooks(models[layout]) == 0
    name = path.replace("\\", "/").rsplit("/", 1)[1]
    loaded = host.node("StyleDeltaLoadStatistics").execute(name, 1.0)[0]
    assert loaded.at(1.0).keys() == statistics.at(1.0).keys()
    # The recorded ones belong to the positive conditioning.
    live = sample(matched(host, models[layout], style_fidelity=0.0, reference=latent(layout)), layout)
    saved = sample(matched(host, models[layout], style_fidelity=0.0, statistics=loaded), layout)
    base = sample(models[layout], layout)
    assert (saved - live).norm() < 0.01 * (live - base).norm()


def test_saved_statistics_take_no_pass_of_the_reference_and_are_small(host, models, output):
    _, path = save(host, models["sd15"], "sd15", "test", noise_levels=4).result
    with safe_open(path, "pt") as file:
        assert file.metadata()["model"] == "SD15"
    tensors = load_file(path)
    channels = sum(tensor.shape[-1] for name, tensor in tensors.items() if name.startswith("site."))
    assert len(tensors) == 109 + 2 and (output / path.rsplit("/", 1)[1]).stat().st_size < 4 * 4 * channels + 25_000
    statistics = host.node("StyleDeltaLoadStatistics").execute(path.rsplit("/", 1)[1], 1.0)[0]
    model, calls = watched(matched(host, models["sd15"], statistics=statistics), "out.0")
    sampled(model, "sd15")
    assert [is_reference for is_reference, _, _ in calls] == [False, False]


def test_references_mix_linearly(host, models, output):
    load = host.node("StyleDeltaLoadStatistics").execute
    names = []
    for seed in (7, 8):
        _, path = save(host, models["sd15"], "sd15", f"test_{seed}", reference=latent("sd15", seed)).result
        names.append(path.rsplit("/", 1)[1])
    one, two = (load(name, 1.0)[0] for name in names)
    mix = load(names[1], 1.0, previous=load(names[0], 3.0)[0])[0]
    for name, table in mix.at(1.0).items():
        assert torch.allclose(table, 0.75 * one.at(1.0)[name] + 0.25 * two.at(1.0)[name], atol=1e-5), name
    results = [sample(matched(host, models["sd15"], statistics=s), "sd15") for s in (one, mix, two)]
    assert (results[1] - results[0]).norm() < (results[2] - results[0]).norm()


def test_a_second_visit_of_a_noise_level_needs_no_second_pass(host, models):
    model, calls = watched(matched(host, models["flux"], reference=latent("flux")), "final_layer.norm_final")
    # Heun computes the model twice a step, the second time at the next step's level.
    sampled(model, "flux", steps=3, sampler="heun")
    assert sum(call[0] for call in calls) == 3 and sum(not call[0] for call in calls) == 5


def test_cancel_in_a_pass_of_the_reference_leaves_nothing_behind(host, models):
    import comfy.model_management as management

    def cancel(executor, *arguments, **others):
        if "styledelta_capture" in arguments[5]:
            management.interrupt_current_processing()
        return executor(*arguments, **others)

    base = sample(models["flux"], "flux")
    model = wrapped(matched(host, models["flux"], reference=latent("flux")), cancel)
    with pytest.raises(management.InterruptProcessingException):
        sampled(model, "flux")
    assert hooks(models["flux"]) == 0
    assert torch.equal(sample(models["flux"], "flux"), base)


def test_recording_reports_progress(host, models, output):
    import comfy.utils

    seen, earlier = [], comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: seen.append((value, total)))
    try:
        save(host, models["flux"], "flux", "test", noise_levels=3)
    finally:
        comfy.utils.set_progress_bar_global_hook(earlier)
    assert seen[-1] == (3, 3) and {value for value, _ in seen} <= {1, 2, 3}


def test_cancel_while_recording_writes_nothing(host, models, output):
    import comfy.model_management as management

    def cancel(executor, *arguments, **others):
        management.interrupt_current_processing()
        return executor(*arguments, **others)

    with pytest.raises(management.InterruptProcessingException):
        save(host, wrapped(models["sd15"], cancel), "sd15", "cancelled")
    assert hooks(models["sd15"]) == 0 and not list(output.glob("*cancelled*"))


def test_sd3_has_another_wrapper_point_and_works_alike(host):
    """Stable Diffusion 3 has none around its network."""
    from comfy import supported_models
    from comfy.model_patcher import ModelPatcher

    config = supported_models.SD3(
        {
            "in_channels": 16,
            "patch_size": 2,
            "depth": 2,
            "input_size": None,
            "num_patches": 64,
            "pos_embed_max_size": 8,
            "adm_in_channels": 48,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 64, "out_features": 128},
            },
        }
    )
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    model = ModelPatcher(config.get_model({}, device=cpu), load_device=cpu, offload_device=cpu)
    with torch.no_grad():
        for name, weight in model.model.diffusion_model.named_parameters():
            weight.copy_(normal(name, weight.shape, 0) / weight.shape[-1] ** 0.5)
    prompt = [[normal("context", (1, 8, 64), 0), {"pooled_output": normal("pooled", (1, 48), 0)}]]

    def run(model):
        import comfy.sample

        noise = normal("noise", (1, 16, 8, 8), 0)
        return comfy.sample.sample(
            model, noise, 2, 2.0, "euler", "normal", prompt, prompt, torch.zeros_like(noise), disable_pbar=True, seed=0
        )

    base = run(model)
    site = "joint_blocks.1.x_block.norm1"
    other, calls = watched(matched(host, model, reference=latent("flux")), site)
    assert (run(other) - base).norm() > 0.05 * base.norm()
    goal, got = (mean_and_deviation(call[2][site], "qwen") for call in calls[:2])
    assert (got - goal).abs().max() < 1e-4
    assert hooks(model) == 0 and torch.equal(run(model), base)


def test_a_model_that_is_given_pictures_asks_for_a_reference_of_that_size(host, models):
    """Inpainting models get the masked picture beside the latent."""

    def with_picture(executor, x, t, c_concat, *arguments, **others):
        return executor(x, t, torch.zeros_like(x), *arguments, **others)

    def without_picture(executor, x, t, c_concat, *arguments, **others):
        return executor(x, t, None, *arguments, **others)

    for side, message in ((24, "c_concat of the latent's size .*Resize the reference"), (16, None)):
        from comfy.patcher_extension import WrappersMP

        outer = models["sd15"].clone()
        outer.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "outer", with_picture)
        model = wrapped(matched(host, outer, reference=latent("sd15", side=side)), without_picture)
        if message is None:
            assert torch.isfinite(sampled(model, "sd15")).all()
        else:
            with pytest.raises(ValueError, match=message):
                sampled(model, "sd15")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Connect a reference or statistics"),
        ({"reference": latent("flux")}, "SD15 has latents of 4 channels.*this model's VAE"),
        ({"reference": latent("wan")}, "this model's VAE"),
        ({"reference": latent("sd15"), "block_weights": "*=0"}, "switch off all 109 norms"),
        ({"reference": latent("sd15"), "block_weights": "double.3=1"}, "double.3 match no norm.*input.1 "),
        ({"reference": latent("sd15"), "block_weights": "norm1"}, "cannot be read"),
        ({"reference": latent("sd15"), "start_percent": 0.5, "end_percent": 0.5}, "start_percent is not below"),
        ({"reference": latent("sd15"), "mask": torch.zeros(1, 64, 64)}, "black everywhere"),
    ],
)
def test_inputs_that_cannot_work_are_refused(host, models, inputs, message):
    with pytest.raises(ValueError, match=message):
        matched(host, models["sd15"], **inputs)


def test_a_model_without_norms_is_refused(host):
    from comfy.model_patcher import ModelPatcher

    network = torch.nn.ModuleDict({"diffusion_model": torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1))})
    model = ModelPatcher(network, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
    model.model.latent_format = tiny_model("sd15").model.latent_format
    with pytest.raises(ValueError, match="Sequential has no norm layer"):
        matched(host, model, reference=latent("sd15"))


def test_matching_nothing_is_an_error(host, models):
    """A latent that is no picture has no place in the tokens."""

    def flat(executor, x, *arguments, **others):
        return executor(x.flatten(2), *arguments, **others).reshape(x.shape)

    def square(executor, x, *arguments, **others):
        if x.dim() == 4:
            return executor(x, *arguments, **others)
        side = math.isqrt(x.shape[2])
        return executor(x.reshape(*x.shape[:2], side, side), *arguments, **others).flatten(2)

    from comfy.patcher_extension import WrappersMP

    outer = models["flux"].clone()
    outer.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "outer", flat)
    model = wrapped(matched(host, outer, reference=latent("flux")), square)
    with pytest.raises(RuntimeError, match="Reference AdaIN matched nothing.*7 norms of Flux"):
        sampled(model, "flux")
    assert hooks(models["flux"]) == 0


def test_statistics_of_another_model_are_refused(host, models, output):
    statistics, path = save(host, models["sd15"], "sd15", "test").result
    with pytest.raises(ValueError, match="recorded on SD15 and does not fit the model, SDXL.*Save statistics with"):
        matched(host, models["sdxl"], statistics=statistics)
    _, other = save(host, models["flux"], "flux", "other").result
    load = host.node("StyleDeltaLoadStatistics").execute
    with pytest.raises(ValueError, match="other_00001_.* recorded on Flux and does not fit .*SD15"):
        load(other.rsplit("/", 1)[1], 1.0, previous=load(path.rsplit("/", 1)[1], 1.0)[0])
    cancelling = load(path.rsplit("/", 1)[1], -1.0, previous=statistics)[0]
    with pytest.raises(ValueError, match="sum to zero"):
        matched(host, models["sd15"], statistics=cancelling)


def test_wrong_and_missing_files_are_refused(host, models, base_dir, output):
    load = host.node("StyleDeltaLoadStatistics").execute
    with pytest.raises(FileNotFoundError, match="gone.safetensors is not in .*feature_statistics"):
        load("gone.safetensors", 1.0)
    output.mkdir(exist_ok=True)
    save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, output / "wrong.safetensors")
    with pytest.raises(ValueError, match="wrong.safetensors holds no statistics saved by Save Statistics"):
        load("wrong.safetensors", 1.0)
    with pytest.raises(Exception, match="(?i)outside the output folder"):
        host.node("StyleDeltaSaveStatistics").execute(
            models["sd15"], latent("sd15"), conditioning("sd15", "positive", 0), 2, "../../escaped"
        )
