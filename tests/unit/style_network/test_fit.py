"""Learning a style: a known one is found again, and every promise of fit_style()."""

from dataclasses import replace

import pytest
import torch
from skimage import data

from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled
from delta.style_network.fit import StyleFit, fit_style, picture_teacher
from delta.style_network.network import StyleNetwork, stylize
from delta.style_network.params import StyleParams
from delta.style_network.vector_files import load_style, save_style

HIDDEN, KNOWN = 7, (19, 3, 12)


def photos(*names: str, size: tuple[int, int] = (256, 384)) -> torch.Tensor:
    """The upper left parts of pictures."""
    height, width = size
    parts = [torch.from_numpy(getattr(data, name)()[:height, :width].copy()) for name in names]
    return torch.stack(parts).float() / 255


@pytest.fixture(scope="module")
def table() -> StyleNetwork:
    return load_bundled(TABLE_NETWORK)


@pytest.fixture(scope="module")
def any_picture() -> StyleNetwork:
    return load_bundled(PICTURE_NETWORK)


@pytest.fixture(scope="module")
def student(table) -> StyleNetwork:
    """The 26-style network, of which three styles are left."""
    names = tuple(table.style_names[index] for index in KNOWN)
    return replace(table, gamma=table.gamma[list(KNOWN)], beta=table.beta[list(KNOWN)], style_names=names)


def paint_in(network: StyleNetwork, index: int):
    """A teacher that paints in a style of the network's table."""
    style = StyleParams(network.fingerprint, (network.style(index),))
    return lambda planes: stylize(network, planes.movedim(1, -1), style).movedim(-1, 1)


@pytest.fixture(scope="module")
def fit(table, student) -> StyleFit:
    return fit_style(student, paint_in(table, HIDDEN), photos("coffee", "astronaut", size=(400, 512)), 40, 0.3, seed=0)


def test_a_style_that_was_left_out_is_found_again(table, student, fit):
    assert fit.recovered > 0.5 and fit.best[0] > 20 and fit.apart
    # On a photo that the fit has not seen, whole and not in squares.
    photo = photos("chelsea")
    target = stylize(table, photo, StyleParams(table.fingerprint, (table.style(HIDDEN),)))

    def distance(style: StyleParams) -> float:
        return float((stylize(student, photo, style) - target).square().mean().sqrt())

    known = [distance(StyleParams(student.fingerprint, (student.style(index),))) for index in range(len(KNOWN))]
    assert distance(fit.style(student)) < 0.5 * min(known)


def test_the_errors_start_at_the_nearest_style_and_end_at_the_last_step(fit):
    steps = [step for step, _ in fit.errors]
    assert steps == list(range(0, 41, 2)) and fit.best[1] == min(error for _, error in fit.errors)


def test_a_style_of_the_table_is_recognised_and_never_made_worse(table, student):
    fit = fit_style(student, paint_in(table, KNOWN[1]), photos("coffee"), 2, 0.3, seed=0)
    assert fit.start == 1 and fit.errors[0][1] < 1e-4 < fit.errors[1][1]
    assert torch.equal(fit.gamma, student.gamma[1]) and torch.equal(fit.beta, student.beta[1])
    assert fit.recovered == 0


def test_the_same_seed_gives_the_same_style_and_inputs_stay(table, student):
    pictures = photos("coffee", "chelsea")
    before = [tensor.clone() for tensor in (pictures, student.gamma, student.beta, student.layers[3].weight)]
    runs = [fit_style(student, paint_in(table, HIDDEN), pictures, 2, 0.3, seed) for seed in (5, 5, 6)]
    assert torch.equal(runs[0].gamma, runs[1].gamma) and torch.equal(runs[0].beta, runs[1].beta)
    assert runs[0].errors == runs[1].errors
    assert not torch.equal(runs[0].gamma, runs[2].gamma)
    after = [pictures, student.gamma, student.beta, student.layers[3].weight]
    assert all(torch.equal(old, new) for old, new in zip(before, after)) and not student.gamma.requires_grad


def test_inference_mode_is_no_obstacle(any_picture):
    with torch.inference_mode():
        network = load_bundled(TABLE_NETWORK)
        network = replace(network, gamma=network.gamma[:2], beta=network.beta[:2], style_names=network.style_names[:2])
        teacher = picture_teacher(network, any_picture, photos("coffee"))
        fit = fit_style(network, teacher, photos("astronaut"), 2, 0.3, seed=0)
    assert fit.gamma.shape == fit.beta.shape == (network.channels,)
    assert fit.recovered > 0 and not fit.gamma.requires_grad


