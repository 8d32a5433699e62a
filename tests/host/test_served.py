"""The base directory of `dev.py serve`: whatever the example workflows ask for is there under that name."""

import json
from collections import Counter
from pathlib import Path

import pytest
from serve_base import UNSERVED, names_in, serve, stand_ins

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = [path for path in sorted((ROOT / "workflows").glob("*.json")) if path.stem not in UNSERVED]


@pytest.fixture(scope="module")
def served(base_dir) -> Path:
    # Hard links want one file system.
    folder = base_dir.with_name(f"{base_dir.name}-served")
    serve(base_dir, folder)
    return folder


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_file_that_a_workflow_names_is_there(served, path):
    files = {each.relative_to(served).as_posix() for each in served.rglob("*") if each.is_file()}
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    names = [name for node in nodes if "Note" not in node["type"] for name in names_in(node.get("widgets_values"))]
    assert names and not [name for name in names if not any(file.endswith(f"/{name}") for file in files)]


def test_names_that_are_used_together_stand_for_different_files():
    wanted = {"a.safetensors": Counter(x=3, y=1), "b.safetensors": Counter(x=1), "c.png": Counter(x=1)}
    assert stand_ins(wanted) == {"b.safetensors": "x", "c.png": "x", "a.safetensors": "y"}
