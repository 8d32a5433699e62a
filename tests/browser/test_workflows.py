"""Every example workflow in the editor: nothing is missing, no node covers another, and it is queued as its twin."""

import json
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TITLE_HEIGHT = 30
# In pixels of the screen: borders that touch are not a cover.
TOUCHING = 2

RENDERED = """() => [...document.querySelectorAll('[data-node-id]')].map((element) => {
    const box = element.getBoundingClientRect()
    return [element.dataset.nodeId, box.left, box.top, box.right, box.bottom]
})"""
# The classic canvas draws the sizes that nodes have.
DRAWN = """(title) => app.graph.nodes.map((node) => {
    const [x, y] = node.pos, [width, height] = node.size
    return [String(node.id), x, y - title, x + width, y + height]
})"""
MISSING = """() => [...document.querySelectorAll('.p-dialog, .p-toast-message')].map((element) => element.innerText)"""


def with_demo_files(workflow: dict, prompt: dict) -> dict:
    """The workflow with the files of its twin: the demo has no other. A node's values are replaced in order."""
    for node in workflow["nodes"]:
        twin = prompt.get(str(node["id"]))
        if twin is None:
            continue
        given = [value for value in twin["inputs"].values() if not isinstance(value, list)]
        values = node["widgets_values"]
        # Controls after generate and upload buttons have values that no prompt has.
        plain = [i for i, value in enumerate(values) if value not in ("fixed", "randomize", "increment", "decrement")]
        for index, value in zip(plain, given):
            values[index] = value
    return workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_opens_complete_and_no_node_covers_another(editor, path):
    prompt = json.loads((ROOT / "tests/prompts" / path.name).read_text(encoding="utf-8"))["prompt"]
    editor.load(with_demo_files(json.loads(path.read_text(encoding="utf-8")), prompt))
    assert not editor.page.evaluate(MISSING)
    queued = editor.prompt()
    assert {key: node["class_type"] for key, node in queued.items()} == {
        key: node["class_type"] for key, node in prompt.items()
    }
    for key, node in prompt.items():
        assert {k: v for k, v in queued[key]["inputs"].items() if k in node["inputs"]} == node["inputs"], key
    editor.show()
    editor.page.wait_for_timeout(600)
    editor.screenshot(f"workflow_{path.stem}")
    boxes = editor.page.evaluate(RENDERED if editor.renderer == "vue" else DRAWN, TITLE_HEIGHT)
    assert len(boxes) == len(editor.serialize()["nodes"])
    for (one, *a), (other, *b) in combinations(boxes, 2):
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert wide <= TOUCHING or high <= TOUCHING, (one, other, a, b)
