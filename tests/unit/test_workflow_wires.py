"""The example workflows can be read: wires run from left to right and in the open, and every node stands within its group."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from wires import box, group_box, hidden, wires

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
NOTES = "MarkdownNote", "Note"


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


def node(number, x, y, sockets=1):
    inputs = [{"name": str(index)} for index in range(sockets)]
    return {"id": number, "pos": [x, y], "size": [100, 100], "inputs": inputs, "outputs": [{}]}


def test_a_wire_back_and_a_wire_behind_a_node_are_seen():
    nodes = [node(1, 0, 0), node(2, 200, 0), node(3, 400, 0)]
    across = {"nodes": nodes, "links": [[1, 1, 0, 2, 0, "MODEL"], [2, 1, 0, 3, 0, "MODEL"]]}
    assert [wire.target for wire in hidden(across)] == [3]
    assert not any(wire.is_backwards for wire in wires(across))
    assert wires({"nodes": nodes, "links": [[1, 3, 0, 2, 0, "MODEL"]]})[0].is_backwards
    above = {"nodes": [node(1, 0, 0), node(2, 200, 100), node(3, 400, 0)], "links": across["links"]}
    assert not hidden(above)


def test_an_input_that_is_a_field_lies_below_the_sockets():
    target = node(2, 200, 0, 2)
    target["inputs"][0]["widget"] = {"name": "0"}
    links = [[1, 1, 0, 2, 0, "STRING"], [2, 1, 0, 2, 1, "MODEL"]]
    field, socket = wires({"nodes": [node(1, 0, 0), target], "links": links})
    assert (socket.end, field.end) == ((200, 14.0), (200, pytest.approx(36.8)))


def test_no_wire_runs_backwards_and_at_most_one_in_ten_behind_a_node(workflow):
    assert not [wire for wire in wires(workflow) if wire.is_backwards]
    assert len(hidden(workflow)) <= len(wires(workflow)) / 10


def test_nodes_and_groups_stand_apart(workflow):
    assert not [(one["id"], two["id"]) for one, two in combinations(workflow["nodes"], 2) if box(one).meets(box(two))]
    groups = workflow["groups"]
    assert not [
        (one["title"], two["title"]) for one, two in combinations(groups, 2) if group_box(one).meets(group_box(two))
    ]


def test_every_node_stands_in_one_group(workflow):
    for each in workflow["nodes"]:
        around = [group["title"] for group in workflow["groups"] if group_box(group).encloses(box(each))]
        assert len(around) == (0 if each["type"] in NOTES else 1), each["id"]
