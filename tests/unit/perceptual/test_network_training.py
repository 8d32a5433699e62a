"""Training a style network: what learns, what is kept after Cancel, resuming, and bad input."""

from dataclasses import replace

import pytest
import torch
from skimage import data

from delta.feature_networks.bundled import predictor_features
from delta.perceptual import network_training
from delta.perceptual.network_report import describe, loss_charts
from delta.perceptual.network_training import NetworkTraining, Settings, style_names
from delta.perceptual.trained_parts import EVERYTHING, LAST, NORMS, PARTS, TrainedParts, trained_numbers
from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled, load_network, save_network
from delta.style_network.network import StyleNetwork, stylize
from delta.style_network.params import StyleParams

SIDE = network_training.SIDE


def picture(name: str, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    """The upper left part of a picture, [1, height, width, 3]."""
    return torch.from_numpy(getattr(data, name)()[:height, :width].copy())[None].float() / 255


@pytest.fixture(scope="module")
def few() -> StyleNetwork:
    """The 26-style network, of which two styles are left."""
    network = load_bundled(TABLE_NETWORK)
    return replace(network, gamma=network.gamma[3:5], beta=network.beta[3:5], style_names=network.style_names[3:5])


@pytest.fixture(scope="module")
def features():
    return predictor_features(load_bundled(PICTURE_NETWORK))


@pytest.fixture
def make(few, features):
    def made(steps: int = 3, part: str = EVERYTHING, paintings=None, photos=None, **options) -> NetworkTraining:
        paintings = [picture("coffee")] if paintings is None else paintings
        start, names = options.pop("start", few), style_names("", len(paintings))
        settings = Settings(steps, part, painting_size=96, **options)
        return NetworkTraining(
            start, features, paintings, [picture("astronaut") if photos is None else photos], names, settings
        )

    return made


class Cancelled(Exception):
    pass


def cancel_at(step: int):
    def on_step(done: int, total: int) -> None:
        if done == step:
            raise Cancelled

    return on_step


@pytest.mark.parametrize("part", PARTS)
def test_each_part_trains_what_it_names_and_lowers_the_loss(make, few, part):
    training = make(4, part)
    trained = training.run()
    assert training.best_loss < training.first_loss and training.best_step > 0
    assert not torch.equal(trained.gamma[0], few.gamma[training.starts[0]])
    changed = {new.name for new, old in zip(trained.layers, few.layers) if not torch.equal(new.weight, old.weight)}
    names = {layer.name for layer in few.layers}
    assert changed == {NORMS: set(), LAST: {n for n in names if n.startswith("expand.")}, EVERYTHING: names}[part]
    assert (trained.fingerprint == few.fingerprint) == (part == NORMS)


def test_the_numbers_are_those_of_the_network(few):
    # 495 channels with a gamma and a beta each; 8 x 32 x 9 + 4 x 8 x 9 + 3 x 4 x 81 weights of the last stage.
    counts = [trained_numbers(few, part, 1) for part in PARTS]
    assert counts[:2] == [990, 990 + 2304 + 288 + 972]
    assert counts[2] == 990 + sum(layer.weight.numel() for layer in few.layers)
    assert trained_numbers(few, NORMS, 4) == 4 * 990


def test_parts_paint_as_stylize_does_and_inputs_stay(make, few):
    parts = TrainedParts(few, EVERYTHING, few.gamma, few.beta, "cpu")
    photo = picture("chelsea")
    painted = parts.paint(photo.movedim(-1, 1), 1).movedim(1, -1).detach()
    style = StyleParams(few.fingerprint, (few.style(1),))
    assert (painted - stylize(few, photo, style)).abs().max() < 1e-4
    before = [few.gamma.clone(), *(layer.weight.clone() for layer in few.layers)]
    make(2).run()
    assert all(map(torch.equal, before, [few.gamma, *(layer.weight for layer in few.layers)]))


def test_several_paintings_become_styles_of_one_network(make, tmp_path):
    training = make(2, paintings=[picture("coffee"), picture("rocket")])
    trained = training.run()
    assert trained.style_names == ("style 1", "style 2") and trained.gamma.shape == (2, 495)
    assert len(training.starts) == 2
    save_network(trained, tmp_path / "own.safetensors")
    loaded = load_network(tmp_path / "own.safetensors")
    assert loaded.fingerprint == trained.fingerprint and loaded.style_names == trained.style_names
    assert torch.equal(loaded.gamma, trained.gamma)


def test_a_batch_of_one_style_is_the_mean_of_its_moments(make):
    both = torch.cat([picture("coffee"), picture("rocket")])
    mixed, *alone = (make(paintings=[each])._targets[0] for each in (both, both[:1], both[1:]))
    for name, target in mixed.items():
        mean = [sum(parts) / 2 for parts in zip(*(each[name] for each in alone))]
        assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(target, mean))


def test_the_same_seed_gives_the_same_network(make):
    first, second, other = (make(2, seed=seed).run() for seed in (5, 5, 6))
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert torch.equal(first.gamma, second.gamma)


def test_inference_mode_is_no_obstacle(few):
    with torch.inference_mode():
        features = predictor_features(load_bundled(PICTURE_NETWORK))
        network = load_bundled(TABLE_NETWORK)
        network = replace(network, gamma=network.gamma[:1], beta=network.beta[:1], style_names=network.style_names[:1])
        training = NetworkTraining(
            network,
            features,
            [picture("coffee") + 0],
            [picture("astronaut") + 0],
            ["one"],
            Settings(2, painting_size=96),
        )
        assert training.memory().features > 1e7
        trained = training.run()
    assert training.best_loss < training.first_loss and not trained.gamma.requires_grad


