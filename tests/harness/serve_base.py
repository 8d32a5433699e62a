"""The base directory of `dev.py serve`: the demo's models, also under the names that the example workflows ask for.

    python serve_base.py BASE_DIR SERVED_DIR

BASE_DIR is filled and SERVED_DIR made of hard links to it, so that every workflow runs as it opens.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fill_base import fill_base

ROOT = Path(__file__).resolve().parents[2]
MODELS, PICTURES = (".safetensors",), (".png", ".jpg")
# Made for tests of files; with the trained models they would be listed among the styles of Style Library.
LEFT_OUT = ("styledelta_demo_", "styledelta_wan", "from_tests")
# A text encoder of Wan has one size only, 5 GB.
UNSERVED = {"lora_high_low_noise": "its text encoder has no small stand-in"}


def names_in(value: Any) -> Iterator[str]:
    """The names of files in the value of a widget or an input, in their order, also inside of JSON."""
    if isinstance(value, str):
        if value.endswith(MODELS + PICTURES):
            yield value
        elif value.startswith(("[", "{")):
            yield from names_in(json.loads(value))
    elif isinstance(value, dict):
        yield from names_in(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from names_in(each)


def asked_for(folder: Path = ROOT) -> dict[str, Counter[str]]:
    """By each name in the workflows, what stands for it in their twins, and how often."""
    found: dict[str, Counter[str]] = {}
    for path in sorted((folder / "workflows").glob("*.json")):
        if path.stem in UNSERVED:
            continue
        workflow = json.loads(path.read_text(encoding="utf-8"))
        twin = json.loads((folder / "tests/prompts" / path.name).read_text(encoding="utf-8"))["prompt"]
        for node in workflow["nodes"]:
            ours = names_in(node.get("widgets_values"))
            theirs = names_in(twin[str(node["id"])]["inputs"]) if str(node["id"]) in twin else ()
            for name, other in zip(ours, theirs):
                found.setdefault(name, Counter())[other] += 1
    return found


def stand_ins(wanted: dict[str, Counter[str]]) -> dict[str, str]:
    """One file for each name: names that workflows use together get different ones, where there is a choice."""
    chosen: dict[str, str] = {}
    for name, counts in sorted(wanted.items(), key=lambda row: len(row[1])):
        taken = {other for key, other in chosen.items() if Path(key).suffix == Path(name).suffix}
        chosen[name] = max(counts, key=lambda other: (other not in taken, counts[other]))
    return chosen


def link(source: Path, target: Path) -> None:
    """A hard link, in place of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)


def serve(base: Path, served: Path) -> None:
    """Link the models and pictures of a filled base directory into another one, and the stand-ins beside them."""
    files = [path for place in ("models", "input") for path in (base / place).rglob("*") if path.is_file()]
    kept = [path for path in files if not any(mark in str(path.relative_to(base)) for mark in LEFT_OUT)]
    for path in kept:
        link(path, served / path.relative_to(base))
    for name, other in stand_ins(asked_for()).items():
        source = next(path for path in kept if path.as_posix().endswith(f"/{other}"))
        place, own = source.relative_to(base).parts[:2], Path(name)
        if place[0] == "input":
            link(source, served / "input" / own)
        else:
            # Some nodes name the folder too.
            folder = "" if len(own.parts) > 1 and (base / "models" / own.parts[0]).is_dir() else place[1]
            link(source, served / "models" / folder / own)


if __name__ == "__main__":
    fill_base(sys.argv[1])
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
    for workflow, reason in UNSERVED.items():
        print(f"{workflow} cannot run here: {reason}")
