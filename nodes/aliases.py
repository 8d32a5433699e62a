"""Other words under which the editor's search finds a node, where the host has search aliases (ComfyUI 0.10.0)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from comfy_api.latest import io

# Words of other packs and of everyday, in English and Chinese, by node id. Apart, because sources are ASCII.
ALIASES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def with_aliases(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, with its search aliases in its schema where the host knows them."""
    if "search_aliases" not in {field.name for field in dataclasses.fields(io.Schema)}:
        return node

    class Searchable(node):
        @classmethod
        def define_schema(cls) -> io.Schema:
            schema = super().define_schema()
            schema.search_aliases = ALIASES.get(schema.node_id, [])
            return schema

    for name in ("__name__", "__qualname__", "__module__"):
        setattr(Searchable, name, getattr(node, name))
    return Searchable
