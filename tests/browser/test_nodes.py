"""Every node of the pack in the editor: it can be placed, keeps its values, and shows no error."""

import pytest


@pytest.fixture(scope="module")
def node_ids(server) -> list[str]:
    return sorted(name for name in server.object_info() if name.startswith("StyleDelta"))


def test_every_node_can_be_placed_saved_and_loaded(editor, node_ids):
    placed = [editor.add(name, 420 * (i % 10), 700 * (i // 10)) for i, name in enumerate(node_ids)]
    editor.show()
    saved = editor.serialize()
    assert [node["type"] for node in saved["nodes"]] == node_ids
    before = editor.prompt()
    assert len(before) == len(placed)
    editor.reload()
    editor.errors.clear()
    editor.load(saved)
    assert editor.prompt() == before
    editor.screenshot("all_nodes")
