"""What is told of a written model file, and what its metadata says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..lora.file import RECIPE, STALE_METADATA
from .formats import rounding_lines
from .writer import Written

# Hashes of the tensors, wrong as soon as they change.
STALE = (*STALE_METADATA, "modelspec.hash_sha256")


def file_report(path: str | Path, written: Written, proof: str, notes: Sequence[str]) -> str:
    """The file, the proof that it was read back, what became of the LoRAs, and what rounding cost."""
    lines = [f"saved {path}, {written.size / 1e6:.2f} MB, {len(written.digests)} tensors", proof]
    if written.resumed:
        lines.append(f"resumed an interrupted run: {written.resumed} parts were already written")
    return "\n".join([*lines, *notes, *rounding_lines(written.roundings)])


def file_metadata(
    base: Mapping[str, str], method: str, sources: Sequence[Mapping[str, Any]], format_: str
) -> dict[str, str]:
    """A base's metadata without what no longer holds, with the recipe of the new file."""
    recipe = {"method": method, "sources": list(sources), "format": format_}
    return {key: value for key, value in base.items() if key not in STALE} | {RECIPE: json.dumps(recipe)}
