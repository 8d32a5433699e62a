"""Train Style with LoRAs, biases, previews and captions, on tiny models in this process."""

import pytest
import torch
from safetensors.torch import save_file

from .norm_training import (
    BOTH,
    LORA,
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

WITH_CORE = {
    **{f"{layout}, LoRA": (layout, LORA) for layout in STEPS},
    "sd15, both": ("sd15", BOTH),
    "flux, both": ("flux", BOTH),
    "wan, both": ("wan", BOTH),
    "sd15, biases": ("sd15", {"train": "norms and biases"}),
}


def applied_by_core(host, base_dir, model, lora, name: str):
    """The model with a LoRA that was saved and loaded by core's own nodes' loader."""
    path = base_dir / f"models/loras/trained_style_{name}.safetensors"
    save_file(dict(lora), path)
    applied, _ = host.node("LoraLoader")().load_lora(model, None, path.name, 1.0, 1.0)
    path.unlink()
    return applied


@pytest.mark.parametrize("case", WITH_CORE)
def test_core_applies_the_saved_file_as_training_saw_it(host, base_dir, case):
    layout, changes = WITH_CORE[case]
    model = model_of(layout)
    lora, report, plot = train(host, layout, model, **changes)
    before, after = losses(report)
    assert after < 0.95 * before and plot.shape[0] == 1
    assert report.startswith(f"names proven: ComfyUI reads all {len(lora)} tensors with the connected model")
    assert all(tensor.dtype == torch.float32 for tensor in lora.values())
    applied = applied_by_core(host, base_dir, model, lora, layout)
    replace_tables(host, applied, lora)
    assert evaluate(host, layout, applied) == pytest.approx(after, rel=1e-4)


def test_factors_have_the_names_of_programs_and_the_rank(host):
    lora, report, _ = train(host, "sd15", model_of("sd15"), steps=2, **LORA)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert lora[f"{key}.lora_up.weight"].shape == (32, 4) and lora[f"{key}.lora_down.weight"].shape == (4, 32)
    assert float(lora[f"{key}.alpha"]) == 4.0
    # 16 transformers with 2 attentions of 4 layers.
    assert "LoRA of rank 4 on 128 layers" in report and len(lora) == 3 * 128
    lora, _, _ = train(host, "flux", model_of("flux"), steps=2, **LORA)
    key = "diffusion_model.double_blocks.0.img_attn.qkv"
    assert lora[f"{key}.lora_B.weight"].shape == (192, 4) and lora[f"{key}.lora_A.weight"].shape == (4, 64)


def test_convolutions_and_norms_are_trained_with_attention(host):
    model = model_of("sd15")
    lora, _, _ = train(host, "sd15", model, steps=2, **BOTH)
    assert lora["lora_unet_conv_in.lora_down.weight"].shape == (4, 4, 3, 3)
    assert lora["lora_unet_conv_in.lora_up.weight"].shape == (32, 4, 1, 1)
    plain = sum(tensor.numel() for name, tensor in lora.items() if name.endswith(("_norm", ".diff_b", ".diff")))
    assert plain == sum(site_sizes(host, model).values())


def test_biases_of_all_layers_are_trained(host):
    model = model_of("sd15")
    lora, report, _ = train(host, "sd15", model, steps=2, train="norms and biases")
    biases = [name for name, _ in model.model.named_parameters() if name.endswith(".bias")]
    assert sum(name.endswith(("b_norm", "diff_b")) for name in lora) == len(biases)
    assert "norm parameters and biases" in report


@pytest.mark.parametrize(("layout", "changes"), [("sd15", BOTH), ("flux", LORA)], ids=["sd15", "flux"])
def test_the_model_is_as_before_to_the_bit_and_no_hook_stays(host, layout, changes):
    model = model_of(layout)
    picture = sample(model, layout)
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    places = {name: weight.data_ptr() for name, weight in model.model.state_dict().items()}
    train(host, layout, model, steps=2, **changes)
    after = model.model.state_dict()
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    assert places == {name: weight.data_ptr() for name, weight in after.items()}
    for part in model.model.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks and "forward" not in vars(part)
    assert not (model.patches or model.object_patches or model.weight_wrapper_patches or model.backup)
    assert torch.equal(picture, sample(model, layout))


@pytest.mark.parametrize("kind", ["norms", "norms and biases", "norms and LoRA"])
def test_channels_last_trains_to_the_same(host, kind):
    """torch 2.13 crashed there in the way back through a group norm whose input has no gradient."""
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = model_of("sd15")
        with torch.inference_mode():
            model.model.diffusion_model.to(memory_format=memory_format)
        lora, report, _ = train(host, "sd15", model, steps=3, train=kind, learning_rate=0.01)
        results.append((set(lora), losses(report)))
    assert results[0][0] == results[1][0]
    # Adam makes as much of a gradient that is rounding as of any other, so that the numbers themselves differ.
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-3)


