"""Missing LoRAs of rows in the editor's own list of missing models, where its front end looks for them; and no trace of that elsewhere."""

import pytest
from lora_rows_page import INK, KOHYA, fill, folder, node, row, rows
from playwright.sync_api import expect

__all__ = ["folder", "node"]

LOST = "gone/lost.safetensors"
WARNING = "Comfy.Workflow.ShowMissingModelsWarning"
# The first of the front ends known to look at the choices of nodes.
LOOKS = (1, 49)


@pytest.fixture
def warned(editor):
    """The editor's warning about missing models, which other tests have switched off."""
    script = "([name, value]) => app.extensionManager.setting.set(name, value)"
    editor.page.evaluate(script, [WARNING, True])
    yield
    editor.page.evaluate(script, [WARNING, False])


def version(editor) -> tuple[int, ...]:
    return tuple(map(int, editor.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__").split(".")[:2]))


def listed(editor, node: int) -> list[str]:
    """What the node tells the editor that it lacks."""
    script = "(id) => app.graph.getNodeById(id).widgets.filter((w) => w.type === 'combo').map((w) => w.value)"
    return editor.page.evaluate(script, node)


def test_missing_rows_that_are_on_are_told_to_the_editor_and_nothing_else_changes(editor, node):
    fill(editor, node, {"name": KOHYA}, {"name": INK})
    size, prompt = editor.page.evaluate("(id) => [...app.graph.getNodeById(id).size]", node), editor.prompt()
    fill(editor, node, {"name": LOST}, {"name": LOST, "on": False})
    lost = [LOST] if version(editor) >= LOOKS else []
    assert listed(editor, node) == lost
    assert editor.serialize()["nodes"][0]["widgets_values"] == [editor.value(node, "rows")]
    assert editor.prompt()[str(node)]["inputs"].keys() == prompt[str(node)]["inputs"].keys()
    assert editor.page.evaluate("(id) => [...app.graph.getNodeById(id).size]", node) == pytest.approx(size, abs=1)
    expect(editor.page.get_by_text(LOST, exact=True)).to_have_count(0)
    editor.screenshot("lora_rows_not_shown")
    row(editor, 0).locator("[role=switch]").click()
    assert listed(editor, node) == []
    row(editor, 1).locator("[role=switch]").click()
    assert listed(editor, node) == lost


def test_the_editor_lists_missing_rows_when_a_workflow_is_opened(editor, node, warned):
    if version(editor) < LOOKS:
        pytest.skip(
            "This front end lists what workflows name with an address only, and looks for it among values of widgets."
        )
    fill(editor, node, {"name": LOST, "model": 0.5}, {"name": KOHYA})
    editor.load(editor.serialize())
    editor.until(lambda: bool(editor.page.evaluate("(id) => app.graph.getNodeById(id).has_errors", node)), True)
    expect(editor.page.get_by_text("lost.safetensors").first).to_be_visible()
    editor.screenshot("lora_rows_listed")
    row(editor, 0).locator(".styledelta-name").click()
    editor.page.keyboard.type("inkw")
    editor.page.keyboard.press("Enter")
    assert rows(editor, node)[0] == {"name": INK, "model": 0.5}
    editor.until(lambda: bool(editor.page.evaluate("(id) => app.graph.getNodeById(id).has_errors", node)), False)
    editor.drop_messages()
