"""What the 26 styles are called: once each, in both languages, with their numbers."""

import re
from pathlib import Path

import pytest

from delta.style_network.files import TABLE_NETWORK, load_bundled
from delta.style_network.style_names import TABLE_STYLES

JS = Path(__file__).resolve().parents[3] / "js"


def chinese() -> dict[str, str]:
    text = (JS / "palette/style_names.js").read_text(encoding="utf-8")
    return dict(re.findall(r"^  '([^']+)': '([^']+)'", text, re.M))


def test_every_style_has_a_name_of_its_own_behind_its_number():
    names = load_bundled(TABLE_NETWORK).style_names
    assert len(set(TABLE_STYLES)) == len(names) == 26
    assert names[19] == "style 19: night-sky strokes, blue and yellow"
    assert all(name == f"style {number}: {TABLE_STYLES[number]}" for number, name in enumerate(names))


def test_every_name_has_a_chinese_one():
    assert list(chinese()) == list(TABLE_STYLES) and len(set(chinese().values())) == 26
    assert all(re.search("[\u4e00-\u9fff]", name) and "," not in name for name in chinese().values())


@pytest.mark.parametrize("page", ["StyleDeltaStylePick.md", "StyleDeltaStylePick/zh.md"])
def test_the_help_tells_them_all(page):
    text = (JS / "docs" / page).read_text(encoding="utf-8")
    names = list(chinese().values()) if page.endswith("zh.md") else TABLE_STYLES
    assert re.findall(r"^\| (\d+) \| (.+) \|$", text, re.M) == [(str(n), name) for n, name in enumerate(names)]
