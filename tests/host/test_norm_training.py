"""Train Style, with norms, on tiny models, with the host in this process."""

import re

import pytest
import torch
from safetensors.torch import save_file

from .norm_training import (
    STEPS,
    conditioning,
    evaluate,
    latents,
    losses,
    model_of,
    module,
    replace_tables,
    site_sizes,
    train,
)
from .tiny_models import sample


@pytest.fixture(scope="module", params=STEPS)
def trained(request, host):
    """Layout, model and the outputs of one training."""
    model = model_of(request.param)
    return request.param, model, train(host, request.param, model)


def test_the_loss_falls_and_few_numbers_do_it(host, trained):
    layout, model, (lora, report, plot) = trained
    before, after = losses(report)
    assert after < 0.8 * before
    sizes = site_sizes(host, model)
    assert sum(tensor.numel() for tensor in lora.values()) == sum(sizes.values())
    assert set(re.findall(r"left out: (.*)", report)) <= {"1, norm_final.weight"}
    assert sum(sizes.values()) < 0.05 * sum(weight.numel() for weight in model.model.parameters())
    assert plot.shape[0] == 1 and plot.shape[-1] == 3


def test_every_chosen_parameter_had_a_gradient_and_moved(trained):
    layout, _, (lora, _, _) = trained
    assert all(tensor.any() for tensor in lora.values())
    tables = {
        "wan": {"blocks.0.modulation": (1, 6, 48), "blocks.1.modulation": (1, 6, 48), "head.modulation": (1, 2, 48)},
        "ltx": {"transformer_blocks.0.scale_shift_table": (6, 64), "scale_shift_table": (2, 64)},
    }
    for name, shape in tables.get(layout, {}).items():
        assert lora[f"diffusion_model.{name}.diff"].shape == shape


def test_the_saved_file_gives_the_loss_of_the_report(host, trained, base_dir):
    layout, model, (lora, report, _) = trained
    before, after = losses(report)
    assert evaluate(host, layout, model) == pytest.approx(before, rel=1e-4)
    path = base_dir / f"models/loras/trained_norms_{layout}.safetensors"
    save_file(dict(lora), path)
    applied, _ = host.node("LoraLoader")().load_lora(model, None, path.name, 1.0, 1.0)
    path.unlink()
    replace_tables(host, applied, lora)
    assert evaluate(host, layout, applied) == pytest.approx(after, rel=1e-4)


def test_the_model_is_as_before_and_nothing_stays_on_it(host):
    import comfy.model_management

    model = model_of("flux")
    picture = sample(model, "flux")
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    state = [(id(parameter), parameter.requires_grad) for parameter in model.model.parameters()]
    with torch.inference_mode(False):
        train(host, "flux", model, steps=3)
    after = model.model.state_dict()
    assert weights.keys() == after.keys() and all(torch.equal(weights[name], after[name]) for name in weights)
    assert state == [(id(parameter), parameter.requires_grad) for parameter in model.model.parameters()]
    for part in model.model.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks and "forward" not in vars(part)
        assert not getattr(part, "weight_function", []) and not getattr(part, "bias_function", [])
    assert not (model.patches or model.object_patches or model.weight_wrapper_patches or model.backup)
    assert not getattr(comfy.model_management, "in_training", False)
    assert torch.equal(picture, sample(model, "flux"))


def test_the_model_is_as_before_after_an_error_inside(host):
    model = model_of("flux")
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    with pytest.raises(ValueError, match="3 steps did not lower the loss"):
        train(host, "flux", model, steps=3, learning_rate=30.0)
    assert all(torch.equal(weights[name], after) for name, after in model.model.state_dict().items())
    assert all(parameter.is_leaf for parameter in model.model.parameters())


def cancelled_training(host, model, at: int, again: bool = False):
    """Train Wan, with Cancel as soon as the progress is at a number, and once more while the step that was reached is evaluated."""
    import comfy.model_management
    import comfy.utils

    presses = [at, 0] if again else [at]
    update = comfy.utils.ProgressBar.update_absolute

    def watched(bar, value: int, *others) -> None:
        update(bar, value, *others)
        if presses and value >= presses[0]:
            presses.pop(0)
            comfy.model_management.interrupt_current_processing()

    # Newer hosts tell their hook of some steps only.
    comfy.utils.ProgressBar.update_absolute = watched
    try:
        return train(host, "wan", model)
    finally:
        comfy.utils.ProgressBar.update_absolute = update
        assert not presses and not comfy.model_management.processing_interrupted()


