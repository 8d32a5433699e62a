"""Training of a style on losses that can be worked out by hand."""

import json
import math

import pytest
import torch

from delta.charts.charts import draw
from delta.training.plan import Plan
from delta.training.report import describe, loss_charts
from delta.training.schedule import Settings
from delta.training.style import Style
from delta.training.training import LOSS_SCALE, Draw, StyleTraining, trained_lora

SHAPES = {"diffusion_model.a.weight": (3,), "diffusion_model.a.bias": (3,), "diffusion_model.b.table": (1, 2)}
TARGET = {name: torch.full(shape, 0.5) for name, shape in SHAPES.items()}


def bowl(style: Style, draw: Draw | None) -> torch.Tensor:
    """The mean squared distance from 0.5."""
    return torch.cat([(delta - TARGET[name]).flatten() for name, delta in style.plain.items()]).square().mean()


def training(steps: int = 100, learning_rate: float = 0.05, batch_size: int = 1, seed: int = 0, latents: int = 2):
    return StyleTraining(Plan(SHAPES, described="U-Net"), latents, Settings(steps, learning_rate, batch_size, seed))


def test_it_finds_the_bottom_of_a_bowl():
    job = training()
    job.run(bowl)
    assert job.first_loss == 0.25 and job.best_loss < 1e-4
    assert all(torch.allclose(delta, TARGET[name], atol=0.02) for name, delta in job.best.plain.items())
    assert job.plan.numbers == 8 and len(job.losses) == 100 and job.idle == []


def test_the_first_step_of_adam_is_the_learning_rate():
    job = training(steps=1, learning_rate=0.01)
    job.run(bowl)
    assert all(torch.allclose(delta, torch.tensor(0.01), rtol=1e-5) for delta in job.best.plain.values())


def test_the_evaluation_is_on_the_same_draws_each_time_over_the_whole_schedule():
    seen = []

    def watched(style, draw):
        if not torch.is_grad_enabled():
            seen.append(draw)
        return bowl(style, draw)

    training(steps=20, latents=3).run(watched)
    assert len(seen) == 8 * 11 and seen[:8] == seen[-8:]
    assert [draw.latent for draw in seen[:8]] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [draw.position for draw in seen[:8]] == [(i + 0.5) / 8 for i in range(8)]


def test_draws_depend_on_the_seed_and_leave_out_the_ends():
    def drawn(seed: int) -> list[Draw]:
        seen = []

        def watched(style, draw):
            if torch.is_grad_enabled():
                seen.append(draw)
            return bowl(style, draw)

        training(steps=50, batch_size=2, seed=seed).run(watched)
        return seen

    first = drawn(1)
    assert len(first) == 100 and first == drawn(1) and first != drawn(2)
    assert {draw.latent for draw in first} == {0, 1} and len({draw.seed for draw in first}) == 100
    positions = sorted(draw.position for draw in first)
    assert positions[0] >= 0.001 and positions[-1] <= 0.999
    # A hundred draws leave no gap of three times the mean one.
    assert max(after - before for before, after in zip(positions, positions[1:])) < 0.03


def test_the_best_is_kept_when_the_loss_rises_again():
    job = training(steps=40, learning_rate=0.1)
    calls = []

    def rising(style, draw):
        calls.append(draw)
        # From the middle on every step leads away.
        return bowl(style, draw) if len(calls) < 100 else -bowl(style, draw) + 1

    job.run(rising)
    assert 0 < job.best_step < 40 and job.best_loss < job.evaluations[-1][1]
    assert f"the loss rose after step {job.best_step}" in describe(job)


def test_an_exception_leaves_the_best_so_far():
    job = training()

    def cancel(done: int, total: int) -> None:
        if len(job.losses) == 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(bowl, cancel)
    assert not job.stopped and job.best_step == 30 and bowl(job.best, None) == job.best_loss
    assert job.best_loss < job.first_loss


def test_stopping_evaluates_the_step_that_was_reached():
    job, seen = training(learning_rate=0.01), []

    def cancel(done: int, total: int) -> None:
        if len(job.losses) == 35 and not job.stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(bowl, cancel)
    assert job.stop(bowl, lambda done, total: seen.append(done)) and len(seen) == 8
    assert job.best_step == 35 and [step for step, _ in job.evaluations] == [0, 10, 20, 30, 35]
    assert "stopped at step 35 of 100; the result is from step 35" in describe(job)
    # Once more there is nothing new.
    assert job.stop(bowl) and len(job.evaluations) == 5


def test_stopping_before_the_first_evaluation_finds_nothing():
    job = training()

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(bowl, cancel)
    assert not job.stop(bowl) and job.evaluations == []


def test_progress_ends_at_the_total():
    seen = []
    training(steps=7, batch_size=2).run(bowl, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3 * 2 * 7 + 8 * 8,) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_features_that_are_changed_in_place_have_right_gradients():
    job = training(steps=1, learning_rate=0.01)

    def in_place(style, draw):
        features = style.plain["diffusion_model.a.weight"] - 0.5
        squared = features.square().sum()
        features += 100
        return squared + 0 * sum(delta.sum() for delta in style.plain.values())

    job.run(in_place)
    # With the gradient of the changed features it would go down.
    assert torch.allclose(job.best.plain["diffusion_model.a.weight"], torch.tensor(0.01))


