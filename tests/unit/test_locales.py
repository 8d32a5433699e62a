"""The translations and the help pages are complete and agree with each other."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
# What Chinese users read in English too.
SAME_IN_CHINESE = {"StyleDelta", "LoRA", "CLIP", "ControlNet"}
CHINESE = re.compile("[\u4e00-\u9fff]")
# The front end's translator gives these a meaning of their own.
SPECIAL = re.compile(r"[{}@|]")


def read(language: str, name: str) -> dict:
    return json.loads((ROOT / "locales" / language / name).read_text(encoding="utf-8"))


def leaves(tree: dict, path: str = "") -> dict[str, str]:
    """Every text by its dotted path; fails on anything that is neither a text nor a dict."""
    texts = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            texts |= leaves(value, f"{path}{key}.")
        else:
            assert isinstance(value, str), f"{path}{key} is no text"
            texts[path + key] = value
    return texts


NODE_IDS = sorted(read("en", "nodeDefs.json"))


def help_page(node_id: str, language: str) -> Path:
    docs = ROOT / "js" / "docs"
    return docs / f"{node_id}.md" if language == "en" else docs / node_id / f"{language}.md"


@pytest.mark.parametrize("name", ["nodeDefs.json", "main.json"])
def test_both_languages_have_the_same_texts(name):
    english, chinese = leaves(read("en", name)), leaves(read("zh", name))
    assert list(english) == list(chinese)
    for path, text in chinese.items():
        if text not in SAME_IN_CHINESE:
            assert CHINESE.search(text) and text != english[path], path
    for path, text in english.items():
        assert text.strip() and not CHINESE.search(text), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_no_characters_that_the_translator_interprets(language):
    for name in ("nodeDefs.json", "main.json"):
        assert not [path for path, text in leaves(read(language, name)).items() if SPECIAL.search(text)]


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_numbers_names_and_examples_survive_translation(node_id):
    chinese = leaves(read("zh", "nodeDefs.json")[node_id])
    for path, text in leaves(read("en", "nodeDefs.json")[node_id]).items():
        for part in re.findall(r"`[^`]+`|\b(?:models|output)/\w+|-?\d+(?:\.\d+)?", text):
            assert part in chinese[path], (path, part)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_help_page_explains_the_node_and_names_its_inputs(node_id, language):
    page = help_page(node_id, language).read_text(encoding="utf-8")
    node = read(language, "nodeDefs.json")[node_id]
    assert page.startswith(f"# {node['display_name']}\n")
    assert bool(CHINESE.search(page)) == (language == "zh")
    for widget in node["inputs"].values():
        assert widget["name"] in page, widget["name"]


def test_every_help_page_belongs_to_a_node():
    pages = sorted((ROOT / "js" / "docs").rglob("*.md"))
    assert pages == sorted(help_page(node_id, language) for node_id in NODE_IDS for language in LANGUAGES)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_both_help_pages_have_the_same_parts(node_id):
    english, chinese = (help_page(node_id, language).read_text(encoding="utf-8") for language in LANGUAGES)
    for mark in ("## ", "| ", "- ", "    "):
        counts = [sum(line.startswith(mark) for line in page.splitlines()) for page in (english, chinese)]
        assert counts[0] == counts[1], (mark, counts)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_notes_of_workflows_are_in_both_languages(path):
    notes = [node for node in json.loads(path.read_text(encoding="utf-8"))["nodes"] if node["type"] == "MarkdownNote"]
    assert notes
    for note in notes:
        english, chinese = note["widgets_values"][0].split("\n\n---\n\n")
        assert not re.search(r"[\u4e00-\u9fff]", english) and re.search(r"[\u4e00-\u9fff]", chinese)
        assert english.count("\n- ") == chinese.count("\n- ") and english.count("`") == chinese.count("`")
