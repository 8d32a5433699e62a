"""Optimised paintings: the loss falls, seeds repeat, masks keep styles apart, and bad input is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import mean

import pytest
import torch
from skimage import data
from torch import nn

from delta.feature_networks.bundled import predictor_features
from delta.perceptual.batch import PaintedBatch, StylePicture, painted_batch
from delta.perceptual.descent import METHODS
from delta.perceptual.memory import needed_bytes
from delta.perceptual.moments import moments, picture_moments
from delta.perceptual.optimise import LAYERS, NOISE, START_IMAGE, STARTS, Settings
from delta.perceptual.report import describe, loss_charts
from delta.style_network.files import PICTURE_NETWORK, load_bundled

SIDE = 64
PAIRS = (
    ("astronaut", "immunohistochemistry"),
    ("coffee", "retina"),
    ("chelsea", "hubble_deep_field"),
    ("rocket", "coffee"),
    ("coffee", "chelsea"),
)


@pytest.fixture(scope="module")
def features():
    return predictor_features(load_bundled(PICTURE_NETWORK))


def picture(name: str, side: int = 192) -> torch.Tensor:
    """The middle of a picture at 96 pixels, [1, 96, 96, 3]."""
    whole = torch.from_numpy(getattr(data, name)().copy()).float() / 255
    top, left = ((length - side) // 2 for length in whole.shape[:2])
    square = whole[top : top + side, left : left + side].movedim(-1, 0)[None]
    return nn.functional.interpolate(square, (96, 96), mode="area").movedim(1, -1)


def flat(*colour: float) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float32).expand(1, 96, 96, 3).clone()


@pytest.fixture
def make(features):
    def made(image=None, styles=None, keep_colours=0.0, start_image=None, **options) -> PaintedBatch:
        image = picture("astronaut") if image is None else image
        styles = [StylePicture(picture("immunohistochemistry"))] if styles is None else styles
        settings = Settings(**{"steps": 3, "side": SIDE} | options)
        return painted_batch(features, image, styles, settings, keep_colours, start_image)

    return made


def never(done: int, total: int) -> None:
    """A step that is not watched."""


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_the_loss_falls_in_the_mean_over_20_steps(make, pair):
    photo, style = map(picture, pair)
    batch = make(photo, [StylePicture(style)], steps=80, side=96)
    batch.run(never)
    losses = [measured.total for measured in batch.runs[0].losses]
    windows = [mean(losses[start : start + 20]) for start in range(0, 80, 20)]
    assert all(after < before for before, after in pairwise(windows))
    assert windows[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("method", METHODS)
def test_the_painting_takes_over_the_moments_of_the_style(make, features, method):
    style = picture("immunohistochemistry")
    batch = make(styles=[StylePicture(style)], steps=40, side=96, method=method)
    painting = batch.run(never)
    layers = features.style_layers
    wanted = picture_moments(features, style.movedim(-1, 1), layers)
    before = picture_moments(features, picture("astronaut").movedim(-1, 1), layers)
    after = picture_moments(features, painting.movedim(-1, 1), layers)
    for name in layers:
        apart = [float((found[name].covariance - wanted[name].covariance).norm()) for found in (before, after)]
        assert apart[1] < 0.5 * apart[0], name
    # What is shown stays recognisable.
    assert (
        float(torch.corrcoef(torch.stack([painting.mean(-1).flatten(), picture("astronaut").mean(-1).flatten()]))[0, 1])
        > 0.5
    )


@pytest.mark.parametrize("options", [{}, {"start": NOISE}, {"method": "Adam"}], ids=str)
def test_the_same_seed_gives_the_same_painting(make, options):
    first, second = (make(seed=4, **options).run(never) for _ in range(2))
    assert torch.equal(first, second)
    if options.get("start") == NOISE:
        assert not torch.equal(first, make(seed=5, **options).run(never))


def test_it_runs_where_the_host_runs_nodes(make, features):
    """In inference mode, whose tensors no gradient passes."""
    outside = make().run(never)
    with torch.inference_mode():
        network = predictor_features(load_bundled(PICTURE_NETWORK))
        batch = painted_batch(
            network, picture("astronaut"), [StylePicture(picture("immunohistochemistry"))], Settings(3, SIDE)
        )
        assert torch.equal(batch.run(never), outside)


def test_masks_keep_styles_apart(make):
    """On flat fields: each side has the colour of its own style, and none of the other."""
    left = torch.zeros(96, 96)
    left[:, :48] = 1
    grey, red, blue = flat(0.5, 0.5, 0.5), flat(0.8, 0.1, 0.1), flat(0.1, 0.1, 0.8)
    styles = [StylePicture(red, mask=left), StylePicture(blue, mask=1 - left)]
    painting = make(grey, styles, steps=60, side=96, content=0.0).run(never)[0]
    torch.testing.assert_close(painting[:, :44].mean((0, 1)), red[0, 0, 0], atol=0.05, rtol=0)
    torch.testing.assert_close(painting[:, 52:].mean((0, 1)), blue[0, 0, 0], atol=0.05, rtol=0)
    # A style without a mask takes what is left over.
    again = make(grey, [styles[0], StylePicture(blue)], steps=60, side=96, content=0.0).run(never)[0]
    torch.testing.assert_close(again, painting, atol=1e-5, rtol=0)


def test_where_no_style_holds_the_picture_stays(make):
    photo, left = picture("astronaut"), torch.zeros(96, 96)
    left[:, :48] = 1
    painting = make(photo, [StylePicture(picture("coffee"), mask=left)]).run(never)
    assert torch.equal(painting[:, :, 48:], photo[:, :, 48:]) and not torch.allclose(
        painting[:, :, :48], photo[:, :, :48]
    )


def test_weights_mix_styles(make):
    """Of two flat colours, in the share of their weights; a weight of 0 is as no style at all."""
    red, blue = flat(0.8, 0.2, 0.2), flat(0.2, 0.2, 0.8)
    styles = [StylePicture(red, 3.0), StylePicture(blue, 1.0)]
    painting = make(flat(0.5, 0.5, 0.5), styles, steps=80, side=96, content=0.0).run(never)
    torch.testing.assert_close(painting.mean((0, 1, 2)), torch.tensor([0.65, 0.2, 0.35]), atol=0.06, rtol=0)
    one = make(styles=[StylePicture(red)]).run(never)
    assert torch.equal(make(styles=[StylePicture(red), StylePicture(blue, 0.0)]).run(never), one)


@pytest.mark.parametrize("style", [flat(0.5, 0.5, 0.5), flat(0, 0, 0), flat(1, 1, 1)], ids=["grey", "black", "white"])
@pytest.mark.parametrize("photo", ["astronaut", None], ids=["photo", "flat"])
def test_styles_without_contrast_stay_sane(make, photo, style):
    photo = flat(0.3, 0.6, 0.2) if photo is None else picture(photo)
    batch = make(photo, [StylePicture(style)], steps=60, side=96)
    painting = batch.run(never)
    assert torch.isfinite(painting).all() and painting.min() >= 0 and painting.max() <= 1
    losses = [measured.total for measured in batch.runs[0].losses]
    assert losses[-1] < losses[0]
    # It comes near to the style's colour, and grows no pattern that neither picture has.
    apart = [float((each.mean((0, 1, 2)) - style.mean((0, 1, 2))).norm()) for each in (photo, painting)]
    assert apart[1] < 0.6 * apart[0]
    assert float(painting.std((1, 2)).max()) < float(photo.std((1, 2)).max()) + 0.05


def test_a_reference_of_little_contrast_keeps_its_colour(make):
    """The retina went grey when its colours were in no statistics."""
    retina = picture("retina")
    painting = make(picture("astronaut"), [StylePicture(retina)], steps=60, side=96).run(never)
    torch.testing.assert_close(painting.mean((0, 1, 2)), retina.mean((0, 1, 2)), atol=0.08, rtol=0)


def test_a_picture_in_its_own_style_stays(make):
    photo = picture("coffee")
    painting = make(photo, [StylePicture(photo)], steps=20, side=96).run(never)
    assert float((painting - photo).abs().mean()) < 0.05


@pytest.mark.parametrize("step", [1, 2, 5])
def test_cancel_keeps_the_best_so_far(make, step):
    def stop(done: int, total: int) -> None:
        if done == step:
            raise Cancelled

    batch = make(torch.cat([picture("astronaut"), picture("coffee")]), steps=3)
    with pytest.raises(Cancelled):
        batch.run(stop)
    assert batch.image.shape == (1 + (step > 3), 96, 96, 3)
    text = describe(batch, 0)
    assert f"stopped after {step} of 6 steps" in text and loss_charts(batch)
    assert batch.image.shape == (1 + (step > 3), 96, 96, 3)


def test_cancel_before_the_first_step_of_a_picture_keeps_those_before(make, monkeypatch):
    monkeypatch.setattr("delta.perceptual.optimise.LISTENING", -1.0)

    def stop(done: int, total: int) -> None:
        if done == 3 and len(batch.runs) == 2:
            raise Cancelled

    batch = make(torch.cat([picture("astronaut"), picture("coffee")]), steps=3)
    with pytest.raises(Cancelled):
        batch.run(stop)
    assert batch.image.shape == (1, 96, 96, 3)
    assert "1 of 2 pictures" in describe(batch, 0) and "stopped after 3 of 6 steps" in describe(batch, 0)
    assert len(loss_charts(batch)[0][0].series["style"]) == 3


def test_a_long_step_hears_a_cancel_on_its_way_forth_and_back(make, monkeypatch):
    monkeypatch.setattr("delta.perceptual.optimise.LISTENING", -1.0)
    heard = []
    make(steps=2).run(lambda *step: heard.append(step))
    within = [heard.count((done, 2)) for done in range(3)]
    # The layers up to the last that is read, and that on the way back each of the four that are.
    assert within[0] > 8 and within[1] > 8 and within[2] == 1

    def stop(done: int, total: int) -> None:
        heard.append(done)
        if len(heard) == within[0] // 2:
            raise Cancelled

    heard.clear()
    batch = make(steps=2)
    with pytest.raises(Cancelled):
        batch.run(stop)
    assert batch.image is None


def test_a_frame_starts_from_the_one_before(make):
    frames = torch.cat([picture("astronaut"), picture("astronaut")])
    alone = make(frames, steps=20).run(never)
    follow = make(frames, steps=20, start=STARTS[3]).run(never)
    assert torch.equal(alone[0], alone[1]) and torch.equal(follow[0], alone[0])
    assert not torch.equal(follow[1], alone[1])
    given = make(picture("astronaut"), steps=20, start=START_IMAGE, start_image=alone[:1]).run(never)
    torch.testing.assert_close(given[0], follow[1], atol=1e-2, rtol=0)


def test_colours_are_kept(make):
    photo = picture("astronaut")
    kept, plain = (make(keep_colours=amount, steps=20).run(never) for amount in (1.0, 0.0))
    shift = [float((each - photo).mean((0, 1, 2)).std()) for each in (kept, plain)]
    assert shift[0] < 0.5 * shift[1]


@pytest.mark.parametrize("layers", LAYERS)
def test_layers_are_chosen(features, layers):
    chosen = Settings(layers=layers).chosen(features)
    assert chosen[0] == "colours" and set(chosen[1:]) <= set(features.style_layers)
    assert (len(chosen) == 1 + len(features.style_layers)) == (layers == LAYERS[0])


def test_sizes_grow_by_two(features):
    square, strip = torch.zeros(1, 3, 600, 600), torch.zeros(1, 3, 100, 800)
    assert Settings(side=512).sides(square) == [128, 256, 512]
    assert Settings(side=100).sides(square) == [100]
    assert Settings(side=512).sides(strip) == [512]


@pytest.mark.parametrize(
    "style", [flat(0.2, 0.5, 0.1), flat(0.2, 0.5, 0.1)[:, :40].repeat(1, 1, 6, 1)], ids=["square", "strip"]
)
def test_a_style_is_never_looked_at_too_small(make, style):
    painting = make(styles=[StylePicture(style)], steps=2, stroke_size=0.1).run(never)
    assert torch.isfinite(painting).all()


def test_the_memory_is_told(make):
    small, large = (needed_bytes(make(picture("astronaut"), side=side)) for side in (128, 512))
    assert 8 * small < large < 20 * small
    # Half a gigabyte at 512 pixels, within a factor of two of what a run takes.
    assert 2e8 < large < 2e9


def test_what_is_told(make):
    batch = make(steps=4)
    batch.run(never)
    text = describe(batch, 3_000_000)
    for part in ("1 of 1 pictures, 4 steps of L-BFGS", "at 64 pixels", "style loss: ", "memory: about 3.0 MB"):
        assert part in text
    assert "stopped" not in text
    assert len(loss_charts(batch)[0][0].series["style"]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": flat(0, 0, 0)[:, :1, :1]}, "The picture is 1x1 pixels"),
        ({"styles": [StylePicture(flat(0, 0, 0)[:, :1, :1])]}, "The style image is 1x1 pixels"),
        ({"image": flat(math.nan, 0, 0)}, "The picture holds NaN"),
        ({"styles": [StylePicture(flat(0, math.inf, 0))]}, "The style image holds NaN or infinite"),
        ({"styles": [StylePicture(flat(0, 0, 0), 0.0)]}, "one at least is above 0"),
        ({"styles": [StylePicture(flat(0, 0, 0), -1.0)]}, "one at least is above 0"),
        ({"styles": [StylePicture(flat(0, 0, 0), mask=torch.zeros(96, 96))]}, "black everywhere"),
        ({"styles": [StylePicture(flat(0, 0, 0), mask=torch.ones(3, 96, 96))]}, "3 masks for a batch of 1"),
        ({"image": torch.rand(1, 40, 900, 3)}, "At a paint size of 64 the picture's shorter side is 3 pixels"),
        ({"start": START_IMAGE}, "start from the start image, but none is connected"),
        ({"start_image": torch.rand(3, 8, 8, 3)}, "3 start images for 1 pictures"),
        ({"image": torch.rand(96, 96, 3)}, "Connect an IMAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_before_anything_long(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_loss_that_is_not_finite_names_the_remedy(make):
    with pytest.raises(ValueError, match="Use lower strengths"):
        make(style=1e39).run(never)


def test_moments_are_those_that_a_plain_gram_matrix_has(features):
    """Gatys' own Gram matrix of raw features is covariance and mean together."""
    found = features(picture("coffee").movedim(-1, 1), ["stem"])["stem"]
    flat_features = found.flatten(2)[0]
    gram = flat_features @ flat_features.T / flat_features.shape[1]
    own = moments(found)
    torch.testing.assert_close(own.covariance[0] + own.mean[0] @ own.mean[0].T, gram, rtol=1e-4, atol=1e-4)
