"""The wires of a workflow as the editor draws them: which run backwards, and which run behind a node that is not one of their ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import dist
from typing import Any, NamedTuple

# LiteGraph's measures: the heights of a title, of a row of sockets and of a field, and how far a curve leaves its sockets, as
# a share of their distance.
TITLE, ROW, FIELD, REACH = 30.0, 20.0, 24.0, 0.25
SAMPLES = 60

Point = tuple[float, float]


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def holds(self, point: Point) -> bool:
        return self.left < point[0] < self.right and self.top < point[1] < self.bottom

    def encloses(self, other: Box) -> bool:
        within_x = self.left <= other.left and other.right <= self.right
        return within_x and self.top <= other.top and other.bottom <= self.bottom

    def meets(self, other: Box) -> bool:
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0 and down > 0


class Wire(NamedTuple):
    """source, target: ids of the nodes; start, end: where it leaves the one and arrives at the other."""

    source: int
    target: int
    start: Point
    end: Point

    @property
    def is_backwards(self) -> bool:
        return self.end[0] < self.start[0]

    def points(self) -> Iterator[Point]:
        """Points of the cubic curve, without its ends."""
        (x0, y0), (x3, y3) = self.start, self.end
        reach = REACH * dist(self.start, self.end)
        for step in range(1, SAMPLES):
            t = step / SAMPLES
            a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
            yield a * x0 + b * (x0 + reach) + c * (x3 - reach) + d * x3, (a + b) * y0 + (c + d) * y3


def box(node: Mapping[str, Any]) -> Box:
    """Of a node with its title, which stands above its position."""
    (x, y), (width, height) = node["pos"], node["size"]
    return Box(x, y - TITLE, x + width, y + height)


def group_box(group: Mapping[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return Box(x, y, x + width, y + height)


def wires(workflow: Mapping[str, Any]) -> list[Wire]:
    nodes = {node["id"]: node for node in workflow["nodes"]}
    found = []
    for _, source, output, target, slot, _ in workflow["links"]:
        one, other = nodes[source], nodes[target]
        start = one["pos"][0] + one["size"][0], one["pos"][1] + ROW * (output + 0.7)
        found.append(Wire(source, target, start, (other["pos"][0], other["pos"][1] + _depth(other, slot))))
    return found


def hidden(workflow: Mapping[str, Any]) -> list[Wire]:
    """The wires of which a part lies behind a node that is neither their source nor their target."""
    boxes = {node["id"]: box(node) for node in workflow["nodes"]}
    return [
        wire
        for wire in wires(workflow)
        if any(
            boxes[other].holds(point) for point in wire.points() for other in boxes.keys() - {wire.source, wire.target}
        )
    ]


def _depth(node: Mapping[str, Any], slot: int) -> float:
    """How far below the position of a node its input arrives: sockets stand above, fields below all sockets."""
    is_field = ["widget" in each for each in node["inputs"]]
    before = is_field[:slot].count(is_field[slot])
    if not is_field[slot]:
        return ROW * (before + 0.7)
    rows = max(is_field.count(False), len(node.get("outputs") or ()))
    return ROW * rows + FIELD * (before + 0.7)
