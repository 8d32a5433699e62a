"""The matrix of families: what the pack does with the small model of each, loaded by the host's own loader."""

from __future__ import annotations

import pytest

from .family_matrix import row
from .layouts import TABLE, has

SMALL = [layout for layout in TABLE if layout.only_meta is None]


@pytest.mark.parametrize("layout", SMALL, ids=lambda layout: layout.name)
def test_nothing_is_wrong_and_called_right(host, base_dir, layout):
    if not has(layout):
        pytest.skip(layout.since)
    cells = row(host, base_dir, layout)
    print(cells)
    assert {column: text for column, text in cells.items() if text.startswith("wrong")} == {}