# The work of 8 steps, and of the evaluations before, on the way and after.
EIGHT_STEPS = 8 * 3 + 3 * 8


def test_cancel_leaves_the_model_as_before_and_gives_the_best(host):
    model = model_of("wan")
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    start = evaluate(host, "wan", model)
    lora, report, plot = cancelled_training(host, model, EIGHT_STEPS + 5)
    assert all(torch.equal(weights[name], after) for name, after in model.model.state_dict().items())
    # The step that was reached is evaluated too: at this loss it is the best.
    assert "stopped at step 10 of 40; the result is from step 10" in report and plot.shape[0] == 1
    applied = host.node("LoraModelLoader").execute(model, dict(lora), 1.0)[0]
    replace_tables(host, applied, lora)
    assert evaluate(host, "wan", applied) == pytest.approx(losses(report)[1], rel=1e-4)
    assert losses(report)[1] < 0.95 * start


def test_a_second_cancel_gives_what_was_evaluated_before(host):
    _, report, _ = cancelled_training(host, model_of("wan"), EIGHT_STEPS + 5, again=True)
    assert "stopped at step 10 of 40; the result is from step 8" in report


def test_cancel_before_anything_was_found_is_a_cancel(host):
    import comfy.model_management

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        cancelled_training(host, model_of("wan"), 2)


def test_patches_of_the_model_are_trained_upon(host):
    model = model_of("flux").clone()
    name = "diffusion_model.double_blocks.0.img_mod.lin.bias"
    model.add_patches({name: ("diff", (torch.full((384,), 0.3),))})
    _, report, _ = train(host, "flux", model, steps=2)
    assert losses(report)[0] == pytest.approx(evaluate(host, "flux", model), rel=1e-4)
    assert losses(report)[0] != pytest.approx(evaluate(host, "flux", model_of("flux")), rel=1e-3)


def test_the_seed_decides(host):
    first, again, other = (train(host, "flux", model_of("flux"), steps=5, seed=seed)[0] for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("layout", STEPS)
def test_gradients_are_those_of_finite_differences(host, layout):
    """Along the gradient the loss rises by its norm, also through what the model changes in place."""
    model, draw = model_of(layout), module(host, "delta.training.training").Draw(1, 0.4, 3)
    sizes = site_sizes(host, model, ("norms", "modulation", "qk_norms"))
    shapes = {name: model.model.state_dict()[name].shape for name in sizes}
    slopes, style = [], module(host, "delta.training.style").Style

    def work(loss) -> None:
        deltas = {name: torch.zeros(shape, requires_grad=True) for name, shape in shapes.items()}
        with module(host, "delta.training.mutation").changes_allowed():
            loss(style(deltas), draw).backward()
        steepness = torch.cat([delta.grad.flatten() for delta in deltas.values()]).norm()
        step = 0.02 / steepness
        with torch.no_grad():
            up, down = (
                loss(style({name: sign * step * delta.grad for name, delta in deltas.items()}), draw)
                for sign in (1, -1)
            )
        slopes.append((float(steepness), float((up - down) / 0.04)))

    with torch.inference_mode():
        run = module(host, "nodes.host.training").run_with_loss
        run(model, latents(layout)["samples"], conditioning(layout) * 2, work)
    assert slopes[0][0] == pytest.approx(slopes[0][1], rel=0.02)


def test_each_latent_has_its_own_conditioning(host):
    draw, run = module(host, "delta.training.training").Draw, module(host, "nodes.host.training").run_with_loss
    nothing = module(host, "delta.training.style").Style()
    model, both, prompts = model_of("flux"), latents("flux")["samples"], conditioning("flux", 2)

    def loss_of(samples, entries, number) -> float:
        values = []
        with torch.inference_mode():
            run(model, samples, entries, lambda loss: values.append(loss(nothing, draw(number, 0.5, 1)).item()))
        return values[0]

    alone = [loss_of(both[i : i + 1], prompts[i : i + 1], 0) for i in range(2)]
    assert [loss_of(both, prompts, i) for i in range(2)] == pytest.approx(alone, rel=1e-5)
    assert loss_of(both, prompts[:1] * 2, 1) != pytest.approx(alone[1], rel=1e-3)


def test_the_loss_is_that_of_the_models_own_prediction(host):
    """Of noise for SD 1.5, of velocity for Flux: recomputed from what the network returns."""
    draw, noise_level = module(host, "delta.training.training").Draw(0, 0.5, 5), {}
    nothing = module(host, "delta.training.style").Style()
    for layout in ("sd15", "flux"):
        model, values, outputs = model_of(layout), [], []
        samples = latents(layout, 1)["samples"]
        hook = model.model.diffusion_model.register_forward_hook(lambda *a, seen=outputs: seen.append(a[2].clone()))
        with torch.inference_mode():
            run = module(host, "nodes.host.training").run_with_loss
            run(model, samples, conditioning(layout), lambda loss, seen=values: seen.append(loss(nothing, draw).item()))
        hook.remove()
        noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(5))
        clean = model.model.process_latent_in(samples)
        target = noise if layout == "sd15" else noise - clean
        noise_level[layout] = float((outputs[0] - target).square().mean())
        assert values[0] == pytest.approx(noise_level[layout], rel=1e-3)


