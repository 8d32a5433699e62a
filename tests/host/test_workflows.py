"""The example workflows: well made, the same graph as their API twins, and running on the real host."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from workflows import NOTES, reason_to_skip, to_prompt

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
MODEL_INPUTS = {
    "ckpt_name",
    "lora_name",
    "loras",
    "control_net_name",
    "tuned",
    "base",
    "unet_name",
    "clip_name",
    "vae_name",
}
# What a twin may change. The real files become the demo's:
REPLACED = MODEL_INPUTS | {"rows", "palette", "folder", "control_net", "control_lora", "image"}
# its model draws 64 x 64 pixels, has learnt the names of emoji alone, and was guided little:
REPLACED |= {"width", "height", "text", "cfg"}
# so that hints are finer, and training norms is shorter;
REPLACED |= {"blur", "resolution", "steps"}
# and the place of Wan's text encoder takes a smaller one of another kind.
REPLACED |= {"type"}
OWN_FILES = "styledelta_norms_"
DIRECTORIES = ("checkpoints", "loras", "controlnet", "diffusion_models", "text_encoders", "vae")
TITLE_HEIGHT = 30


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def twin(path: Path) -> dict:
    return read(ROOT / "tests/prompts" / path.name)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def object_info(server, path) -> dict:
    """What the server says of its nodes; the test is skipped where it lacks one that the workflow needs."""
    info = server.object_info()
    if reason := reason_to_skip(twin(path)["prompt"], info):
        pytest.skip(f"{path.stem}: {reason}")
    return info


def test_every_twin_has_a_workflow():
    assert [p.name for p in WORKFLOWS] == sorted(p.name for p in (ROOT / "tests/prompts").glob("*.json"))


def test_the_workflow_is_the_graph_of_its_twin(object_info, path):
    prompt, expected = to_prompt(read(path), object_info), twin(path)["prompt"]
    assert prompt.keys() == expected.keys()
    for node_id, node in expected.items():
        ours = prompt[node_id]
        assert (ours["class_type"], ours["_meta"]) == (node["class_type"], node["_meta"])
        assert ours["inputs"].keys() == node["inputs"].keys()
        changed = {name for name, value in node["inputs"].items() if ours["inputs"][name] != value}
        # Rows and what belongs to a choice have names of several parts.
        assert {name.rpartition(".")[2] for name in changed} <= REPLACED


@pytest.mark.usefixtures("object_info")
def test_the_twin_runs_and_shows_pictures(server, path):
    outputs = server.run(twin(path)["prompt"])
    pictures = [image for output in outputs.values() for image in output.get("images", ())]
    assert pictures and all(server.view(**image) for image in pictures)


def test_links_agree_with_slots(path):
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, slot, target, input_slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][input_slot]["link"] == link
        assert kind in nodes[source]["outputs"][slot]["type"]
    assert workflow["last_node_id"] == max(nodes) and workflow["last_link_id"] == len(workflow["links"])


def test_it_has_notes_groups_and_a_thumbnail(path):
    workflow = read(path)
    assert any(node["type"] in NOTES for node in workflow["nodes"]) and workflow["groups"]
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.stat().st_size <= 300_000
    assert Image.open(thumbnail).format == "JPEG"


def test_no_two_nodes_overlap_and_groups_hold_nodes(path):
    workflow = read(path)
    boxes = {n["id"]: (*n["pos"], n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]) for n in workflow["nodes"]}
    for (_, a), (_, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] - TITLE_HEIGHT or b[3] <= a[1] - TITLE_HEIGHT
        assert apart, (a, b)
    for group in workflow["groups"]:
        x, y, width, height = group["bounding"]
        inside = [b for b in boxes.values() if x <= b[0] and y <= b[1] and b[2] <= x + width and b[3] <= y + height]
        assert inside, group["title"]


def test_model_loaders_say_where_to_get_the_model(path, object_info):
    for node in read(path)["nodes"]:
        if node["type"] in NOTES:
            continue
        names = MODEL_INPUTS & {name for part in object_info[node["type"]]["input"].values() for name in part}
        # What another workflow saves has no address.
        if names and not any(str(value).startswith(OWN_FILES) for value in node["widgets_values"]):
            models = node["properties"]["models"]
            for model in models:
                chosen = {str(value).rpartition("/")[2] for value in node["widgets_values"]}
                assert model["name"] in chosen
                assert model["url"].startswith("https://")
                assert model["directory"] in DIRECTORIES
