"""What trains the demo's models: noise and sampler, deltas, a loop that resumes, and small files of large nets."""

from __future__ import annotations

import os
from pathlib import Path

import card
import deltas
import diffusion
import numpy as np
import pack
import pytest
import stages
import storage
import torch
import trained_models
from control import copied
from drawings import STYLES, Drawings
from looks import LOOKS
from loop import schedule, train
from torch import nn
from unet import FULL, LIVE, started

SUBJECTS = "pizza fish fox owl panda bus key bell star sun car rose".split()
GENERATOR = torch.Generator().manual_seed(3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.fixture(scope="module")
def net():
    return started(random(768)).requires_grad_(False)


def test_the_sampler_finds_what_the_noise_was_laid_over():
    clean = random(2, 4, 8, 8)

    def predict(latents, times):
        kept = diffusion.KEPT[times][:, None, None, None]
        return (latents - kept.sqrt() * clean) / (1 - kept).sqrt()

    assert torch.allclose(diffusion.ddim(predict, random(2, 4, 8, 8)), clean, atol=1e-4)


def test_noise_is_laid_over_by_the_schedule():
    latents = random(4, 4, 8, 8)
    noisy, noise, times = diffusion.noised(latents, torch.Generator().manual_seed(0))
    kept = diffusion.KEPT[times][:, None, None, None]
    assert torch.allclose(noisy, kept**0.5 * latents + (1 - kept) ** 0.5 * noise)
    # One of each quarter of the schedule.
    assert sorted((times // 250).tolist()) == [0, 1, 2, 3]
    assert diffusion.loss(noise, noise, times)[0] == 0
    # At the start nothing is noise: alphabar is near 1, and so is the weight; late ones count 8 times.
    weighted, plain = diffusion.loss(noise + 1, noise, torch.tensor([0, 0, 999, 999]))
    assert plain == pytest.approx(1) and weighted == pytest.approx((2 / diffusion.KEPT[0].item() + 16) / 4, rel=1e-4)


def test_guidance_goes_beyond_the_caption():
    predict = diffusion.guided(
        lambda x, t, context, bias: context, torch.ones(1, 1), torch.zeros(1, 1), (torch.zeros(1, 1),) * 2, 3.0
    )
    assert predict(torch.zeros(1, 1, 1, 1), torch.zeros(1)).item() == 3


def test_deltas_start_as_nothing_and_train_what_they_say(net):
    weights = dict(net.named_parameters())
    lora = deltas.lora(weights, 4)
    effective = lora.effective()
    assert all(torch.equal(effective[name], weights[name]) for name in effective)
    assert "output_blocks.0.1.transformer_blocks.0.attn2.to_k.weight" in effective and "out.2.weight" not in effective
    assert "input_blocks.0.0.weight" not in effective and not any(".emb_layers." in name for name in effective)
    norms, biases = (deltas.norms(weights, wanted).parameters for wanted in (False, True))
    assert "out.0.bias" in norms and "out.2.bias" not in norms and "out.2.bias" in biases
    assert all(parameter.ndim == 1 for parameter in (norms | biases).values()) and norms.keys() < biases.keys()


def test_a_control_net_adds_nothing_at_first(net):
    given = random(2, 4, 8, 8), torch.tensor([10, 500]), random(2, 3, 768), torch.zeros(2, 3)
    with torch.no_grad():
        control = copied(net)(*given, torch.rand(2, 3, 64, 64))
        assert torch.equal(net(*given, control), net(*given))
        control[0][0].add_(1)
        assert not torch.equal(net(*given, control), net(*given))


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    target = random(5)

    def run(folder, steps, stop=None):
        folder.mkdir(exist_ok=True)
        weight = nn.Parameter(torch.zeros(5))

        def loss_of(generator):
            if stop is not None and len(seen) == stop:
                raise KeyboardInterrupt
            seen.append(1)
            loss = ((weight - target + 0.1 * torch.randn(5, generator=generator)) ** 2).mean()
            return loss, loss.detach()

        seen = []
        train("toy", [weight], loss_of, steps, 0.1, folder)
        return weight.detach(), len(seen)

    whole, count = run(tmp_path / "whole", 60)
    assert count == 60 and (whole - target).abs().max() < (target.abs().max())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loop.SAVE_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", 60, stop=25)
    resumed, count = run(tmp_path / "parts", 60)
    assert count == 35 and torch.equal(resumed, whole)
    assert torch.equal(run(tmp_path / "parts", 60)[0], whole)


def test_the_rate_warms_up_and_falls():
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] < 0.02 and max(rates) == rates[99] and rates[-1] == pytest.approx(0.03, abs=1e-3)


def test_stored_matrices_come_back_to_half_a_step(tmp_path, monkeypatch):
    weight, bias = random(6, 4, 3, 3), random(6)
    weight[2] = 0
    storage.write(tmp_path / "net.safetensors", storage.quantised({"a.weight": weight, "a.bias": bias}))
    monkeypatch.setattr(trained_models, "MODELS", tmp_path)
    found = trained_models.read("net")
    step = weight.flatten(1).abs().amax(1) / 127
    error = (torch.from_numpy(found["a.weight"]) - weight).flatten(1).abs().amax(1)
    assert (error <= 0.51 * step + 1e-3 * weight.abs().max()).all() and not found["a.weight"][2].any()
    assert np.array_equal(found["a.bias"], bias.half().float().numpy())


def test_live_numbers_stand_where_the_host_has_them():
    assert trained_models.places(LIVE, FULL).tolist() == list(range(120))
    assert trained_models.places(2 * LIVE, 2 * FULL).tolist() == [*range(120), *range(320, 440)]
    assert trained_models.places(8 * LIVE, 8 * FULL).tolist() == [*range(480), *range(1280, 1760)]
    assert trained_models.places(768, 768).tolist() == list(range(768))
    wide = trained_models.padded(np.ones((2 * LIVE, 4), np.float32), (2 * FULL, 4))
    assert wide.sum() == 2 * LIVE * 4 and wide[320].all() and not wide[120:320].any()


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_is_a_picture_that_shows_the_drawing(name):
    drawing = np.zeros((256, 256, 4), np.float32)
    drawing[64:192, 64:192] = (0.9, 0.1, 0.1, 1)
    look = LOOKS[name](drawing)
    assert look.shape == (256, 256, 3) and look.min() >= 0 and look.max() <= 1
    assert np.abs(look[128, 128] - look[8, 8]).max() > 0.1


def test_it_trains_from_nothing_to_the_files_and_their_card(tmp_path, monkeypatch):
    """One step of each stage, and of one style of each kind of delta, on noise instead of drawings."""
    styles = [("noto", "full"), ("ink", "lora4"), ("night", "norms")]
    monkeypatch.setattr(pack, "DELTAS", styles)
    training = stages.Training(tmp_path, Path(os.environ["STYLEDELTA_HOST_DIR"]) / "comfy/sd1_tokenizer", scale=1e-9)
    pictures = np.random.default_rng(1).integers(0, 256, (len(STYLES), len(SUBJECTS), 64, 64, 3), np.uint8)
    training.found = Drawings(pictures, SUBJECTS, pictures[0])
    # In the order of train.py: the base needs the VAE, which nothing has trained before.
    names = ["base", "decoder", "judge", "canny", *map("_".join, styles)]
    for name in names:
        training.learn(name)
    sizes = pack.write_models(training, tmp_path / "models")
    written = {path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*.*")}
    files = ["vae", "base", "judge", "canny", *(f"styles/{style}_{kind}" for style, kind in styles)]
    assert list(sizes) == files and written == {f"{name}.safetensors" for name in files}
    card.write_card(training, sizes, tmp_path / "README.md")
    rows = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.endswith(" |")]
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} >= {"vae", *names}
