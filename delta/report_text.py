"""Reports as Markdown that reads as well where it is shown as it stands.

Reports are made as plain lines: a line at the margin is a statement, and lines with spaces in front belong to the one above.
Front ends render Markdown, in which line breaks and leading spaces mean nothing, so statements become items of a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ITEM, NUMBER, ROW = "- ", re.compile(r"\d+\. "), "|"
# What Markdown takes for tags, for emphasis, and for a heading or a list inside an item.
MARKS = re.compile(r"<(?=[A-Za-z/!?])|\*|~~|(?<![^\W_])_|_(?![^\W_])|\\(?=[!-/:-@\[-`{-~])")
OPENING = re.compile(r"^(?=[#>+-]+ )")
CODE = re.compile(r"(`[^`]*`)")
SAVED = re.compile(r"^(saved )(.+?)(?=, \d|$)")


def markdown(lines: str) -> str:
    """A report of plain lines: the first one by itself, the others as a list, in which what was indented is a list of its own.
    Tables stay; a report of numbered lines is a list from the first one on."""
    first, *others = lines.split("\n")
    is_list = NUMBER.match(first) or first.startswith(ROW)
    written = [] if is_list else [_escaped(first)] + [""] * bool(others and others[0])
    inside = ""
    for line in [first, *others] if is_list else others:
        text, before = line.strip(), written[-1] if written else ""
        is_row = text.startswith(ROW)
        # A table is no part of a list.
        if text and before and is_row != before.startswith(ROW):
            written.append("")
        if not text or is_row:
            written.append(text)
        elif inside and line.startswith(" "):
            written.append(f"{inside}{ITEM}{_escaped(text)}")
        else:
            mark = number.group() if (number := NUMBER.match(text)) else ITEM
            inside = " " * len(mark)
            written.append(mark + _escaped(text[len(mark) :] if number else text))
    return "\n".join(written)


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, the first row being its head. Cells hold no line breaks and no vertical bars."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return [lines[0], rule, *lines[1:]]


def _escaped(text: str) -> str:
    """A line as Markdown that shows its own characters; what stands between backquotes stays code."""
    parts = CODE.split(SAVED.sub(r"\1`\2`", text))
    shown = "".join(part if CODE.fullmatch(part) else MARKS.sub(r"\\\g<0>", part) for part in parts)
    return OPENING.sub(r"\\", shown)
