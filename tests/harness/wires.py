"""The wires of a workflow as the editor draws them: which run backwards, and which behind a node that they do not belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# LiteGraph's measures: the height of a title and of a row of sockets, and how far a curve leaves its sockets.
TITLE, ROW, REACH = 30.0, 20.0, 0.25
SAMPLES = 60


class Wire(NamedTuple):
    """start, end: where it leaves and arrives; source, target: ids of the nodes."""

    source: int
    target: int
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def is_backwards(self) -> bool:
        return self.end[0] < self.start[0]

    def points(self) -> Iterator[tuple[float, float]]:
        """Points of the curve, without its ends."""
        (x0, y0), (x3, y3) = self.start, self.end
        reach = REACH * ((x3 - x0) ** 2 + (y3 - y0) ** 2) ** 0.5
        x1, x2 = x0 + reach, x3 - reach
        for step in range(1, SAMPLES):
            t = step / SAMPLES
            a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
            yield a * x0 + b * x1 + c * x2 + d * x3, (a + b) * y0 + (c + d) * y3


def wires(workflow: Mapping[str, Any]) -> list[Wire]:
    """All wires. Sockets stand in rows below the title, those of inputs that are fields not counted."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    found = []
    for _, source, output, target, slot, _ in workflow["links"]:
        one, two = nodes[source], nodes[target]
        (x, y), (left, top) = one["pos"], two["pos"]
        start = (x + one["size"][0], y + ROW * (output + 0.7))
        found.append(Wire(source, target, start, (left, top + _height_of(two, slot))))
    return found


def _height_of(node: Mapping[str, Any], slot: int) -> float:
    sockets = [index for index, each in enumerate(node["inputs"]) if "widget" not in each]
    if slot in sockets:
        return ROW * (sockets.index(slot) + 0.7)
    # Of a field: somewhere below the sockets.
    rows = max(len(sockets), len(node.get("outputs") or ()))
    fields = [index for index, each in enumerate(node["inputs"]) if "widget" in each]
    return ROW * rows + 24 * (fields.index(slot) + 0.7)


def hidden(workflow: Mapping[str, Any]) -> list[tuple[Wire, int]]:
    """The wires of which a part lies behind a node, with the id of one."""
    boxes = {
        node["id"]: (node["pos"][0], node["pos"][1] - TITLE, node["pos"][0] + node["size"][0], node["pos"][1] + node["size"][1])
        for node in workflow["nodes"]
    }
    found = []
    for wire in wires(workflow):
        others = {id_: box for id_, box in boxes.items() if id_ not in (wire.source, wire.target)}
        behind = next((id_ for x, y in wire.points() for id_, (l, t, r, b) in others.items() if l < x < r and t < y < b), None)
        if behind is not None:
            found.append((wire, behind))
    return found
