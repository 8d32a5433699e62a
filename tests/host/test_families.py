"""The matrix of families: what the pack does with the small model of each, loaded by the host's own loader."""

from __future__ import annotations

import re

import pytest

from .family_matrix import row
from .layouts import TABLE, has

# Families of which no record knows the layers, and Stable Diffusion 3, whose last block diffusers names otherwise.
NAMES_UNKNOWN = (
    *("koala_700m", "svd", "trellis2", "pixal3d", "hunyuan3d2", "hunyuan3d2_mini", "hunyuan3d2_1", "triposplat"),
    *("sd3", "sd35_large", "sd35_medium"),
)
# The refusals that there are, by column: the words, and the layouts, or None for any.
REFUSALS = {
    "save as diffusers": ("ComfyUI does not read diffusers names for|the connected model belongs to no family", None),
    "merge, no model": ("it is not certain which of them mean the same weight", NAMES_UNKNOWN),
    "norms": ("AuraFlow has no parameters in the tiers", ("auraflow",)),
    "layer swap": ("Stable Cascade has no known feed-forward", ("cascade_c", "cascade_b")),
}
SMALL = [layout for layout in TABLE if layout.only_meta is None]


@pytest.mark.parametrize("layout", SMALL, ids=lambda layout: layout.name)
def test_nothing_is_wrong_and_called_right(host, base_dir, layout):
    if not has(layout):
        pytest.skip(layout.since)
    cells = row(host, base_dir, layout)
    unexpected = {
        column: text for column, text in cells.items() if text != "works" and not expected(layout.name, column, text)
    }
    assert unexpected == {}


def expected(layout: str, column: str, text: str) -> bool:
    """Whether a cell is one of the known refusals."""
    words, layouts = REFUSALS.get(column, ("(?!)", None))
    return (
        text.startswith("refused: ") and re.search(words, text) is not None and (layouts is None or layout in layouts)
    )
