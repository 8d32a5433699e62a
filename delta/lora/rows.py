"""The rows of LoRA Stack: a JSON list of objects, as the node's widget or a script writes it.

A row is {"name": "folder/ink.safetensors"}; it may have more:
on (true or false, else true), model (strength, else 1), clip (strength, else that of the model), preset (of block weights, else
all blocks), blocks (block weights of one's own, added to the preset) and low (strength for the model of low noise, else that
of the model).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..blocks.rules import combined_rules
from ..files.json_text import read_json
from .file_names import shown
from .stack import StackEntry

KEYS = ("on", "name", "model", "clip", "preset", "blocks", "low")
# Halves of characters, and control characters but for those of several lines of block weights.
UNWRITABLE = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
WHERE = "the LoRA stack"
EXAMPLE = '[{"name": "ink.safetensors", "model": 0.8}]'


class LoraRow(NamedTuple):
    """The number of a row that is on, counted from 1 over all rows, and its entry in the stack."""

    number: int
    entry: StackEntry


def read_rows(text: str) -> list[LoraRow]:
    """The rows that are on. Nothing but white space has none.

    Raises ValueError that names the row and what is wrong with it. Rows that are off are checked too, except for their names.
    """
    return rows_of(json_list(text, WHERE), WHERE)


def rows_of(rows: Iterable[Any], where: str) -> list[LoraRow]:
    """Those of a list of rows that are on. where: what they stand in, for errors. Raises ValueError as `read_rows` does."""
    read = []
    for number, row in enumerate(rows, start=1):
        try:
            entry = _entry(row)
        except ValueError as error:
            raise ValueError(f"Row {number} of {where}: {error}") from error
        if entry is not None:
            read.append(LoraRow(number, entry))
    return read


def json_list(text: str, where: str) -> list:
    """The list in a JSON text, not yet read as rows. Raises ValueError where there is none."""
    if not isinstance(text, str):
        raise ValueError(f"The rows of {where} must be text with a JSON list, such as {EXAMPLE}.")
    if not text.strip():
        return []
    try:
        rows = read_json(text)
    except ValueError as error:
        raise ValueError(f"The rows of {where} are not JSON: {error}. Write a list, such as {EXAMPLE}.") from error
    if not isinstance(rows, list):
        raise ValueError(f"The rows of {where} must be a JSON list, such as {EXAMPLE}.")
    return rows


def _entry(row: Any) -> StackEntry | None:
    """The entry of one row, None for one that is off."""
    if not isinstance(row, dict):
        raise ValueError(f'{_shown(row)} is not an object. Write {{"name": "ink.safetensors"}}.')
    unknown = [key for key in row if key not in KEYS]
    if unknown:
        raise ValueError(f"the key `{shown(unknown[0])}` is not known. Known keys are: {', '.join(KEYS)}.")
    is_on = row.get("on", True)
    if not isinstance(is_on, bool):
        raise ValueError(f"`on` is {_shown(is_on)}; it must be true or false.")
    model = _strength(row, "model", 1.0)
    clip = _strength(row, "clip", model)
    low = _strength(row, "low", model) if "low" in row else None
    rules = combined_rules(_text(row, "preset", "all blocks"), _text(row, "blocks", ""))
    name = _text(row, "name", "")
    if not is_on:
        return None
    if not name.strip():
        raise ValueError("it has no LoRA name. Choose a LoRA, or switch the row off.")
    return StackEntry(name, model, clip, rules, low)


def _strength(row: dict, key: str, default: float) -> float:
    value = row.get(key, default)
    # Python counts true as a number, and its JSON reads NaN and Infinity.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -100 <= value <= 100:
        raise ValueError(f"`{key}` is {_shown(value)}; it must be a number from -100 to 100.")
    return float(value)


def _text(row: dict, key: str, default: str) -> str:
    value = row.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"`{key}` is {_shown(value)}; it must be text.")
    if UNWRITABLE.search(value):
        raise ValueError(f"`{key}` contains invalid characters: {_shown(value)}. Enter it again.")
    return value


def _shown(value: Any) -> str:
    """A value of other people's JSON as an error shows it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return shown(json.dumps(value))
