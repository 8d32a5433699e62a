"""LoRA Stack in the editor, for the tests of its rows: an empty node, its rows, and a LoRA in a folder."""

from __future__ import annotations

import json
import os

import pytest
from playwright.sync_api import Locator, expect

KOHYA, DIFFUSERS, LOCON = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers", "locon"))
INK = "from_rows/ink_wash.safetensors"


@pytest.fixture(scope="module", autouse=True)
def folder(base_dir):
    """A LoRA in a folder below models/loras."""
    path = base_dir / "models/loras" / INK
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        os.link(base_dir / "models/loras" / KOHYA, path)
    yield
    path.unlink()
    path.parent.rmdir()


@pytest.fixture
def node(editor) -> int:
    """An empty LoRA Stack."""
    refresh(editor)
    node = editor.add("StyleDeltaLoraStack", 0, 0)
    editor.show(node, scale=1.2)
    return node


def refresh(editor) -> None:
    """What the key R does; the editor's messages about it are taken away."""
    editor.page.evaluate("app.refreshComboInNodes()")
    editor.drop_messages()
    expect(editor.element(".p-toast-message")).to_have_count(0)


def rows(editor, node: int) -> list[dict]:
    return json.loads(editor.value(node, "rows"))


def fill(editor, node: int, *added: dict) -> None:
    """Set the rows as a workflow does, and note that state for undo."""
    script = """([node, text]) => {
        app.graph.getNodeById(node).widgets.find((widget) => widget.name === 'rows').value = text
        app.canvas.emitBeforeChange()
        app.canvas.emitAfterChange()
    }"""
    editor.page.evaluate(script, [node, json.dumps(added)])
    expect(editor.element(".styledelta-row")).to_have_count(len(added))
    editor.settle()


def row(editor, index: int) -> Locator:
    return editor.element(".styledelta-row").nth(index)


def names(editor, node: int) -> list[str]:
    return [row["name"] for row in rows(editor, node)]


def shown_names(editor) -> list[str]:
    return [text.replace("\n", "") for text in editor.element(".styledelta-name").all_inner_texts()]


def centre(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(editor, start: tuple[float, float], end: tuple[float, float]) -> None:
    mouse = editor.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    mouse.move(*end, steps=4)
    mouse.up()


def view(editor) -> list[float]:
    return editor.page.evaluate("[app.canvas.ds.scale, ...app.canvas.ds.offset]")


def place(editor, node: int) -> list[float]:
    return editor.page.evaluate("(id) => [...app.graph.getNodeById(id).pos]", node)


def undo(editor, node: int) -> None:
    """Press the keys of undo once, and wait for the graph."""
    before = rows(editor, node)
    editor.page.evaluate("document.activeElement?.blur()")
    editor.page.keyboard.press("Control+z")
    editor.until(lambda: rows(editor, node) != before, True)
    # The rest of the graph may still be loading.
    editor.settle()