@pytest.mark.parametrize(
    ("shape", "end"), [((130, 1000), 750), ((600, 140), 450), ((130, 300), 172), ((255, 200), 255)]
)
def test_the_last_quarter_of_every_photo_is_held_out(student, shape, end):
    places = []

    def teacher(planes: torch.Tensor) -> torch.Tensor:
        places.extend((low, high) for low, high in zip(planes[:, 0].amin((1, 2)), planes[:, 0].amax((1, 2))))
        return planes

    # Red tells the place on the longer side, on both photos.
    ramp = torch.arange(max(shape)) / max(shape)
    red = ramp.expand(shape) if shape[1] > shape[0] else ramp[:, None].expand(shape)
    texture = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(0))
    fit = fit_style(student, teacher, torch.cat([red.expand(2, -1, -1)[..., None], texture], -1), 2, 0.3, seed=0)
    assert len(places) == 8 + 12
    assert max(high for _, high in places[:8]) * max(shape) < end + 1
    assert fit.apart == (end < max(shape))
    if fit.apart:
        assert min(low for low, _ in places[8:]) * max(shape) > end - 1


def test_plain_squares_are_left_out(student):
    contrast = []

    def teacher(planes: torch.Tensor) -> torch.Tensor:
        contrast.extend(planes.flatten(1).std(1).tolist())
        return planes

    photo = torch.ones(1, 200, 1000, 3)
    photo[:, :, 600:] = photos("chelsea")[:, :200, :384].repeat(1, 1, 2, 1)[:, :, :400]
    fit = fit_style(student, teacher, photo, 2, 0.3, seed=0)
    assert min(contrast) >= 0.01 and torch.isfinite(fit.gamma).all()
    with pytest.raises(ValueError, match="plain areas of one colour.*Connect other photos"):
        fit_style(student, teacher, torch.ones(1, 128, 128, 3), 1, 0.3, 0)


def test_the_teacher_paints_as_stylize_does(table, any_picture):
    painting, squares = photos("coffee"), photos("astronaut", "chelsea")[:, :128, 128:256].contiguous()
    style = StyleParams(any_picture.fingerprint, (any_picture.style_from_image(painting, "coffee"),))
    painted = picture_teacher(table, any_picture, painting)(squares.movedim(-1, 1))
    assert (painted.movedim(1, -1) - stylize(any_picture, squares, style)).abs().max() < 1e-4


def test_cancel_passes_through(table, student):
    class Cancelled(Exception):
        pass

    seen = []

    def on_step(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_style(student, paint_in(table, HIDDEN), photos("coffee"), 4, 0.3, 0, on_step=on_step)
    # Three styles that are tried, then the steps.
    assert seen == [(done, 7) for done in range(1, 6)]


def test_what_is_recovered_is_counted_from_the_start_to_the_lowest_error():
    errors = ((0, 0.4), (10, 0.1), (20, 0.2))
    fit = StyleFit(torch.zeros(2), torch.zeros(2), 1, errors, apart=False, seconds=12.3)
    assert fit.best == (10, 0.1) and fit.recovered == pytest.approx(0.75)


def test_the_saved_style_is_a_small_file(fit, student, tmp_path):
    path = tmp_path / "fitted.safetensors"
    save_style(fit.style(student), path)
    assert path.stat().st_size < 10_000
    loaded = load_style(path, student)
    assert torch.equal(loaded.gamma, fit.gamma) and torch.equal(loaded.beta, fit.beta)
    lines = fit.report(student).splitlines()
    assert lines[0].startswith(f"990 numbers for {TABLE_NETWORK}, 40 steps")
    assert f"{fit.errors[0][1]:.4f} ({student.style_names[fit.start]})" in lines[2]
    assert f"{fit.recovered:.0%} of the distance, {1 - (1 - fit.recovered) ** 2:.0%} of its square" in lines[4]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(1, 127, 300, 3), r"A photo is 300x127 pixels.*at least 128.*Upscale"),
        (torch.full((1, 128, 128, 3), torch.nan), "A photo holds NaN"),
        (torch.zeros(128, 128, 3), r"A photo has the shape \(128, 128, 3\)"),
    ],
)
def test_bad_photos_are_refused(table, student, picture, message):
    with pytest.raises(ValueError, match=message):
        fit_style(student, paint_in(table, HIDDEN), picture, 1, 0.3, 0)


@pytest.mark.parametrize(
    ("painting", "message"),
    [
        (torch.zeros(1, 300, 63, 3), r"The painting is 63x300 pixels.*at least 64.*Upscale"),
        (torch.full((1, 128, 128, 3), torch.inf), "The painting holds NaN"),
    ],
)
def test_bad_paintings_are_refused(table, any_picture, painting, message):
    with pytest.raises(ValueError, match=message):
        picture_teacher(table, any_picture, painting)


def test_networks_of_the_wrong_kind_are_refused(table, any_picture):
    single = replace(table, gamma=table.gamma[:1], beta=table.beta[:1], style_names=table.style_names[:1])
    for network, teacher in ((any_picture, table), (any_picture, any_picture), (single, any_picture)):
        with pytest.raises(ValueError, match="connected as the style network.*the any-picture network as teacher"):
            picture_teacher(network, teacher, photos("coffee"))
    with pytest.raises(ValueError, match="26 styles.*connected as the teacher.*Choose the any-picture network"):
        picture_teacher(table, table, photos("coffee"))


def test_a_learning_rate_without_measure_is_refused(table, student):
    with pytest.raises(ValueError, match="learning rate of 1e.38.*Use a lower learning rate"):
        fit_style(student, paint_in(table, HIDDEN), photos("coffee"), 2, 1e38, 0)
