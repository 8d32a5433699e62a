"""The example workflows in the editor: they open without a complaint, are the graphs of their twins, and no node hides another."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import pytest

from workflows import reason_to_skip

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
# The beginnings of notes of which a part has to be scrolled to, in either renderer.
CUT_NOTES = """[...document.querySelectorAll('.tiptap, .comfy-markdown-content')]
    .filter(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight + 2)
    .map((note) => note.innerText.slice(0, 40))"""


@pytest.fixture(scope="module", autouse=True)
def example_picture(base_dir):
    """ComfyUI's own example.png, which workflows name and a bare base folder lacks, stood in for by another picture."""
    path = base_dir / "input/example.png"
    if path.exists():
        yield
        return
    shutil.copy(base_dir / "input/astronaut.png", path)
    yield
    path.unlink()


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def set_values(editor, prompt: dict) -> None:
    """Set all widgets as in a prompt."""
    for node_id, node in prompt.items():
        values = {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
        editor.set(int(node_id), **values)


def test_a_missing_node_would_be_seen(editor):
    node = {"id": 1, "type": "NoSuchNode", "pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0, "mode": 0}
    editor.load({"version": 0.4, "last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": []})
    editor.until(lambda: any("NoSuchNode" in text for text in editor.complaints()), True)
    editor.page.keyboard.press("Escape")
    editor.clear()
    editor.until(editor.complaints, [])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_opens_and_would_queue_its_twin(editor, path):
    expected = read(ROOT / "tests/prompts" / path.name)["prompt"]
    if reason := reason_to_skip(expected, editor.server.object_info()):
        pytest.skip(f"{path.stem}: {reason}")
    editor.load(read(path))
    assert not editor.complaints()
    set_values(editor, expected)
    queued = editor.prompt()
    assert queued.keys() == expected.keys()
    for node_id, node in expected.items():
        assert queued[node_id]["class_type"] == node["class_type"]
        assert {name: queued[node_id]["inputs"][name] for name in node["inputs"]} == node["inputs"], node_id
    editor.show()
    editor.screenshot(f"workflow_{path.stem}")
    overlaps = [(a["title"], b["title"]) for a, b in combinations(editor.boxes(), 2) if overlap(a, b)]
    assert not overlaps
    assert not out_of_groups(editor)
    assert not editor.page.evaluate(CUT_NOTES)


@pytest.mark.parametrize("name", ["lora_compare", "pose_json", "style_library"])
def test_it_runs_in_the_editor(editor, name):
    editor.load(read(ROOT / f"workflows/{name}.json"))
    set_values(editor, read(ROOT / f"tests/prompts/{name}.json")["prompt"])
    outputs = editor.run()
    assert any(output.get("images") for output in outputs.values())
    editor.show()
    editor.screenshot(f"ran_{name}")
    assert not out_of_groups(editor)


def out_of_groups(editor) -> list[str]:
    """The titles of nodes, but for notes, that are not drawn within a group.

    In Nodes 2.0 older front ends draw Preview as Text as high as its text, so that it is left out there.
    """
    groups = editor.groups()
    free = "(vue) => app.graph.nodes.filter((n) => n.isVirtualNode || (vue && n.type === 'PreviewAny')).map(({ id }) => id)"
    others = set(editor.page.evaluate(free, editor.renderer == "vue"))
    nodes = [box for box in editor.boxes() if box["id"] not in others]
    return [node["title"] for node in nodes if not any(within(node, group) for group in groups)]


def within(a: dict, b: dict) -> bool:
    sides = b["left"] - a["left"], b["top"] - a["top"], a["right"] - b["right"], a["bottom"] - b["bottom"]
    # Rounding of the screen's pixels.
    return max(sides) < 2


def overlap(a: dict, b: dict) -> bool:
    across = min(a["right"], b["right"]) - max(a["left"], b["left"])
    down = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
    # Rounding of the screen's pixels.
    return across > 2 and down > 2


def saved_node(number: int, kind: str, inputs: list, outputs: list, values: list) -> dict:
    """A node as a saved workflow holds it. inputs: name, type and link; outputs: type and links."""
    return {
        "id": number,
        "type": kind,
        "pos": [300 * number, 0],
        "size": [270, 120],
        "flags": {},
        "order": number,
        "mode": 0,
        "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
        "outputs": [{"name": type_, "type": type_, "links": links} for type_, links in outputs],
        "properties": {},
        "widgets_values": values,
    }


def test_a_training_of_the_first_version_keeps_its_links_and_values(editor):
    """Then all of its inputs were required, and it had nothing but what it has first now."""
    checkpoint = "styledelta_emoji.safetensors"
    trains = ("model", "MODEL", 1), ("latents", "LATENT", 2), ("conditioning", "CONDITIONING", 3)
    nodes = [
        saved_node(1, "CheckpointLoaderSimple", [], [("MODEL", [1]), ("CLIP", [4]), ("VAE", None)], [checkpoint]),
        saved_node(2, "EmptyLatentImage", [], [("LATENT", [2])], [64, 64, 1]),
        saved_node(3, "CLIPTextEncode", [("clip", "CLIP", 4)], [("CONDITIONING", [3])], ["a fox"]),
        saved_node(
            4,
            "StyleDeltaTrainNorms",
            [*trains],
            [("LORA_MODEL", None), ("STRING", [5]), ("IMAGE", None)],
            [300, 0.005, 2, 7, True, False, True],
        ),
        saved_node(5, "PreviewAny", [("source", "*", 5)], [], []),
    ]
    links = [
        [1, 1, 0, 4, 0, "MODEL"],
        [2, 2, 0, 4, 1, "LATENT"],
        [3, 3, 0, 4, 2, "CONDITIONING"],
        [4, 1, 1, 3, 0, "CLIP"],
        [5, 4, 1, 5, 0, "STRING"],
    ]
    editor.load({"version": 0.4, "last_node_id": 5, "last_link_id": 5, "nodes": nodes, "links": links})
    queued = editor.prompt()["4"]["inputs"]
    old = {"model": ["1", 0], "latents": ["2", 0], "conditioning": ["3", 0]}
    old |= {"steps": 300, "learning_rate": 0.005, "batch_size": 2, "seed": 7}
    old |= {"norms": True, "modulation": False, "qk_norms": True}
    new = {"train": "norms", "schedule": "automatic", "captions": ""}
    assert {name: queued[name] for name in old | new} == old | new
