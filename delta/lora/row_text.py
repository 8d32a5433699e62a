"""Rows of LoRAs as text of prompts: `<lora:ink:0.8>` among other words, or one name with its strengths on each line.

The two numbers of a tag are the strengths for the model and for CLIP, in the order of ComfyUI's packs. A1111 itself takes the
first one for CLIP; its named form `<lora:ink:unet=0.8:te=0.6>` means the same everywhere, and is read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from .file_names import FileNames, shown
from .rows import LoraRow, json_list, rows_of
from .stack import read_stack

WHERE = "the connected text"
# More than any prompt has.
MOST_LETTERS, MOST_ROWS = 1_000_000, 1000
TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
# Where JSON begins; prompts begin with brackets too.
JSON_START = re.compile(r"\[\s*[\]{]|\{")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# The named numbers of a tag, by the key of a row.
NAMED = {"unet": "model", "te": "clip", "low": "low"}
BLOCKS = "blocks"
# What would end a tag, in the names of files.
ESCAPES = {"<": "&lt;", ">": "&gt;"}
MOST_NUMBERS = 2
# No file system has longer paths, and no row more parts behind its name.
LONGEST_NAME, MOST_PARTS = 4096, 16


def read_row_text(text: str) -> list[LoraRow]:
    """The rows of a text that are on: of a JSON list as the widget of LoRA Stack holds it; of the tags, where it has any,
    without the words around them; else of its lines, `name, 0.8, 0.6`, of which empty ones are left out.

    Raises ValueError that names the row and what is wrong with it.
    """
    if not isinstance(text, str):
        raise ValueError("The connected rows are not text. Connect a String, such as `<lora:ink:0.8>`.")
    if len(text) > MOST_LETTERS:
        raise ValueError(
            f"The connected text has {len(text)} characters, more than {MOST_LETTERS}. Connect a prompt or a list of LoRAs."
        )
    rows = list(islice(_rows(text.strip()), MOST_ROWS + 1))
    if len(rows) > MOST_ROWS:
        raise ValueError(f"The connected text has more than {MOST_ROWS} rows. Connect a shorter one.")
    return rows_of(rows, WHERE)


def _rows(text: str) -> Iterable[Any]:
    if JSON_START.match(text):
        return json_list(text, WHERE)
    if tags := TAG.findall(text):
        return (_of_parts(_unescaped(tag).split(":"), ":") for tag in tags)
    return (_of_parts(line.split(","), ",") for line in text.splitlines() if line.strip())


def _of_parts(parts: list[str], separator: str) -> dict[str, Any]:
    """A row of a name and what follows it: numbers, and `key=value`. A name may hold the separator."""
    row: dict[str, Any] = {}
    if separator == ":":
        parts = _without_blocks(parts, row)
    numbers: list[float] = []
    end = len(parts)
    while end > max(1, len(parts) - MOST_PARTS) and _take(parts[end - 1].strip(), separator == ":", numbers, row):
        end -= 1
    name = separator.join(parts[:end]).strip()
    if len(name) > LONGEST_NAME:
        raise ValueError(f"{shown(name)} in {WHERE} is not a file name: it is {len(name)} characters long. Correct it.")
    if len(numbers) > MOST_NUMBERS:
        raise ValueError(
            f"{shown(name)} in {WHERE} has {len(numbers)} strengths. Write one, or one for the model and one for CLIP."
        )
    # They were met from the last to the first.
    return {"name": name, **row, **dict(zip(("model", "clip"), reversed(numbers)))}


def _take(part: str, is_tag: bool, numbers: list[float], row: dict[str, Any]) -> bool:
    """Whether a part of a row belongs to what follows its name; if so, it is noted."""
    key, has_value, value = (piece.strip() for piece in part.partition("="))
    if NUMBER.fullmatch(part):
        numbers.append(float(part))
    elif has_value and NUMBER.fullmatch(value) and (is_tag or key in NAMED):
        row[NAMED.get(key, key)] = float(value)
    else:
        return not part
    return True


def _without_blocks(parts: list[str], row: dict[str, Any]) -> list[str]:
    """The parts before block weights, which go into the row."""
    start = next((at for at, part in enumerate(parts) if at and part.strip().startswith(f"{BLOCKS}=")), None)
    if start is None:
        return parts
    row[BLOCKS] = ":".join(parts[start:]).strip().removeprefix(f"{BLOCKS}=")
    return parts[:start]


def stack_text(stack: Sequence, files: FileNames) -> str:
    """A stack of any pack as tags, one a line: `<lora:ink:0.8>`, with both strengths where they differ. Block weights and
    the strength for low noise follow by name.

    Names are as short as they can be; `read_row_text` gives the same rows. A stack without any, or that cannot be read, is
    an empty text: what is wrong with it is told where it is applied.
    """
    try:
        return "\n".join(_tag(entry, files) for entry in read_stack(stack))
    except ValueError:
        return ""


def _tag(entry: Any, files: FileNames) -> str:
    name, model, clip = entry
    for letter, written in ESCAPES.items():
        name = name.replace(letter, written)
    parts = [files.shortest(name), _number(model)]
    if clip != model:
        parts.append(_number(clip))
    if entry.strength_low is not None:
        parts.append(f"low={_number(entry.strength_low)}")
    if entry.block_weights:
        parts.append(f"{BLOCKS}={', '.join(entry.block_weights.split(chr(10)))}")
    return f"<lora:{':'.join(parts)}>"


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _unescaped(tag: str) -> str:
    for letter, written in ESCAPES.items():
        tag = tag.replace(written, letter)
    return tag