def test_the_input_of_the_network_has_a_gradient(host):
    model, seen = model_of("sd15"), []
    hook = model.model.diffusion_model.register_forward_pre_hook(
        lambda _, given: seen.append((torch.is_grad_enabled(), given[0].requires_grad, given[0].is_leaf))
    )
    train(host, "sd15", model, steps=2)
    hook.remove()
    assert {(True, True, False), (False, False, True)} == set(seen)


class Shown:
    """The pictures that are put on the node, with the progress at which they are."""

    def __enter__(self):
        import comfy.utils

        self.pictures = []
        comfy.utils.set_progress_bar_global_hook(self._hook)
        return self

    def _hook(self, value, total, preview, **_):
        if preview is not None:
            self.pictures.append((value, *preview))

    def __exit__(self, *_):
        import comfy.utils

        comfy.utils.set_progress_bar_global_hook(None)


def test_previews_are_on_the_node_and_change_no_result(host, base_dir):
    from comfy.cli_args import args

    model, vae = model_of("sd15"), host.node("VAELoader")().load_vae("taesd")[0]
    without, _, _ = train(host, "sd15", model, steps=4, preview_every=2)
    with Shown() as shown:
        lora, _, _ = train(host, "sd15", model, steps=4, preview_every=2, vae=vae)
    assert all(torch.equal(lora[name], without[name]) for name in lora)
    # Before the first step, and after the second and the fourth.
    assert [value for value, *_ in shown.pictures] == [8, 8 + 2 * (3 + 8), 8 + 4 * (3 + 8)]
    assert {(kind, picture.size, size) for _, kind, picture, size in shown.pictures} == {
        ("JPEG", (64, 64), args.preview_size)
    }
    first, _, last = (torch.tensor(list(picture.tobytes())) for _, _, picture, _ in shown.pictures)
    assert (first != last).any()
    with Shown() as again:
        train(host, "sd15", model, steps=1, preview_every=2, vae=vae)
    (row,) = again.pictures
    assert row[2].tobytes() == shown.pictures[0][2].tobytes()


def test_no_preview_without_a_vae_or_at_zero(host):
    vae = host.node("VAELoader")().load_vae("taesd")[0]
    with Shown() as shown:
        train(host, "flux", model_of("flux"), steps=2, preview_every=1)
        train(host, "sd15", model_of("sd15"), steps=1, preview_every=0, vae=vae)
    assert shown.pictures == []


@pytest.mark.parametrize("layout", ["sd15", "flux"])
def test_a_preview_is_what_the_sampler_of_the_host_makes_of_the_style(host, layout):
    import comfy.sample
    import comfy.samplers

    model, picture = model_of(layout), []
    style_training = module(host, "nodes.host.style_training")
    nothing, samples = module(host, "delta.training.style").Style(), latents(layout, 1)["samples"]

    def work(loss):
        picture.append(style_training.preview_latent(loss, nothing, 7, 3))

    with torch.inference_mode():
        module(host, "nodes.host.training").run_with_loss(model, samples, conditioning(layout), work)
        noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(7))
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 3)
        wanted = comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.sampler_object("euler"), sigmas, conditioning(layout), conditioning(layout),
            torch.zeros_like(samples), disable_pbar=True,
        )  # fmt: skip
    assert torch.allclose(picture[0], wanted, atol=1e-4)


def test_a_vae_of_another_model_is_an_error(host):
    vae = host.node("VAELoader")().load_vae("taesd")[0]
    with pytest.raises(
        ValueError, match="The VAE decodes latents of 4 channels, but the model has 16. Connect the model's"
    ):
        train(host, "flux", model_of("flux"), vae=vae)


def test_captions_are_prompts(host, checkpoint):
    model, clip = checkpoint
    shape = {"samples": 0.3 * torch.ones(2, 4, 8, 8)}
    encode = host.node("CLIPTextEncode")().encode
    with torch.inference_mode():
        cat, dog = (encode(clip, text)[0] for text in ("a cat", "a dog"))
    changes = {"latents": shape, "steps": 1, "learning_rate": 0.001}
    by_captions = [
        train(host, "sd15", model, conditioning=None, clip=clip, captions=text, **changes)[0]
        for text in (" a cat \na dog\n", "a cat")
    ]
    by_prompts = [train(host, "sd15", model, conditioning=prompts, **changes)[0] for prompts in (cat + dog, cat)]
    for ours, wanted in zip(by_captions, by_prompts):
        assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


