"""What the metadata of a LoRA holds as JSON: for people, so that an entry which cannot be read is left out and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..files.json_text import json_object

RECIPE = "styledelta.recipe"
TAGS = "ss_tag_frequency"
MOST_COUNT = 1 << 53

# How often each tag was in the captions of each folder.
Tags = dict[str, dict[str, int]]


def recipe_of(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What a LoRA was made by in this pack; None for one that was trained, and where it cannot be read."""
    return json_object(metadata.get(RECIPE))


def tags_of(metadata: Mapping[str, str]) -> Tags:
    """The tags of a LoRA's captions, without those that cannot be read."""
    return {
        folder: {tag: count for tag, count in tags.items() if _is_count(count)}
        for folder, tags in (json_object(metadata.get(TAGS)) or {}).items()
        if isinstance(tags, dict)
    }


def unread_entries(metadata: Mapping[str, str]) -> list[str]:
    """Lines of a report about the entries that are left out, wholly or in part."""
    unread = [RECIPE] if RECIPE in metadata and recipe_of(metadata) is None else []
    if TAGS in metadata and json_object(metadata[TAGS]) != tags_of(metadata):
        unread.append(TAGS)
    return [f"metadata that cannot be read, left out: {name}" for name in unread]


def added_tags(sources: Iterable[Mapping[str, str]]) -> Tags:
    """The tags of all LoRAs by their metadata, added up."""
    total: dict[str, Counter[str]] = {}
    for metadata in sources:
        for folder, tags in tags_of(metadata).items():
            total.setdefault(folder, Counter()).update(tags)
    return {folder: dict(tags) for folder, tags in total.items()}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_COUNT
