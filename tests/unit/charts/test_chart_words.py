"""The panel's Chinese words for charts: every text that Python writes into a chart has one, and no other text has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from delta.charts import plots
from delta.control.report import ALL
from delta.families.norm_sites import TIERS

ROOT = Path(__file__).resolve().parents[3]
ENTRY = re.compile(r"^  (?:'([^']*)'|\"([^\"]*)\"|(\w+)): (?:'([^']*)'|\(([\w, ]+)\) => `(.*)`),?$", re.M)


def entries() -> dict[str, tuple[str, int]]:
    """The table of the script: text -> (Chinese, how many parts are put into it)."""
    script = (ROOT / "js/reports/chart_words.js").read_text(encoding="utf-8")
    table = re.search(r"^const CHINESE = \{\n(.*?)^\}$", script, re.S | re.M)[1]
    assert len(ENTRY.findall(table)) == len([line for line in table.splitlines() if "//" not in line])
    return {
        single or double or bare: (plain or template, len(parts.split(", ")) if parts else 0)
        for single, double, bare, plain, parts, template in ENTRY.findall(table)
    }


def makes_charts(node: ast.AST) -> bool:
    """A function that returns charts, or a note that is written elsewhere."""
    if isinstance(node, ast.FunctionDef):
        return isinstance(node.returns, ast.Name) and node.returns.id == "Charts"
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Note"


def literals(node: ast.AST) -> Iterator[str]:
    """The texts that are written in a piece of code, with {} for what is put into them; no docstring and no format."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from literals(child)


def written() -> set[str]:
    texts = {plots.INDEX, plots.SINGULAR_VALUE, ALL, *TIERS}
    for path in (ROOT / "delta").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if makes_charts(node):
                texts.update(literals(node))
    # What is left are marks between names, such as "{}: {}", and units that need no words.
    return {text for text in texts if re.search("[A-Za-z]", text.replace("{}", ""))}


def test_every_text_of_a_chart_has_chinese_words():
    assert sorted(entries()) == sorted(written())


def test_the_words_are_chinese_and_use_every_part():
    for text, (words, parts) in entries().items():
        assert re.search("[\u4e00-\u9fff]", words), text
        assert parts == text.count("{}") == words.count("${"), text
