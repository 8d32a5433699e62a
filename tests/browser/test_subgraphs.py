"""The pack's widgets on nodes inside a subgraph: they are edited, run and show results there."""

import json

import pytest
from playwright.sync_api import expect

KOHYA = "styledelta_demo_kohya.safetensors"


@pytest.fixture
def inside(editor) -> dict[str, int]:
    """A graph whose nodes are all in one subgraph, which is open. Their ids in it by type."""
    loader = editor.add("StyleDeltaLoadLora", 0, 0, lora_name=KOHYA)
    report = editor.add("StyleDeltaLoraReport", 320, 0)
    editor.link(loader, 0, report, "lora_model")
    stack = editor.add("StyleDeltaLoraStack", 800, 0, rows=json.dumps([{"name": KOHYA, "model": 1}]))
    shown = editor.add("PreviewAny", 1350, 0)
    editor.link(stack, 0, shown, "source")
    script = """() => {
        const { subgraph, node } = app.graph.convertToSubgraph(new Set(app.graph.nodes))
        app.canvas.openSubgraph(subgraph, node)
        return Object.fromEntries(subgraph.nodes.map(({ type, id }) => [type, id]))
    }"""
    ids = editor.page.evaluate(script)
    view = (
        "([scale, x, y]) => Object.assign(app.canvas.ds, { scale, offset: [x, y] }) && app.canvas.setDirty(true, true)"
    )
    editor.page.evaluate(view, [0.8, 120, 180])
    editor.settle()
    return ids


def test_rows_are_edited_and_a_report_is_shown_in_a_subgraph(editor, inside):
    editor.element(".styledelta-row [role=switch]").click()
    prompt = editor.prompt()
    (rows,) = (json.loads(node["inputs"]["rows"]) for node in prompt.values() if "rows" in node["inputs"])
    assert rows == [{"name": KOHYA, "model": 1, "on": False}]
    outputs = editor.run()
    (text,) = (
        output["text"][0] for key, output in outputs.items() if key.endswith(f":{inside['StyleDeltaLoraReport']}")
    )
    panel = editor.element(".styledelta-panel")
    panel.locator(".sd-text").wait_for(state="attached")
    expect(panel.locator(".sd-text")).to_contain_text(text.splitlines()[0])
    editor.screenshot("subgraph")
