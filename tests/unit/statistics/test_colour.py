"""Oklab against the published values, and there and back."""

import pytest
import torch

from delta.statistics.colour import linear_to_srgb, oklab_to_srgb, srgb_to_linear, srgb_to_oklab

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
