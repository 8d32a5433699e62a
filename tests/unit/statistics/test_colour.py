"""Oklab against the published values, and there and back."""

import pytest
import torch

from delta.statistics.colour import linear_to_srgb, oklab_to_srgb, srgb_to_linear, srgb_to_oklab, with_colours_of

KNOWN = {
    "black": ((0, 0, 0), (0, 0, 0)),
    "white": ((1, 1, 1), (1, 0, 0)),
    "red": ((1, 0, 0), (0.62796, 0.22486, 0.12585)),
    "green": ((0, 1, 0), (0.86644, -0.23389, 0.17950)),
    "blue": ((0, 0, 1), (0.45201, -0.03246, -0.31153)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_colours(name: str):
    rgb, lab = (torch.tensor(values, dtype=torch.float32) for values in KNOWN[name])
    torch.testing.assert_close(srgb_to_oklab(rgb), lab, rtol=0, atol=1e-5)
    torch.testing.assert_close(oklab_to_srgb(lab), rgb, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-5)])
def test_there_and_back(dtype: torch.dtype, tolerance: float):
    # Float32 loses most where one of the three is 0 and the others are not: colours at the rim of sRGB.
    steps = torch.linspace(0, 1, 18, dtype=dtype)
    cube = torch.cartesian_prod(steps, steps, steps)
    torch.testing.assert_close(oklab_to_srgb(srgb_to_oklab(cube)), cube, rtol=0, atol=tolerance)
    inner = cube[cube.min(1).values > 0.1]
    torch.testing.assert_close(oklab_to_srgb(srgb_to_oklab(inner)), inner, rtol=0, atol=min(tolerance, 1e-5))


def test_numbers_outside_the_range_are_not_clamped():
    wide = torch.tensor([[-0.2, 0.5, 1.3], [1.2, -0.1, 0.0]])
    torch.testing.assert_close(oklab_to_srgb(srgb_to_oklab(wide)), wide, rtol=0, atol=1e-5)


def test_the_curve_of_srgb():
    assert srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140411, abs=1e-6)
    assert srgb_to_linear(torch.tensor(0.04)).item() == pytest.approx(0.04 / 12.92)
    values = torch.linspace(-0.5, 1.5, 201)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, rtol=0, atol=1e-6)


def test_greys_have_no_colour():
    greys = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    assert srgb_to_oklab(greys)[:, 1:].abs().max() < 1e-6


GREY, RED = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([1.0, 0.0, 0.0])
# Worked out by hand from the numbers that Ottosson published: half grey has the lightness 0.598181, red the colour
# (0.22486, 0.12585).
HALF_RED, QUARTER_RED = torch.tensor([0.75450, 0.36907, 0.31765]), torch.tensor([0.63814, 0.44427, 0.41325])


@pytest.mark.parametrize(("amount", "expected"), [(0.0, GREY), (0.25, QUARTER_RED), (0.5, HALF_RED)])
def test_a_grey_painting_takes_the_colour_of_a_red_photo(amount: float, expected: torch.Tensor):
    assert torch.allclose(with_colours_of(GREY, RED, amount), expected, atol=2e-4)


def test_a_colour_that_is_not_there_is_made_paler_at_its_lightness_and_hue():
    lab = srgb_to_oklab(with_colours_of(GREY.double() * 0.2, RED.double(), 1.0))
    # Red is far out of reach in the dark: on the border one channel is all but nothing.
    assert with_colours_of(GREY * 0.2, RED, 1.0).min() < 1e-3
    assert abs(lab[0] - srgb_to_oklab(GREY.double() * 0.2)[0]) < 2e-3
    assert abs(lab[2] / lab[1] - 0.12585 / 0.22486) < 0.02
    assert 0.1 < lab[1] / 0.22486 < 0.9


def test_the_photos_colours_in_the_paintings_lightness():
    generator = torch.Generator().manual_seed(3)
    painting, photo = torch.rand(2, 40, 30, 3, generator=generator, dtype=torch.float64)
    lab, wanted = srgb_to_oklab(with_colours_of(painting, photo, 1.0)), srgb_to_oklab(photo)
    assert (lab[..., 0] - srgb_to_oklab(painting)[..., 0]).abs().max() < 2e-3
    share = lab[..., 1:].norm(dim=-1) / wanted[..., 1:].norm(dim=-1)
    full = share > 1 - 1e-3
    assert full.float().mean() > 0.4 and share.max() < 1.001
    assert (lab[..., 1:] - wanted[..., 1:])[full].abs().max() < 1e-3


def test_greys_stay_grey_and_all_stays_in_range():
    generator = torch.Generator().manual_seed(4)
    painting, photo = torch.rand(2, 20, 20, 3, generator=generator)
    grey = photo.mean(-1, keepdim=True).expand(-1, -1, 3)
    assert with_colours_of(painting, grey, 1.0).std(-1).max() < 1e-4
    assert torch.allclose(with_colours_of(painting, photo, 0.0), painting, atol=1e-4)
    for amount in (0.3, 1.0):
        result = with_colours_of(painting, photo, amount)
        assert result.min() >= 0 and result.max() <= 1
    extremes = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert torch.allclose(with_colours_of(extremes, RED.expand(2, 3), 1.0), extremes, atol=2e-3)