def test_half_precision_weights_train(host):
    model = model_of("flux")
    with torch.inference_mode():
        model.model.diffusion_model.to(torch.float16)
        model.model.diffusion_model.dtype, model.model.manual_cast_dtype = torch.float16, torch.float32
        for part in model.model.modules():
            if hasattr(part, "comfy_cast_weights"):
                part.comfy_cast_weights = True
    lora, report, _ = train(host, "flux", model, steps=20)
    before, after = losses(report)
    assert after < 0.8 * before and all(tensor.dtype == torch.float32 for tensor in lora.values())


BAD = {
    "nan": ({"latents": {"samples": torch.full((1, 16, 8, 8), torch.nan)}}, "holds NaN"),
    "channels": (
        {"latents": {"samples": torch.ones(1, 4, 8, 8)}},
        r"\[1, 4, 8, 8\], but Flux has latents of 16 channels",
    ),
    "video": ({"latents": {"samples": torch.ones(1, 16, 2, 8, 8)}}, "latents of 16 channels and 4 dimensions"),
    "empty": ({"latents": {"samples": torch.zeros(1, 16, 8, 8)}}, "latents are all zero"),
    "conditioning": ({"conditioning": conditioning("flux", 3)}, "3 conditionings for 2 latents"),
    "batch of prompts": ({"conditioning": [[torch.ones(2, 8, 64), {}]]}, "2 prompts as one batch"),
    "ControlNet": (
        {"conditioning": [[torch.ones(1, 8, 64), {"control": None}]]},
        "The conditioning has control, which",
    ),
    "no conditioning": ({"conditioning": []}, "0 conditionings for 2 latents"),
    "tier": ({"modulation": False}, "Flux.1 has no parameters in the tiers that are switched on. It has: modulation"),
    "no tier": ({"norms": False, "modulation": False}, "All kinds of norm parameters are switched off"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error(host, name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        train(host, "flux", model_of("flux"), **changes)


def test_quantised_weights_are_an_error(host):
    from comfy import quant_ops

    model = model_of("flux")
    layer = model.model.diffusion_model.double_blocks[0].img_mlp[0]
    layout = "TensorCoreFP8E4M3Layout" if hasattr(quant_ops, "TensorCoreFP8E4M3Layout") else "TensorCoreFP8Layout"
    with torch.inference_mode():
        stored = quant_ops.QuantizedTensor.from_float(layer.weight.clone(), layout)
        layer.weight = torch.nn.Parameter(stored, requires_grad=False)
    with pytest.raises(ValueError, match=r"double_blocks.0.img_mlp.0.weight is quantised.*16 or 32 bits"):
        train(host, "flux", model)


def test_weights_of_8_bits_are_an_error(host):
    model = model_of("flux")
    model.model.diffusion_model.double_blocks[1].to(torch.float8_e4m3fn)
    with pytest.raises(ValueError, match=r"double_blocks.1\S* is quantised.*16 or 32 bits"):
        train(host, "flux", model)


def test_gguf_weights_are_an_error(host):
    model = model_of("flux")
    model.model.diffusion_model.img_in.weight.tensor_type = "Q4_0"
    with pytest.raises(ValueError, match="img_in.weight is stored as GGUF"):
        train(host, "flux", model)
