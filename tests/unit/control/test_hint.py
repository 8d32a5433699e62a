"""Hints as nets read them."""

import pytest
import torch

from delta.control.hint import fit_hint, read_hint


def test_transparency_is_dropped_and_grey_becomes_three_channels():
    image = torch.rand(2, 4, 5, 4)
    assert torch.equal(read_hint(image), image[..., :3].movedim(-1, 1))
    assert torch.equal(read_hint(image[..., :1]), image[..., :1].movedim(-1, 1).expand(-1, 3, -1, -1))
    assert read_hint(image[..., :2]).shape == (2, 3, 4, 5)


def test_hints_that_are_none_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        read_hint(torch.full((1, 2, 2, 3), torch.nan))
    for shape in ((2, 2, 3), (1, 2, 2, 2, 3)):
        with pytest.raises(ValueError, match="Connect an IMAGE"):
            read_hint(torch.zeros(shape))
    with pytest.raises(ValueError, match="The hint is empty"):
        read_hint(torch.zeros(0, 2, 2, 3))


def test_padding_shows_the_whole_hint_on_black():
    hint = torch.ones(1, 3, 20, 40)
    padded = fit_hint(hint, 80, 80, "pad")
    assert padded.shape == (1, 3, 80, 80)
    assert (padded[:, :, 20:60] == 1).all() and padded[:, :, :20].max() == 0 and padded[:, :, 60:].max() == 0
    assert torch.equal(fit_hint(hint.transpose(2, 3), 80, 80, "pad"), padded.transpose(2, 3))


def test_stretching_fills_and_the_same_size_is_the_same_hint():
    hint = torch.rand(1, 3, 20, 40)
    assert fit_hint(hint, 30, 50, "stretch").shape == (1, 3, 50, 30)
    for fit in ("pad", "stretch"):
        assert torch.equal(fit_hint(hint, 40, 20, fit), hint)


def test_a_thin_line_survives_a_smaller_picture():
    hint = torch.zeros(1, 3, 1024, 1024)
    hint[:, :, :, 333] = 1
    for fit in ("pad", "stretch"):
        smaller = fit_hint(hint, 256, 256, fit)
        assert (smaller.amax(3) > 0.9).all()
