"""JSON of poses as text that people edit, read with errors that say where."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..files.json_text import read_json
from .people import PoseError
from .poses import Understood, to_keypoints, understand

# A pose to begin with: a standing person, seen from the front.
STANDING_PERSON = """\
{
  "canvas_width": 512,
  "canvas_height": 768,
  "people": [
    {
      "pose_keypoints_2d": [256, 130, 1,  256, 200, 1,  196, 204, 1,  176, 302, 1,  168, 392, 1,  316, 204, 1,  \
338, 300, 1,  346, 392, 1,  222, 398, 1,  216, 538, 1,  210, 676, 1,  290, 398, 1,  296, 538, 1,  304, 676, 1,  \
240, 114, 1,  272, 114, 1,  216, 126, 1,  296, 126, 1]
    }
  ]
}"""
SPACE = re.compile(r"[ \t\n\r]*")
EXCERPT = 40


def parse_pose_json(text: str, size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """POSE_KEYPOINT in pixels from the text of `understand_text`; raises PoseError for a frame without a canvas too."""
    return to_keypoints_of_text(understand_text(text, size), text)


def to_keypoints_of_text(read: Understood, text: str) -> list[dict[str, Any]]:
    """POSE_KEYPOINT in pixels of what was read from a text; raises ValueError for a frame without a canvas."""
    try:
        return to_keypoints(read.frames)
    except PoseError as error:
        raise ValueError(f"{_position(text, 0)}: {error}") from None


def understand_any(data: Any, size: tuple[int, int] | None = None) -> Understood:
    """A pose as `delta.pose.poses.understand` reads it, or its JSON as text. Raises ValueError."""
    return understand_text(data, size) if isinstance(data, str) else understand(data, size)


def understand_text(text: str, size: tuple[int, int] | None = None) -> Understood:
    """A pose from its JSON. See `delta.pose.poses.understand`.

    Raises ValueError with line and column for text that is no JSON, and for what `understand` refuses.
    """
    # Windows' editors may put a byte order mark in front.
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise ValueError("The text is empty. Paste the JSON of a pose, of OpenPose or of a pose editor.")
    try:
        data = read_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{_position(text, error.pos)}: {_explained(error)}") from None
    except ValueError as error:
        raise ValueError(f"The text is not a pose: {error}.") from None
    try:
        return understand(data, size)
    except PoseError as error:
        raise ValueError(f"{_position(text, _find(text, error.path))}: {error}") from None


def _explained(error: json.JSONDecodeError) -> str:
    before = error.doc[: error.pos].rstrip().rpartition("\n")[2][-EXCERPT:].strip()
    place = f" after `{before}`" if before else ""
    return (
        f"this is not valid JSON{place}: {error.msg}. "
        "Put commas between entries, and none before a closing bracket or brace."
    )


def _position(text: str, place: int) -> str:
    before = text[:place]
    return f"Line {before.count(chr(10)) + 1}, column {place - before.rfind(chr(10))}"


def _find(text: str, path: tuple[str | int, ...]) -> int:
    """Where the value at a path of keys and indices begins in a text that is JSON."""
    place = _after_space(text, 0)
    for step in path:
        # Of keys that are there twice, the last one counts, as in Python's reader.
        starts = [start for key, start in _entries(text, place) if key == step]
        if not starts:
            break
        place = starts[-1]
    return place


def _entries(text: str, place: int) -> Iterator[tuple[str | int, int]]:
    """Key or index, and beginning of each value of the object or array that begins at a place."""
    decoder, is_object = json.JSONDecoder(), text[place] == "{"
    place, index = _after_space(text, place + 1), 0
    while text[place] not in "]}":
        key: str | int = index
        if is_object:
            key, end = decoder.raw_decode(text, place)
            place = _after_space(text, _after_space(text, end) + 1)
        yield key, place
        place = _after_space(text, decoder.raw_decode(text, place)[1])
        if text[place] == ",":
            place = _after_space(text, place + 1)
        index += 1


def _after_space(text: str, place: int) -> int:
    return SPACE.match(text, place).end()
