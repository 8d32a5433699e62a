"""Reports as Markdown, as a library for it reads them."""

import pytest
from markdown_it import MarkdownIt

from delta.report_text import markdown, text_table

READER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
# What Markdown would take for emphasis, tags, headings, quotes, escapes and lists of its own.
NAMES = (
    "lora_unet_blocks_0_attn.lora_up.weight and __init__ and _first and last_",
    "*=0, blocks.* and *.norm",
    "the tag <lora:ink:0.8> and a < b, c > d",
    "# of rows",
    "> 3 and - 2 and + 1",
    "~~kept~~ and ~ 3",
    "C:\\out\\_new\\*.safetensors",
    "write `*=0` or `_x_`",
)


def shown(text: str) -> list[str]:
    """The statements that people see, with a space in front for each list that they are in beyond the first."""
    found, depth = [], 0
    for token in READER.parse(text):
        depth += {"list_item_open": 1, "list_item_close": -1}.get(token.type, 0)
        if token.type == "inline":
            plain = "".join(child.content if child.type in ("text", "code_inline") else "?" for child in token.children)
            found.append(" " * max(depth - 1, 0) + plain)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_statements_keep_their_characters(name):
    plain = name.replace("`", "")
    assert shown(markdown(f"title\n{name}\n  {name}")) == ["title", plain, f" {plain}"]
    assert shown(markdown(name)) == [plain]


def test_numbers_and_what_belongs_to_them():
    report = markdown("1. ink\n   model: 3 weights\n   clip: nothing\n\n2. paper\n   model: nothing")
    assert shown(report) == ["ink", " model: 3 weights", " clip: nothing", "paper", " model: nothing"]
    assert report.startswith("1. ink\n   - model: 3 weights\n") and "\n2. paper" in report


def test_files_are_named_as_code():
    assert shown(markdown("saved C:\\new\\_a*.safetensors, 12.5 MB, 3 tensors\nall well"))[0] == (
        "saved C:\\new\\_a*.safetensors, 12.5 MB, 3 tensors"
    )
    assert markdown("saved /a_/b.safetensors\nx").splitlines()[0] == "saved `/a_/b.safetensors`"


def test_a_table_among_statements():
    rows = [("name", "x"), ("a", "1.25"), ("longer", "")]
    table = text_table(rows)
    assert table == ["| name   | x    |", "| ------ | ---- |", "| a      | 1.25 |", "| longer |      |"]
    report = markdown("\n".join(["head", "by block:", *table, "after:", "  inside"]))
    kinds = [token.type for token in READER.parse(report) if token.level == 0]
    listed = ["bullet_list_open", "bullet_list_close"]
    assert [kind for kind in kinds if not kind.startswith("paragraph")] == [
        *listed,
        "table_open",
        "table_close",
        *listed,
    ]
    assert shown(report) == ["head", "by block:", "name", "x", "a", "1.25", "longer", "", "after:", " inside"]


def test_the_first_statement_stands_by_itself():
    assert markdown("head\nfirst\n  second") == "head\n\n- first\n  - second"
    assert markdown("head\n\nfirst") == "head\n\n- first"
    assert markdown("The stack is empty: nothing was applied.") == "The stack is empty: nothing was applied."
