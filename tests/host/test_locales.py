"""What the host shows of every node is explained, translated, and the same as in the schema."""

import json
import re
from pathlib import Path
from urllib.request import urlopen

import node_texts
import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh")
# A seed may be any whole number: its largest says nothing.
LARGEST_SEED = 2**64 - 1


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    """The host's description of each of the pack's nodes."""
    return {name: info for name, info in server.object_info().items() if name.startswith("StyleDelta")}


@pytest.fixture(scope="module")
def texts(server) -> dict[str, dict]:
    """The translations that the host serves, by language."""
    return server.get("/i18n")


def inputs(info: dict) -> dict[str, str]:
    """The tooltip of every input of a node."""
    specs = info["input"].get("required", {}) | info["input"].get("optional", {})
    return {name: (spec[1] if len(spec) > 1 else {}).get("tooltip", "") for name, spec in specs.items()}


def test_the_schema_explains_every_node_input_and_output(nodes):
    for node_id, info in nodes.items():
        assert info["display_name"] and info["description"], node_id
        assert all(inputs(info).values()), node_id
        assert len(info["output_tooltips"]) == len(info["output"]) and all(info["output_tooltips"]), node_id


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_input_and_output_is_translated(nodes, texts, language):
    translated = {name: text for name, text in texts[language]["nodeDefs"].items() if name.startswith("StyleDelta")}
    assert sorted(translated) == sorted(nodes)
    for node_id, info in nodes.items():
        text = translated[node_id]
        assert text["display_name"] and text["description"]
        assert list(text["inputs"]) == list(inputs(info)), node_id
        assert list(text["outputs"]) == [str(index) for index in range(len(info["output"]))], node_id
        for part in (*text["inputs"].values(), *text["outputs"].values()):
            assert part["name"] and part["tooltip"], node_id


def test_the_english_texts_are_those_of_the_schema(nodes):
    """If not, run `python dev.py texts`."""
    present = node_texts.read("en")
    wanted = node_texts.english(nodes, present)
    assert present == wanted and list(present) == list(wanted)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_part_of_the_menu_path_is_translated(nodes, texts, language):
    parts = {part for info in nodes.values() for part in info["category"].split("/")}
    assert parts <= texts[language]["nodeCategories"].keys()


@pytest.mark.parametrize("page", ["{node}.md", "{node}/zh.md"])
def test_the_host_serves_the_help_pages(server, nodes, page):
    for node_id, info in nodes.items():
        folder = info["python_module"].split(".")[1]
        address = f"http://127.0.0.1:{server.port}/extensions/{folder}/docs/{page.format(node=node_id)}"
        with urlopen(address, timeout=60) as answer:
            assert answer.read(2) == b"# ", node_id


def numbers(text: str) -> set[float]:
    """The numbers in a text; `sd15` holds none."""
    return {float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])", text)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_a_full_sentence(nodes, texts, language):
    end = {"en": ".", "zh": "\u3002"}[language]
    for node_id in nodes:
        text = texts[language]["nodeDefs"][node_id]
        parts = [
            text["description"],
            *(part["tooltip"] for kind in ("inputs", "outputs") for part in text[kind].values()),
        ]
        assert not [part for part in parts if not part.endswith(end)], node_id


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tooltip_of_a_number_names_its_range(nodes, texts, language):
    for node_id, info in nodes.items():
        for name, spec in (info["input"].get("required", {}) | info["input"].get("optional", {})).items():
            if spec[0] in ("INT", "FLOAT"):
                ends = {float(spec[1]["min"]), float(spec[1]["max"])} - {float(LARGEST_SEED)}
                missing = ends - numbers(texts[language]["nodeDefs"][node_id]["inputs"][name]["tooltip"])
                assert not missing, (node_id, name, missing)


def test_the_search_knows_other_words_where_the_host_has_aliases(nodes, host_dir):
    """Hosts without aliases leave the field out of their description of a node."""
    host_has_aliases = "search_aliases" in (host_dir / "comfy_api/latest/_io.py").read_text(encoding="utf-8")
    given = {node_id: info["search_aliases"] for node_id, info in nodes.items() if "search_aliases" in info}
    table = json.loads((ROOT / "nodes/aliases.json").read_text(encoding="utf-8"))
    assert sorted(table) == sorted(nodes)
    assert given == (table if host_has_aliases else {})