def test_what_has_no_influence_is_left_out_and_told():
    job = training()
    job.run(lambda style, draw: (style.plain["diffusion_model.a.weight"] - 0.5).square().mean())
    assert job.idle == ["diffusion_model.a.bias", "diffusion_model.b.table"]
    assert list(job.best.plain) == ["diffusion_model.a.weight"]
    assert "no effect on the result, left out: 2, a.bias, b.table" in describe(job)


def test_no_influence_at_all_is_an_error():
    with pytest.raises(
        ValueError, match="depends on none of the 3 parameters, a.weight, a.bias, b.table. Choose something else"
    ):
        training().run(lambda style, draw: torch.tensor(1.0))


def test_a_loss_that_does_not_fall_is_an_error():
    with pytest.raises(ValueError, match="2 steps did not lower the loss: it was 1 and at best 1.*0.05"):
        training(steps=2).run(lambda style, draw: 1 + 0 * bowl(style, draw))


def test_a_loss_that_is_not_finite_ends_it_with_the_best():
    job = training(steps=100, learning_rate=0.01)

    def bursting(style, draw):
        return bowl(style, draw) * (math.nan if len(job.losses) >= 25 else 1)

    job.run(bursting)
    assert job.best_step == 20 and len(job.losses) == 26
    assert "stopped at step 26: the loss became NaN or infinite" in describe(job)
    assert draw(loss_charts(job)).isfinite().all()


def test_a_model_whose_loss_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="The loss of the unchanged model is NaN or infinite"):
        training().run(lambda style, draw: bowl(style, draw) * math.inf)


def test_a_step_with_infinite_gradients_is_left_out():
    job = training(steps=10, learning_rate=0.01)

    def overflowing(style, draw):
        # Finite itself, and not when it is scaled for the backward pass.
        is_third = torch.is_grad_enabled() and len(job.losses) == 2
        return bowl(style, draw) * (torch.finfo(torch.float32).max / LOSS_SCALE * 16 if is_third else 1)

    job.run(overflowing)
    assert len(job.losses) == 10 and job.best_step == 10
    assert all(torch.allclose(delta, torch.tensor(0.09), atol=0.002) for delta in job.best.plain.values())


def test_the_lora_has_the_names_that_loaders_know_and_the_losses():
    job = training()
    job.run(bowl)
    lora = trained_lora(job, SHAPES, {"method": "train norms"})
    assert set(lora) == {"diffusion_model.a.w_norm", "diffusion_model.a.b_norm", "diffusion_model.b.table.diff"}
    assert lora["diffusion_model.b.table.diff"].shape == (1, 2) and lora.name == "trained style"
    recipe = json.loads(lora.metadata["styledelta.recipe"])
    assert recipe["loss"] == job.best_loss and recipe["loss_before"] == 0.25 and recipe["steps"] == 100


def test_a_lora_before_anything_was_found_is_an_error():
    with pytest.raises(ValueError, match="No differences that lower the loss"):
        trained_lora(training(), SHAPES, {})


def test_the_report_and_the_picture():
    job = training(steps=50, learning_rate=0.01)
    job.run(bowl)
    lines = describe(job).splitlines()
    assert lines[0] == "U-Net: 3 norm parameters, 8 numbers, 0 kB"
    assert lines[1].startswith("50 steps of 1 at 0.01, ")
    percent = 100 * (1 - job.best_loss / 0.25)
    assert lines[2] == f"loss on 8 fixed draws: 0.25 before, {job.best_loss:.6g} after step 50, {percent:.1f} % less"
    assert len(lines) == 3 and draw(loss_charts(job)).shape[-1] == 3


MATRIX = "diffusion_model.a.matrix.weight"


def test_factors_find_an_update_of_their_rank():
    target = torch.tensor([1.0, -1.0, 2.0])[:, None] * torch.tensor([[0.5, 1.0, 0.0, -0.5]])
    plan = Plan({}, {MATRIX: (3, 4)}, rank=1, described="U-Net")
    job = StyleTraining(plan, 2, Settings(400, 0.02, 1, 0, "cosine"))
    job.run(lambda style, draw: (style.factors[MATRIX].to_dense() - target).square().mean())
    assert job.best_loss < 1e-4 and torch.allclose(job.best.factors[MATRIX].to_dense(), target, atol=0.05)
    assert describe(job).splitlines()[0] == "U-Net: LoRA of rank 1 on 1 layers, 7 numbers, 0 kB"
    assert "at 0.02, warming up for 20 steps, with cosine decay" in describe(job)


def test_norms_and_factors_have_rates_of_their_own():
    name = next(iter(SHAPES))
    job = StyleTraining(Plan({name: (3,)}, {MATRIX: (3, 4)}, 1), 1, Settings(1, 0.002, 1, 0))
    down = job.style.factors[MATRIX].down.detach().clone()
    job.run(lambda style, draw: 1 + (style.plain[name].sum() + (style.factors[MATRIX].to_dense() * down.sign()).sum()))
    assert job.best.plain[name].tolist() == pytest.approx([-0.01] * 3, rel=1e-4)
    assert job.best.factors[MATRIX].up.flatten().tolist() == pytest.approx([-0.002] * 3, rel=1e-4)


def test_it_is_shown_before_the_first_step_and_every_few():
    seen = []
    training(steps=7).run(bowl, show=lambda style, step: seen.append((step, bowl(style, None).item())), show_every=3)
    assert [step for step, _ in seen] == [0, 3, 6] and seen[0][1] == 0.25 > seen[1][1] > seen[2][1]
    training(steps=2).run(bowl, show=lambda style, step: seen.append(step), show_every=0)
    assert len(seen) == 3
