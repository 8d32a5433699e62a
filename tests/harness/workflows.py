"""From the editor's workflow format to the API's prompt format, for nodes without widgets of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
# Inputs that open into others: those of the option that is chosen, and those of each row.
CHOICE, ROWS = "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICGROUP_V3"
# Nodes of the host that workflows use and older hosts lack, with the ComfyUI that has them.
NEWER = {
    "StartLoop": "ComfyUI 0.36 or newer",
    "EndLoop": "ComfyUI 0.36 or newer",
    "LoadLoraModel": "a ComfyUI newer than 0.36",
}


def reason_to_skip(prompt: dict[str, Any], object_info: dict[str, Any]) -> str:
    """Why a prompt cannot run on the server of this object_info: it needs a node of a newer host; empty where it can."""
    classes = {node["class_type"] for node in prompt.values()}
    lacking = sorted(name for name in NEWER.keys() & classes if name not in object_info)
    return f"it needs {', '.join(lacking)} of {NEWER[lacking[0]]}" if lacking else ""


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt that the editor would queue for a workflow.

    Raises KeyError for a node that the server does not have (see `reason_to_skip`), and ValueError when a node's widget
    values are more or fewer than its widgets, or no value of theirs.
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
    where = f"node {node['id']} ({node['type']})"
    values = iter(node["widgets_values"])

    def take() -> Any:
        try:
            return next(values)
        except StopIteration:
            raise ValueError(f"{where} has too few widget values") from None

    yield from _taken(info, take, where)
    # The editor adds the upload button at the end.
    if any(options.get("image_upload") for _, _, options in input_specs(info)):
        take()
    if list(values):
        raise ValueError(f"{where} has too many widget values")


def _taken(info: dict[str, Any], take: Callable[[], Any], where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The widgets of described inputs with their values, which `take` gives one after the other in the editor's order."""
    for name, kind, options in input_specs(info):
        if kind == CHOICE:
            chosen = take()
            yield prefix + name, chosen
            (opened,) = (option["inputs"] for option in options["options"] if option["key"] == chosen)
            yield from _taken({"input": opened}, take, where, f"{prefix}{name}.")
        elif kind == ROWS:
            for row in range(take()):
                yield from _taken({"input": options["template"]}, take, where, f"{prefix}{name}.{row}.")
        elif (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput"):
            yield prefix + name, take()
            if options.get("control_after_generate") and (control := take()) not in CONTROLS:
                raise ValueError(f"{where} has {control!r} where it says how to go on")
