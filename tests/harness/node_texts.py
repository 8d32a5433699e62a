"""The English texts of the nodes as the editor wants them, from what the host says of their schemas.

    python dev.py texts    writes locales/en/nodeDefs.json, and brings the Chinese texts into the same order

Sentences stand in the schemas only. How an input is called in the editor has no place there: names that the file has are
kept, and a new input is called by the words of its id.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer

LOCALES = Path(__file__).resolve().parents[2] / "locales"
# Words that are written otherwise than as a part of an id.
WORDS = {"lora": "LoRA", "loras": "LoRAs", "clip": "CLIP", "vae": "VAE", "mb": "MB"}

Texts = dict[str, dict[str, Any]]


def called(identifier: str) -> str:
    """What an input or output is called by its id."""
    return " ".join(WORDS.get(word, word) for word in identifier.split("_"))


def english(nodes: Mapping[str, Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]) -> Texts:
    """The texts of nodes as the host describes them; present: the texts so far, for the names of inputs and outputs and the
    order."""
    order = [*(node_id for node_id in present if node_id in nodes), *(node for node in nodes if node not in present)]
    return {node_id: _of_node(nodes[node_id], present.get(node_id, {})) for node_id in order}


def _of_node(info: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    specs = info["input"].get("required", {}) | info["input"].get("optional", {})
    tooltips = {name: (spec[1] if len(spec) > 1 else {}).get("tooltip", "") for name, spec in specs.items()}
    outputs = {str(index): text for index, text in enumerate(info["output_tooltips"])}
    ids = {str(index): name for index, name in enumerate(info["output_name"])}
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": _named(tooltips, present.get("inputs", {}), {}),
        "outputs": _named(outputs, present.get("outputs", {}), ids),
    }


def _named(
    tooltips: Mapping[str, str], present: Mapping[str, Any], ids: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    return {
        key: {"name": present[key]["name"] if key in present else called(ids.get(key, key)), "tooltip": text}
        for key, text in tooltips.items()
    }


def reordered(texts: Any, model: Any) -> Any:
    """The texts in the order of others; what those lack is left out, and what the texts lack stays missing."""
    if not isinstance(texts, dict):
        return texts
    return {key: reordered(texts[key], model[key]) for key in model if key in texts}


def read(language: str) -> Texts:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def write(language: str, texts: Texts) -> None:
    path = LOCALES / language / "nodeDefs.json"
    path.write_text(json.dumps(texts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main(host_dir: Path, base_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as logs, ComfyServer(host_dir, base_dir, Path(logs) / "server.log") as server:
        nodes = {name: info for name, info in server.object_info().items() if name.startswith("StyleDelta")}
    texts = english(nodes, read("en"))
    write("en", texts)
    write("zh", reordered(read("zh"), texts))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
