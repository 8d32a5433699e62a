"""What the documents say of the code is true: counts, and the table of names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import names_table
import pytest

from delta.families.registry import families
from delta.merging import methods

ROOT = Path(__file__).resolve().parents[2]
METHODS, NODES, WORKFLOWS = (
    len(methods()),
    len(json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))),
    len(list((ROOT / "workflows").glob("*.json"))),
)


@pytest.mark.parametrize(
    ("page", "pattern", "count"),
    [
        ("docs/NODES.md", r"one of (\d+) methods", METHODS),
        ("docs/NODES.zh.md", r"(\d+) \u79cd\u65b9\u6cd5\u4e4b\u4e00", METHODS),
        ("CHANGELOG.md", r"(\d+) published methods", METHODS),
        ("README.md", r"The (\d+) workflows", WORKFLOWS),
        ("README.zh.md", r"\u8fd9 (\d+) \u4e2a\u5de5\u4f5c\u6d41", WORKFLOWS),
        ("README.md", r"All (\d+) nodes", NODES),
        ("README.zh.md", r"\u5168\u90e8 (\d+) \u4e2a\u8282\u70b9", NODES),
        ("docs/NODES.md", r"All (\d+) nodes", NODES),
        ("docs/NODES.zh.md", r"\u5168\u90e8 (\d+) \u4e2a\u8282\u70b9", NODES),
    ],
)
def test_counts_are_those_of_the_code(page, pattern, count):
    assert re.findall(pattern, (ROOT / page).read_text(encoding="utf-8")) == [str(count)]


def test_the_table_of_names_is_that_of_the_records():
    """If not, run `python dev.py texts`."""
    page = names_table.PAGE.read_text(encoding="utf-8")
    assert page == names_table.with_table(page)
    assert all(f"| {family.name} |" in page for family in families() if family.weights)
