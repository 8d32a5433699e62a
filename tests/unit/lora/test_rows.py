import json

import pytest

from delta.blocks.rules import PRESETS
from delta.lora.rows import LoraRow, read_rows


def test_a_row_is_read_with_all_that_it_has():
    row = {"on": True, "name": "ink/a.safetensors", "model": 0.8, "clip": 0.5, "preset": "middle only"}
    (read,) = read_rows(json.dumps([row | {"blocks": "middle=0.5"}]))
    assert read == LoraRow(1, ("ink/a.safetensors", 0.8, 0.5))
    assert read.entry.block_weights == f"{PRESETS['middle only']}, middle=0.5"


def test_a_name_alone_is_a_row():
    (read,) = read_rows('[{"name": "a"}]')
    assert read.entry == ("a", 1.0, 1.0) and read.entry.block_weights == ""


def test_without_a_clip_strength_it_is_that_of_the_model():
    assert read_rows('[{"name": "a", "model": -2}]')[0].entry == ("a", -2.0, -2.0)
    assert read_rows('[{"name": "a", "clip": 0}]')[0].entry == ("a", 1.0, 0.0)


def test_low_noise_has_a_strength_of_its_own():
    assert read_rows('[{"name": "a", "low": 0.4}]')[0].entry.strength_low == 0.4
    assert read_rows('[{"name": "a", "model": 2}]')[0].entry.strength_low is None
    with pytest.raises(ValueError, match="`low` is null; it must be a number"):
        read_rows('[{"name": "a", "low": null}]')


def test_rows_that_are_off_are_left_out_and_counted():
    rows = read_rows('[{"on": false, "name": "a"}, {"name": "b"}, {"on": false}, {"on": true, "name": "c"}]')
    assert [(row.number, row.entry[0]) for row in rows] == [(2, "b"), (4, "c")]


@pytest.mark.parametrize("text", ["", "  \n", "[]"])
def test_no_rows_are_no_error(text):
    assert read_rows(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "not JSON: .*Write a list"),
        ("{}", "must be a JSON list"),
        ('"a"', "must be a JSON list"),
        ('[{"name": "a"}, 3]', "3 is not an object"),
        ('[{"name": "a", "strength": 1}]', "key `strength` is not known.*on, name, model"),
        ('[{"name": "a", "on": 1}]', "`on` is 1; it must be true or false"),
        ('[{"name": "a"}, {"name": "a", "model": "1"}]', '`model` is "1"; it must be a number'),
        ('[{"name": "a", "model": NaN}]', "`model` is nan; it must be a number from -100 to 100"),
        ('[{"name": "a", "clip": Infinity}]', "`clip` is inf; it must be a number"),
        ('[{"name": "a", "clip": null}]', "`clip` is null; it must be a number"),
        ('[{"name": "a", "model": true}]', "`model` is true; it must be a number"),
        ('[{"name": "a", "model": 101}]', "`model` is 101; it must be a number"),
        ('[{"model": 1}]', "has no LoRA name"),
        ('[{"name": " "}]', "has no LoRA name"),
        ('[{"name": 5}]', "`name` is 5; it must be text"),
        ('[{"name": "a", "preset": "everything"}]', "no block preset `everything`.*all blocks"),
        ('[{"name": "a", "on": false, "preset": "everything"}]', "no block preset"),
        ('[{"name": "a", "blocks": "attn2"}]', "`attn2` cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_the_row(text, message):
    with pytest.raises(ValueError, match=f"(Row .|The rows) of the LoRA stack:? .*{message}"):
        read_rows(text)


def test_the_row_is_named_by_its_number():
    with pytest.raises(ValueError, match="Row 3 of the LoRA stack: it has no LoRA name"):
        read_rows('[{"name": "a"}, {"on": false}, {}]')


def test_a_value_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="must be text with a JSON list"):
        read_rows([{"name": "a"}])