def test_training_goes_on_from_a_trained_network(make):
    first = make(4)
    trained = first.run()
    second = make(2, start=trained)
    second.run()
    assert second.starts == [0]
    assert second.first_loss == pytest.approx(first.best_loss, rel=1e-4)


def test_cancel_keeps_the_best_so_far(make):
    training = make(40)
    with pytest.raises(Cancelled):
        training.run(cancel_at(2 + 3))
    best = training.stop()
    # Measured after every second step.
    assert best is training.best and training.stopped and training.best_step == 2
    assert training.best_loss == training.evaluations[-1][1] < training.first_loss
    assert "stopped at step 3 of 40; the result is from step 2" in describe(training)


def test_cancel_before_anything_was_measured_keeps_what_there_is(make):
    training = make(400)
    with pytest.raises(Cancelled):
        training.run(cancel_at(2 + 1))
    assert training.stop() is training.best and [step for step, _ in training.evaluations] == [0, 1]


def test_cancel_is_heard_between_the_styles(make):
    training = make(1, paintings=[picture("coffee"), picture("rocket")])
    calls = []

    def on_step(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        training.run(on_step)
    assert calls == [1, 2, 2] and training.stop() is None


def test_cancel_before_the_first_step_leaves_nothing(make):
    training = make(40)
    with pytest.raises(Cancelled):
        training.run(cancel_at(1))
    assert training.stop() is None


def test_progress_and_pictures_are_shown(make):
    seen, shown = [], []
    training = make(2)
    training.run(lambda done, total: seen.append((done, total)), lambda network, step: shown.append(step))
    # Two styles that are tried, then the steps.
    assert seen == [(done, 4) for done in range(1, 5)]
    assert shown[0] == 0 and shown[-1] == training.best_step


def test_photos_may_have_many_sizes(make, features, few):
    photos = [picture("astronaut", 200, 400), picture("coffee", 300, 150).expand(2, -1, -1, -1)]
    training = NetworkTraining(few, features, [picture("rocket")], photos, ["one"], Settings(1, painting_size=96))
    assert [part.shape[1:] for part in training._learned] == [(200, 272), (172, 150), (172, 150)]
    assert (
        training.apart
        and not NetworkTraining(
            few, features, [picture("rocket")], [*photos, picture("cat")], ["one"], Settings(1, painting_size=96)
        ).apart
    )
    training.run()


def test_the_report_tells_what_was_trained(make):
    training = make(2)
    training.run()
    lines = describe(training).splitlines()
    assert lines[0].startswith(f"everything of {TABLE_NETWORK}: 141354 numbers, 0.6 MB, 2 steps, ")
    assert lines[1] == "styles: style 1"
    assert "the training photos, too small to hold any parts out" in lines[3]
    assert f"{training.first_loss:.4f} for the nearest existing styles" in lines[3]
    (chart,) = loss_charts(training)[0]
    assert chart.mark == (training.best_step, training.best_loss) and len(chart.series) == 2


def test_a_photo_as_its_own_style_and_a_plain_painting_train(make):
    photo = picture("astronaut")
    for painting in (photo, torch.full((1, 64, 64, 3), 0.5)):
        training = make(1, paintings=[painting], photos=photo)
        trained = training.run()
        assert torch.isfinite(trained.gamma).all() and torch.isfinite(trained.layers[0].weight).all()


def test_names_come_from_lines():
    assert style_names("ink\n\n oil \n\n", 4) == ["ink", "style 2", "oil", "style 4"]
    assert style_names("", 2) == ["style 1", "style 2"]
    with pytest.raises(ValueError, match="3 names for 2 paintings"):
        style_names("a\nb\nc", 2)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("photos", torch.rand(1, 1, 1, 3), f"A photo is 1x1 pixels.*at least {SIDE}.*Upscale"),
        ("photos", torch.rand(1, SIDE - 1, 300, 3), f"A photo is 300x{SIDE - 1} pixels"),
        ("photos", torch.full((1, SIDE, SIDE, 3), torch.nan), "A photo holds NaN"),
        ("photos", torch.ones(2, SIDE, SIDE, 3), "plain areas of one colour.*Connect other photos"),
        ("paintings", [torch.rand(1, 1, 1, 3)], "A painting is 1x1 pixels.*at least 64"),
        ("paintings", [torch.full((1, 64, 64, 3), torch.inf)], "A painting holds NaN"),
        ("paintings", [torch.rand(1, 64, 64, 3), torch.rand(64, 64, 3)], "A painting has the shape"),
    ],
)
def test_bad_pictures_are_refused(make, name, bad, message):
    with pytest.raises(ValueError, match=message):
        make(**{name: bad})


def test_networks_of_the_wrong_kind_are_refused(make, few):
    with pytest.raises(ValueError, match="no table of styles.*Connect the 26-style network"):
        make(start=load_bundled(PICTURE_NETWORK))
    with pytest.raises(ValueError, match="no features that tell styles apart.*Choose the any-picture network"):
        predictor_features(few)


def test_a_learning_rate_without_measure_is_refused(make):
    with pytest.raises(ValueError, match="learning rate of 1e.38.*Use a lower learning rate"):
        make(2, learning_rate=1e38).run()


def test_a_painting_that_is_a_strip_is_not_looked_at_too_small(make):
    strip = picture("astronaut", 64, 500)
    training = make(1, paintings=[strip])
    assert all(torch.isfinite(part).all() for each in training._targets[0].values() for part in each)
