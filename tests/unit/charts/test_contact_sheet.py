"""Contact sheets: labels stay over their own pictures."""

import torch

from delta.charts.contact_sheet import contact_sheet


def test_a_long_label_is_cut_at_the_edge_of_its_picture():
    tiles = [torch.zeros(40, 64, 3), torch.zeros(40, 64, 3)]
    short, long = (contact_sheet(tiles, [label, "b"], 2) for label in ("a", "a name much longer than its picture"))
    assert short.shape == long.shape
    # The first picture's label ends before the gap to the second, whose label is the same in both.
    assert torch.equal(short[:, :, 72:], long[:, :, 72:]) and not torch.equal(short, long)