BAD = {
    "neither": ({"conditioning": None}, "Nothing says what the pictures show. Connect conditioning, or connect clip"),
    "both": (
        {"captions": "a cat"},
        "Both captions and conditioning are given. Disconnect conditioning, or clear captions",
    ),
    "no clip": ({"captions": "a cat", "conditioning": None}, "There are captions, but no clip to read them with"),
    "lines": ({"captions": "a\nb\nc", "conditioning": None, "clip": object()}, "3 lines of captions for 2 pictures"),
    "kind": ({"train": "hats"}, "hats cannot be trained. Choose one of: norms, norms and biases, LoRA, norms and LoRA"),
    "rank": ({"train": "LoRA", "rank": 0}, "A LoRA of rank 0 cannot be trained. Choose a rank from 1 to 256"),
    "layers": ({"train": "LoRA", "lora_layers": "hats"}, "A LoRA of hats cannot be trained. Choose one of: attention"),
    "schedule": ({"schedule": "hats"}, "There is no schedule hats. Choose one of: automatic, constant, cosine"),
    "warm up": ({"warm_up": 41}, "warm-up takes 41 steps, but there are only 40. Choose fewer; -1 is automatic"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error(host, name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        train(host, "flux", model_of("flux"), **changes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_train(host, dtype):
    model = model_of("flux")
    with torch.inference_mode():
        model.model.diffusion_model.to(dtype)
        model.model.diffusion_model.dtype = dtype
        model.model.manual_cast_dtype = torch.float32 if dtype == torch.float16 else None
        for part in model.model.modules():
            if hasattr(part, "comfy_cast_weights"):
                part.comfy_cast_weights = dtype == torch.float16
    lora, report, _ = train(host, "flux", model, steps=20, **{**BOTH, "learning_rate": 0.01})
    before, after = losses(report)
    assert after < 0.9 * before and all(tensor.dtype == torch.float32 for tensor in lora.values())


def test_quantised_weights_are_an_error(host):
    model = model_of("flux")
    model.model.diffusion_model.double_blocks[1].to(torch.float8_e4m3fn)
    with pytest.raises(ValueError, match=r"double_blocks.1\S* is quantised.*16 or 32 bits"):
        train(host, "flux", model, **LORA)


def test_cancel_in_a_preview_gives_the_best_so_far(host):
    import comfy.model_management
    import comfy.utils

    model, vae, passes = model_of("sd15"), host.node("VAELoader")().load_vae("taesd")[0], []

    def press(*_):
        # The counting pass, 8 and 8 of the evaluations, 2 of the steps, 12 of the first preview, then 3 of the second.
        passes.append(torch.is_grad_enabled())
        if len(passes) == 1 + 8 + 12 + 2 * (1 + 8) + 3:
            comfy.model_management.interrupt_current_processing()

    hook = model.model.diffusion_model.register_forward_pre_hook(press)
    _, report, _ = train(host, "sd15", model, steps=4, preview_every=2, vae=vae)
    hook.remove()
    assert "stopped at step 2 of 4; the result is from step" in report
    assert not comfy.model_management.processing_interrupted()


def test_a_lora_alone_needs_no_norms(host):
    _, report, _ = train(host, "flux", model_of("flux"), steps=2, norms=False, modulation=False, **LORA)
    assert "LoRA of rank 4" in report and "norm parameters" not in report


def test_the_automatic_rate_rises_and_falls(host):
    _, report, _ = train(host, "flux", model_of("flux"), steps=40, train="norms and LoRA", rank=2, learning_rate=0.0)
    assert "40 steps of 1 at 0.01 for norms and 0.002 for the LoRA, warming up for 2 steps, with cosine decay" in report


def test_memory_is_told_and_close_to_what_autograd_keeps(host):
    model, kept = model_of("sd15"), []
    training, memory = module(host, "delta.training.training"), module(host, "delta.training.memory")
    plan = module(host, "delta.training.plan").Plan({name: (32,) for name in ("diffusion_model.out.0.weight",)})
    job = training.StyleTraining(plan, 1, module(host, "delta.training.schedule").Settings(1, 0.1, 1, 0))

    def work(loss):
        counted = memory.kept_features(lambda: loss(job.style, job.fixed[0]), loss.weights.values())
        storages = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: storages.setdefault(id(t), t), lambda t: t):
            loss(job.style, job.fixed[0])
        known = {weight.untyped_storage().data_ptr() for weight in loss.weights.values()}
        alive = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in storages.values()}
        kept.append((counted, sum(size for pointer, size in alive.items() if pointer not in known)))

    with torch.inference_mode():
        run = module(host, "nodes.host.training").run_with_loss
        run(model, latents("sd15", 1)["samples"], conditioning("sd15"), work)
    counted, alive = kept[0]
    # What is changed in place was counted as a copy too.
    assert alive <= counted < 1.5 * alive
    assert "memory: about" in train(host, "flux", model_of("flux"), steps=2)[1]


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_too_little_memory_is_told_with_what_was_needed(host, error):
    """The network runs out of memory in its first pass with gradients that is not the one that counts."""
    import comfy.model_management

    model, passes = model_of("flux"), []

    def fail(*_):
        passes.append(torch.is_grad_enabled())
        if passes.count(True) > 1:
            raise error

    hook = model.model.diffusion_model.register_forward_pre_hook(fail)
    with pytest.raises(
        comfy.model_management.OOM_EXCEPTION, match="Training ran out of memory. Memory: about .*MB are free|GB"
    ):
        train(host, "flux", model)
    hook.remove()
