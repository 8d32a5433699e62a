"""JSON of others, within limits."""

import json

import pytest

from delta.files.headers import shards
from delta.files.json_text import DEEPEST, json_object, read_json
from delta.lora.rows import read_rows
from delta.pose.json_text import understand_text
from delta.style_network.palette import read_palette
from delta.style_network.preview import read_request

DEEP = "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)
WILD = {
    "no text": (None, "it is no text"),
    "nothing": ("", "Expecting value"),
    "half of an object": ('{"a": ', "Expecting value"),
    "bytes of no text": (b"\xff\xfe\x00", "decode|Expecting"),
    "deep": (DEEP, "nested too deep"),
    "deep objects": ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "nested too deep"),
    "deeper than Python goes": ("[" * 100_000, "nested too deep"),
    "a long number": ("1" + "0" * 400, "401 digits"),
    "a longer number": (f'{{"a": -{"9" * 5_000}}}', "5001 digits"),
}


@pytest.mark.parametrize("text, reason", WILD.values(), ids=WILD)
def test_what_cannot_be_read_has_a_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        read_json(text)
    assert json_object(text) is None


@pytest.mark.parametrize("value", [None, 1.5, -(2**64 - 1), "\ud800", [[]], {"a": [{"b": {}}]}, DEEP[1:-1]])
def test_other_values_are_read_as_they_are(value):
    assert read_json(json.dumps(value)) == value and read_json(json.dumps(value).encode()) == value


def test_as_deep_as_may_be():
    assert read_json(DEEP[1:-1]) is not None


def test_an_object_is_one():
    assert json_object('{"a": 1}') == {"a": 1} and json_object("{}") == {} and json_object("[1]") is None


def test_a_text_without_an_end_is_not_read(monkeypatch):
    monkeypatch.setattr("delta.files.json_text.LONGEST", 10)
    with pytest.raises(ValueError, match="longer"):
        read_json("[1, 2, 3, 4, 5]")


NESTED, ENDLESS = "[" * 100_000, "1" + "0" * 400
DOORS = {
    "rows": (read_rows, NESTED, f'[{{"name": "a", "model": {ENDLESS}}}]'),
    "palette": (read_palette, NESTED, f'{{"styles": [{{"style": 1, "weight": {ENDLESS}}}]}}'),
    "preview": (read_request, NESTED.encode(), f'{{"palette": "", "strength": {ENDLESS}}}'.encode()),
    "pose": (understand_text, NESTED, f'{{"people": [{{"pose_keypoints_2d": [{ENDLESS}]}}]}}'),
}


@pytest.mark.parametrize("door", DOORS)
def test_wild_texts_end_in_a_sentence_wherever_people_write_json(door):
    read, *texts = DOORS[door]
    for text in texts:
        with pytest.raises(ValueError, match=r"^[A-Z].*\."):
            read(text)


@pytest.mark.parametrize(
    "text", [NESTED, f'{{"weight_map": {{"a": {ENDLESS}}}}}', "[]", '{"weight_map": [3]}', '{"weight_map": {"a": 3}}']
)
def test_a_wild_index_of_shards_is_named(tmp_path, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(ValueError, match="model.safetensors.index.json is not a shard index"):
        shards(index)
