"""Apply ControlNet on every class of net, through the host's sampler: the same as core by default, and otherwise exactly the
blocks, pixels and steps that weights, masks and schedules name."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from . import tiny_controls, tiny_models
from .tiny_controls import KINDS, Call, calls, tiny_net, tiny_vae

STEPS = 3


@pytest.fixture(params=KINDS)
def kind(request, host) -> str:
    if not tiny_controls.has(request.param):
        pytest.skip(f"this ComfyUI has no nets of the kind {request.param}")
    return request.param


@pytest.fixture(scope="module", autouse=True)
def caches():
    """The models and nets of this file; the host cannot take them apart after its own end."""
    yield
    for cached in (model, net, vae):
        cached.cache_clear()


@functools.cache
def model(layout: str) -> Any:
    return tiny_models.tiny_model(layout)


@functools.cache
def net(kind: str) -> Any:
    return tiny_net(kind)


@functools.cache
def vae(kind: str) -> Any:
    return tiny_vae(kind)


def conditionings(layout: str) -> tuple[list, list]:
    return tiny_models.conditioning(layout), tiny_models.conditioning(layout, "negative")


def core(host, kind: str, strength: float = 1.0, start: float = 0.0, end: float = 1.0, image=None, before=None):
    """Positive and negative with core's own node."""
    layout = KINDS[kind]
    image = tiny_controls.hint(layout) if image is None else image
    node = host.node("ControlNetApplyAdvanced")()
    pair = before or conditionings(layout)
    return node.apply_controlnet(*pair, net(kind), image, strength, start, end, vae=vae(kind))


def ours(host, kind: str, strength: float = 1.0, start: float = 0.0, end: float = 1.0, image=None, before=None, **more):
    layout = KINDS[kind]
    image = tiny_controls.hint(layout) if image is None else image
    pair = before or conditionings(layout)
    arguments = {"fit": "crop", "vae": vae(kind)} | more
    return (
        host.node("StyleDeltaControlNetApply").execute(*pair, net(kind), image, strength, start, end, **arguments).args
    )


def weights(host, kind: str, rules: str = "", falloff: float = 1.0, uncond: float = 1.0):
    return host.node("StyleDeltaControlWeights").execute(net(kind), rules, falloff, uncond).args[0]


def schedule(host, text: str, interpolation: str = "linear"):
    node = host.node("StyleDeltaControlSchedule")
    return node.execute(text, interpolation, "constant", 0.0, 1.0, 1.0, 20).args[0]


def run(kind: str, pair: tuple, steps: int = STEPS, **more) -> list[Call]:
    return calls(model(KINDS[kind]), KINDS[kind], *pair, steps=steps, **more)


def tensors(call: Call) -> list[torch.Tensor]:
    return [x for outputs in call.control.values() for x in outputs if x is not None]


def same(ours: list[Call], theirs: list[Call]) -> bool:
    """Whether two runs gave the model the same outputs bit for bit, at every step."""
    assert [call[:2] for call in ours] == [call[:2] for call in theirs]
    for a, b in zip(ours, theirs):
        if (a.control is None) != (b.control is None):
            return False
        if a.control is not None and not all(map(torch.equal, tensors(a), tensors(b))):
            return False
    return True


