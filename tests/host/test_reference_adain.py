"""Reference AdaIN on tiny models, through the host's own sampler."""

import math

import pytest
import torch

from .matched_models import (
    LAST_NORM,
    LATE_SITES,
    LAYOUTS,
    PICTURE_TOKENS,
    SETTINGS,
    assert_close,
    hooks,
    latent,
    matched,
    mean_and_deviation,
    sampled,
    watched,
    wrapped,
)
from .tiny_models import CONTEXT_TOKENS, sample, tiny_model


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


def test_a_model_that_is_given_pictures_asks_for_a_reference_of_that_size(host, models):
    """Inpainting models get the masked picture beside the latent."""

    def with_picture(executor, x, t, c_concat, *arguments, **others):
        return executor(x, t, torch.zeros_like(x), *arguments, **others)

    def without_picture(executor, x, t, c_concat, *arguments, **others):
        return executor(x, t, None, *arguments, **others)

    for side, message in ((24, "c_concat in the latent's size .*Resize the reference"), (16, None)):
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
        ({}, "Connect either a reference or statistics"),
        ({"reference": latent("flux")}, "SD15 has latents of 4 channels.*this model's VAE"),
        ({"reference": latent("wan")}, "this model's VAE"),
        ({"reference": {"samples": torch.full((1, 4, 8, 8), torch.nan)}}, "holds NaN"),
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


def test_the_report_names_the_norms_that_are_matched_and_left_alone(host, models):
    execute = host.node("StyleDeltaReferenceAdaIN").execute
    report = execute(models["flux"], **{**SETTINGS, "block_weights": "*=1, single=0"}, reference=latent("flux"))[1]
    lines = [line.removeprefix("- ") for line in report.splitlines()]
    assert lines[0] == "norms of the picture: 5: double.0 2, double.1 2, final_layer 1"
    assert "left alone, text: 4, such as double_blocks.0.txt_norm1" in lines
    assert "left alone, block weights 0: 2, such as single_blocks.0.pre_norm" in lines
    assert any(line.startswith("left alone, query and key: ") for line in lines)
    ltx = execute(models["ltx"], **SETTINGS, reference=latent("ltx"))[1]
    assert "norms of the picture: 1: norm_out 1\n\n- none in the blocks of the model" in ltx


def matched_blocks(host, model, layout: str, rules: str) -> tuple[set[str], list[str]]:
    """The blocks of which the report says that their norms are matched, and its other lines."""
    inputs = {**SETTINGS, "block_weights": rules}
    first, *others = (
        host.node("StyleDeltaReferenceAdaIN").execute(model, **inputs, reference=latent(layout))[1].split("\n")
    )
    others = [line.removeprefix("- ") for line in others if line]
    return {block.rpartition(" ")[0] for block in first.split(": ")[2].split(", ")}, others


@pytest.mark.parametrize(
    ("layout", "outermost"),
    [
        ("sd15", {"input.1", "input.2", "output.9", "output.10", "output.11", "out"}),
        ("sdxl", {"input.1", "input.2", "output.6", "output.7", "output.8", "out"}),
        ("flux", {"final_layer"}),
        ("wan", {"head"}),
        ("qwen", {"norm_out"}),
    ],
)
def test_norms_beside_the_noise_need_a_rule(host, models, layout, outermost):
    (usual, lines), (every, _) = (matched_blocks(host, models[layout], layout, rules) for rules in ("", "*=1"))
    assert every - usual == outermost and usual < every
    assert any(
        line.startswith("left alone, beside the noisy picture and the predicted noise, unless") for line in lines
    )


def test_the_last_norm_keeps_its_statistics_unless_a_rule_names_it(host, models):
    for rules, is_matched in (("", False), ("out=1", True)):
        model, calls = watched(matched(host, models["sd15"], block_weights=rules, reference=latent("sd15")), "out.0")
        sampled(model, "sd15", steps=1)
        goal, got = (outputs["out.0"].mean((2, 3)) for _, _, outputs in calls)
        assert ((got - goal).abs().max() < 1e-4) == is_matched
