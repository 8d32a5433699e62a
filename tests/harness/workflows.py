"""From the editor's workflow format to the API's prompt format, for nodes without widgets of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
# The widgets of js/, whose values are texts.
WIDGET_TYPES |= {
    "STYLEDELTA_LORA_ROWS",
    "STYLEDELTA_STYLE_PALETTE",
    "STYLEDELTA_NORM_PALETTE",
    "STYLEDELTA_POSE_EDITOR",
}
NOTES = {"Note", "MarkdownNote"}
# What the editor does with a number after a run.
CONTROLS = {"fixed", "increment", "decrement", "randomize"}


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt that the editor would queue for a workflow.

    Raises KeyError for a node that the server does not have, and ValueError when a node's widget values are more or
    fewer than its widgets, or no value of theirs.
    """
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        linked = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        info = object_info[node["type"]]
        inputs = dict(widget_values(node, info)) | linked
        # Newer hosts say of some of their nodes that others are to be used.
        title = node.get("title", info["display_name"].removesuffix(" (DEPRECATED)"))
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def input_specs(info: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The name, type and options of every input of a node, in the editor's order."""
    for part in ("required", "optional"):
        for name, spec in info["input"].get(part, {}).items():
            yield name, spec[0], spec[1] if len(spec) > 1 else {}


def widget_values(node: dict[str, Any], info: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The inputs that widgets of a node give."""
    values = iter(node["widgets_values"])
    try:
        for name, kind, options in input_specs(info):
            if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput"):
                yield name, next(values)
                if options.get("control_after_generate") and (control := next(values)) not in CONTROLS:
                    raise ValueError(f"node {node['id']} ({node['type']}) has {control!r} where it says how to go on")
        # The editor adds the upload button at the end.
        if any(options.get("image_upload") for _, _, options in input_specs(info)):
            next(values)
    except StopIteration:
        raise ValueError(f"node {node['id']} ({node['type']}) has too few widget values") from None
    if list(values):
        raise ValueError(f"node {node['id']} ({node['type']}) has too many widget values")