def scale_of(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The one factor between two outputs; fails where there is none."""
    scale = float((ours * theirs).sum() / theirs.square().sum())
    torch.testing.assert_close(ours, scale * theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
    return scale


def test_the_nets_act(host, kind):
    seen = run(kind, core(host, kind))
    assert len(seen) >= STEPS and all(tensors(call) and all(x.abs().max() > 0 for x in tensors(call)) for call in seen)


def test_weights_of_1_and_a_schedule_of_1_are_core_bit_for_bit(host, kind):
    expected = run(kind, core(host, kind, 0.8))
    plain = run(kind, ours(host, kind, 0.8))
    dressed = ours(
        host,
        kind,
        0.8,
        weights=weights(host, kind, "*=1"),
        schedule=schedule(host, "1@0, 1@1"),
        mask=torch.ones(1, 64, 64),
    )
    assert same(plain, expected) and same(run(kind, dressed), expected)


def test_pictures_are_those_of_core(host, kind):
    layout = KINDS[kind]
    pictures = []
    for positive, negative in (core(host, kind), ours(host, kind)):
        noise = tiny_models.normal("noise", tiny_models.LATENT_SHAPES[layout], 1)
        import comfy.sample

        pictures.append(
            comfy.sample.sample(
                model(layout), noise, 2, 2.0, "euler", "normal", positive, negative, torch.zeros_like(noise), seed=1
            )
        )
    assert torch.equal(*pictures)


def test_start_and_end_are_those_of_core(host, kind):
    expected = run(kind, core(host, kind, 0.7, 0.3, 0.8))
    assert any(call.control is None for call in expected) and any(call.control for call in expected)
    assert same(run(kind, ours(host, kind, 0.7, 0.3, 0.8)), expected)


def test_a_hint_of_another_size_and_shape_is_cropped_as_core_does(host, kind):
    image = torch.rand(1, 200, 90, 3, generator=torch.Generator().manual_seed(4))
    assert same(run(kind, ours(host, kind, image=image)), run(kind, core(host, kind, image=image)))


def test_a_negative_strength_turns_the_outputs_around(host, kind):
    expected, found = run(kind, core(host, kind, 0.5)), run(kind, ours(host, kind, -0.5))
    for a, b in zip(found, expected):
        for x, y in zip(tensors(a), tensors(b)):
            torch.testing.assert_close(x, -y, rtol=0, atol=0)


def table(report: str) -> list[list[str]]:
    """The rows of the report's table under its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines()[4:]]


def blocks(report: str) -> list[str]:
    return [row[0] for row in table(report)]


def test_each_block_weight_changes_its_outputs_and_no_other(host, kind):
    expected = run(kind, core(host, kind), steps=1)
    report = host.node("StyleDeltaControlWeights").execute(net(kind), "", 1.0, 1.0).args[1]
    names, changed_in_all = blocks(report), set()
    for name in names:
        found = run(kind, ours(host, kind, weights=weights(host, kind, f"{name}=0.25")), steps=1)
        scales = [scale_of(a, b) for a, b in zip(tensors(found[0]), tensors(expected[0]))]
        changed = {place for place, value in enumerate(scales) if value != pytest.approx(1)}
        assert all(scales[place] == pytest.approx(0.25) for place in changed)
        assert not changed & changed_in_all
        changed_in_all |= changed
    assert changed_in_all == set(range(len(tensors(expected[0]))))


def test_block_names_are_those_of_the_class(host, kind):
    report = host.node("StyleDeltaControlWeights").execute(net(kind), "", 1.0, 1.0).args[1]
    expected = {
        "sd15": [f"input.{i}" for i in range(12)] + ["middle"],
        "sdxl": [f"input.{i}" for i in range(9)] + ["middle"],
        "control_lora": [f"input.{i}" for i in range(12)] + ["middle"],
        "control_lora_sdxl": [f"input.{i}" for i in range(9)] + ["middle"],
        "t2i": [f"level.{i}" for i in range(4)],
        "t2i_sdxl": [f"level.{i}" for i in range(4)],
        "flux_xlabs": ["double.0", "double.1", "single.0", "single.1"],
        "flux_instantx": ["double.0", "double.1", "single.0", "single.1"],
        "sd3": ["joint.0"],
        "qwen": ["transformer.0", "transformer.1"],
        "qwen_fun": ["control.0", "control.1"],
    }
    assert blocks(report) == expected[kind]


def test_soft_weights_keep_the_deepest_block(host, kind):
    expected, found = (
        run(kind, core(host, kind), steps=1),
        run(kind, ours(host, kind, weights=soft(host, kind)), steps=1),
    )
    scales = [scale_of(a, b) for a, b in zip(tensors(found[0]), tensors(expected[0]))]
    report = host.node("StyleDeltaControlWeights").execute(net(kind), "", 0.5, 1.0).args[1]
    told = [float(row[-1]) for row in table(report)]
    assert max(told) == 1 and all(any(scale == pytest.approx(one, rel=1e-3) for one in told) for scale in scales)
    if kind in ("sd15", "control_lora"):
        # The middle, then the outputs in the order of the encoder.
        assert scales == pytest.approx([1, *(0.5 ** (12 - i) for i in range(12))], rel=1e-3)
    if kind in ("t2i", "t2i_sdxl"):
        # Coarsest first, but SDXL's coarsest is the middle, which comes last.
        order = [1, 0.5, 0.25, 0.125]
        assert scales == pytest.approx(order if kind == "t2i" else [*order[1:], 1], rel=1e-3)


def soft(host, kind: str):
    return weights(host, kind, falloff=0.5)


def by_conditioning(seen: list[Call], steps: int) -> dict[int, list[list[torch.Tensor] | None]]:
    """For each conditioning, positive 0 and negative 1, the outputs it got at each step, however the host batched them."""
    outputs: dict[int, list] = {0: [], 1: []}
    for call in seen:
        for place, index in enumerate(call.conditionings):
            given = None if call.control is None else tensors(call)
            # A T2I-Adapter has one output for all.
            outputs[index].append(
                given and [x if len(x) == 1 else x.chunk(len(call.conditionings))[place] for x in given]
            )
    assert all(len(listed) == steps for listed in outputs.values())
    return outputs


@pytest.mark.parametrize("factor", [0.25, 0.0])
def test_the_uncond_multiplier_reaches_the_negative_only(host, kind, factor):
    expected = by_conditioning(run(kind, core(host, kind)), STEPS)
    found = by_conditioning(run(kind, ours(host, kind, weights=weights(host, kind, uncond=factor))), STEPS)
    for ours_step, core_step in zip(found[0], expected[0]):
        # Alone or in one batch, the host's convolutions round otherwise.
        assert [scale_of(x, y) for x, y in zip(ours_step, core_step)] == pytest.approx([1] * len(core_step))
    for ours_step, core_step in zip(found[1], expected[1]):
        if factor == 0:
            assert ours_step is None
        else:
            assert [scale_of(x, y) for x, y in zip(ours_step, core_step)] == pytest.approx([factor] * len(core_step))


def test_a_schedule_scales_exactly_the_steps_it_names(host, kind):
    expected = run(kind, core(host, kind))
    sampling = model(KINDS[kind]).get_model_object("model_sampling")
    plan = schedule(host, "1@0, 0.5@0.4, 0@0.7", "hold")
    found = run(kind, ours(host, kind, schedule=plan))
    sigmas = [float(sampling.percent_to_sigma(progress)) for progress in (0.4, 0.7)]
    seen = set()
    for a, b in zip(found, expected):
        value = 1.0 if a.sigma > sigmas[0] else 0.5 if a.sigma > sigmas[1] else 0.0
        seen.add(value)
        if value == 0:
            assert a.control is None
        else:
            # Nets that bend their strength bend it as they would for this one.
            bent = value**0.5 if kind == "qwen_fun" else value
            assert [scale_of(x, y) for x, y in zip(tensors(a), tensors(b))] == pytest.approx([bent] * len(tensors(b)))
    assert seen == {1.0, 0.5, 0.0}


def as_map(output: torch.Tensor, layout: str) -> torch.Tensor:
    """Features as they are, tokens laid out: [B, C, h, w]."""
    if output.dim() == 4:
        return output
    height, width = ((side + 1) // 2 for side in tiny_models.LATENT_SHAPES[layout][-2:])
    return output.transpose(1, 2).reshape(output.shape[0], -1, height, width)


def test_a_mask_of_the_left_half_leaves_the_right_alone(host, kind):
    mask = torch.zeros(1, 128, 128)
    mask[:, :, :64] = 1
    expected, found = run(kind, core(host, kind)), run(kind, ours(host, kind, mask=mask))
    for a, b in zip(found, expected):
        for x, y in zip(tensors(a), tensors(b)):
            left, theirs = as_map(x, KINDS[kind]), as_map(y, KINDS[kind])
            width = left.shape[-1]
            if width > 1:
                assert torch.equal(left[..., : width // 2], theirs[..., : width // 2])
                assert left[..., -(width // 2) :].abs().max() == 0


def test_a_black_mask_is_no_control_and_a_white_one_no_mask(host, kind):
    assert all(call.control is None for call in run(kind, ours(host, kind, mask=torch.zeros(1, 64, 64))))
    before = core(host, kind, 0.4)
    chained = ours(host, kind, before=before, mask=torch.zeros(3, 5))
    assert same(run(kind, chained), run(kind, before))


def test_masks_for_each_picture_of_a_batch(host, kind):
    masks = torch.stack([torch.zeros(32, 32), torch.ones(32, 32)])
    expected, found = run(kind, core(host, kind), batch=2), run(kind, ours(host, kind, mask=masks), batch=2)
    for a, b in zip(found, expected):
        for x, y in zip(tensors(a), tensors(b)):
            y = y.expand_as(x)
            assert len(x) == 2 * len(a.conditionings)
            for index in range(len(x)):
                assert torch.equal(x[index], y[index] if index % 2 else torch.zeros_like(y[index]))


def test_nets_in_a_chain_add_up(host, kind):
    first, second = run(kind, core(host, kind, 0.5)), run(kind, core(host, kind, 0.25))
    both = run(kind, ours(host, kind, 0.25, before=ours(host, kind, 0.5)))
    for a, b, c in zip(both, first, second):
        for x, y, z in zip(tensors(a), tensors(b), tensors(c)):
            torch.testing.assert_close(x, y + z, rtol=1e-5, atol=1e-6)
    mixed = run(kind, core(host, kind, 0.25, before=ours(host, kind, 0.5)))
    assert same(mixed, both)


def test_positive_and_negative_share_one_net_and_inputs_stay(host, kind):
    pair = conditionings(KINDS[kind])
    before = [[dict(options) for _, options in conditioning] for conditioning in pair]
    positive, negative = ours(host, kind, before=pair)
    assert positive[0][1]["control"] is negative[0][1]["control"]
    assert [[options.keys() for options in part] for part in before] == [[o.keys() for _, o in part] for part in pair]
    assert len(run(kind, (positive, negative))) == STEPS
    untouched = ours(host, kind, 0.0, before=pair)
    assert untouched[0] is pair[0] and untouched[1] is pair[1]


def test_running_twice_gives_the_same(host, kind):
    pair = ours(host, kind, fit="pad", image=torch.rand(1, 40, 90, 3), mask=torch.rand(1, 9, 9))
    assert same(run(kind, pair), run(kind, pair))
