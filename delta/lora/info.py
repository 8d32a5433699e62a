"""What a LoRA's file and the files beside it tell: its title, base model, trigger words, and how it was trained.

All of it was written by other people's programs: nothing is taken for granted of its types, sizes and depth, what cannot be
read is left out, and nothing here raises.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..files.adapter_names import families_of_adapter
from ..files.json_text import json_object
from ..files.prefixes import family_in_file

# Bytes that are read of a header and of a file beside it.
MOST_HEADER, MOST_BESIDE = 32 << 20, 2 << 20
# Letters that are kept of a text, and entries of a list.
LONGEST, MOST_WORDS, MOST_TAGS = 300, 64, 24
# Of tags that stand in every caption, more are no trigger words but a data set of one picture.
MOST_COMMON = 8
WORDS, NOTES = ".txt", (".json", ".metadata.json", ".civitai.info")
# The pictures that ComfyUI and LoRA managers keep beside a file.
PICTURES = tuple(f"{middle}.{kind}" for middle in ("", ".preview") for kind in ("png", "jpg", "jpeg", "webp"))
UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]+")


class LoraInfo(NamedTuple):
    """title, base_model, resolution and steps: empty where they are not known; words: its trigger words; tags: those of the
    captions that it was trained on, the most frequent first, with how often each was there."""

    title: str = ""
    base_model: str = ""
    words: tuple[str, ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    resolution: str = ""
    steps: str = ""


class Stored(NamedTuple):
    """A tensor in a file, of which only its shape was read."""

    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Header(NamedTuple):
    """metadata of a file, and its tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, Stored]


def read_info(path: str | Path) -> LoraInfo:
    """What is known of the LoRA file at a path. Beside it, `name.txt` has trigger words, `name.json` what A1111 keeps,
    `name.metadata.json` what LoRA Manager keeps, and `name.civitai.info` what Civitai says; the first that knows decides."""
    path = Path(path)
    trained = read_header(path).metadata
    notes = [_object_beside(path, ending) for ending in NOTES]
    tags = _tags(trained)
    return LoraInfo(
        title=_first(
            *(_at(note, "model_name") or _at(note, "model", "name") for note in notes),
            trained.get("modelspec.title"),
            trained.get("ss_output_name"),
        ),
        base_model=_first(
            *(_at(note, "base_model") or _at(note, "baseModel") or _at(note, "sd version") for note in notes),
            trained.get("modelspec.architecture"),
            trained.get("ss_base_model_version"),
            trained.get("ss_sd_model_name"),
        ),
        words=_words(path, notes, trained, tags),
        tags=tuple((tag, count) for tag, count in tags.most_common(MOST_TAGS)),
        resolution=_first(trained.get("modelspec.resolution"), trained.get("ss_resolution")).strip("()"),
        steps=_first(trained.get("ss_steps"), trained.get("ss_max_train_steps")),
    )


def read_header(path: Path) -> Header:
    """The header of a safetensors file; an empty one for any other file, and for one that is damaged."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = _json_object(file.read(length)) if length <= MOST_HEADER else {}
    except OSError:
        header = {}
    return Header(_object(header.pop("__metadata__", {})), dict(_tensors(header)))


def trigger_words(infos: Iterable[LoraInfo]) -> str:
    """The trigger words of several LoRAs as a part of a prompt, each word once."""
    return ", ".join(_once(word for info in infos for word in info.words))


def families_in(path: str | Path) -> list[str]:
    """The names of the families of models that a LoRA file may be for, by its header; none where it does not tell."""
    return families_of_adapter(read_header(Path(path)).tensors)


def model_family(path: str | Path) -> str:
    """The name of the family of the diffusion model in a file, by its header; empty where it does not tell."""
    family = family_in_file(read_header(Path(path)).tensors)
    return family.name if family else ""


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, Stored]]:
    for name, entry in header.items():
        shape = _object(entry).get("shape")
        if isinstance(shape, list) and all(type(size) is int for size in shape):
            yield name, Stored(tuple(shape))


def _words(path: Path, notes: list[dict], trained: Mapping[str, Any], tags: Counter[str]) -> tuple[str, ...]:
    """The trigger words of the first that knows some: what its user wrote, what its maker says, what all captions had."""
    sources = [_bytes(path.with_suffix(WORDS)).decode("utf-8-sig", "replace").splitlines()]
    sources += [_at(note, "activation text") or _at(note, "trigger_words") for note in notes]
    sources += [_at(note, "trainedWords") or _at(note, "civitai", "trainedWords") for note in notes]
    sources += [trained.get("modelspec.trigger_phrase"), _in_every_caption(trained, tags)]
    return next(filter(None, map(_list, sources)), ())


def _list(value: Any) -> tuple[str, ...]:
    """Words, of a text with commas or a list of such texts; each of them once."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    parts = [_text(part) for text in texts[:MOST_WORDS] if isinstance(text, str) for part in text.split(",")]
    return _once(filter(None, parts))[:MOST_WORDS]


def _once(words: Iterable[str]) -> tuple[str, ...]:
    """Each word as it first stands, whatever its case."""
    first: dict[str, str] = {}
    for word in words:
        first.setdefault(word.casefold(), word)
    return tuple(first.values())


def _tags(trained: Mapping[str, Any]) -> Counter[str]:
    """How often each tag was in the captions of all folders."""
    counts: Counter[str] = Counter()
    for folder in _json_object(trained.get("ss_tag_frequency")).values():
        for tag, count in _object(folder).items():
            if type(count) is int and 0 < count < 1 << 53 and (word := _text(tag)):
                counts[word] += count
    return counts


def _in_every_caption(trained: Mapping[str, Any], tags: Counter[str]) -> list[str]:
    """The tags that all pictures have, where it is known how many there are: what a trainer teaches a style or a name by."""
    folders = map(_object, _json_object(trained.get("ss_dataset_dirs")).values())
    pictures = sum(count for folder in folders if type(count := folder.get("img_count")) is int and 0 < count < 1 << 53)
    found = [tag for tag, count in tags.items() if pictures > 1 and count >= pictures]
    return found if len(found) <= MOST_COMMON else []


def _object_beside(path: Path, ending: str) -> dict[str, Any]:
    return _json_object(_bytes(path.with_suffix(ending)).decode("utf-8-sig", "replace"))


def _bytes(path: Path) -> bytes:
    """A small file; empty where there is none, and for a large one."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BESIDE + 1)
    except (OSError, ValueError):
        return b""
    return content if len(content) <= MOST_BESIDE else b""


def _json_object(text: Any) -> dict[str, Any]:
    return json_object(text) or {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(value: Any, *keys: str) -> Any:
    """What stands below keys; None where one of them is missing."""
    for key in keys:
        value = _object(value).get(key)
    return value


def _first(*values: Any) -> str:
    return next(filter(None, map(_text, values)), "")


def _text(value: Any) -> str:
    """A short line of a text; numbers count as theirs, anything else is empty."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        value = f"{value:g}"
    return UNREADABLE.sub(" ", value[: 4 * LONGEST]).strip()[:LONGEST] if isinstance(value, str) else ""
