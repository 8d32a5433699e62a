"""JSON that other people and programs wrote: read within limits, so that nothing in it can do harm later."""

from __future__ import annotations

import json
from typing import Any

# Characters or bytes; safetensors gives its headers the same limit.
LONGEST = 100_000_000
# Brackets in each other. A merge of merges takes three more for each.
DEEPEST = 200
# Digits of a whole number, enough for one of 64 bits.
MOST_DIGITS = 20


def read_json(text: Any) -> Any:
    """The value of a JSON text, or of its bytes in UTF-8. NaN and infinite numbers are read as Python does.

    Raises ValueError with the reason, as a part of a sentence: json.JSONDecodeError for what is no JSON, else for what is no
    text, too long, too deep, or has too long a number.
    """
    if not isinstance(text, str | bytes):
        raise ValueError("it is no text")
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST // 10**6} million characters")
    try:
        value = json.loads(text if isinstance(text, str) else text.decode(), parse_int=_whole_number)
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None
    _refuse_deep(value)
    return value


def json_object(text: Any) -> dict[str, Any] | None:
    """The object of a JSON text; None where it cannot be read or is something else."""
    try:
        value = read_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _refuse_deep(value: Any) -> None:
    inside = [value]
    for _ in range(DEEPEST):
        inside = [
            part
            for each in inside
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
            if isinstance(part, dict | list)
        ]
        if not inside:
            return
    raise ValueError("its brackets are nested too deep")
