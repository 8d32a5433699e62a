import json
import time

import pytest

from delta.lora.file_names import FileNames
from delta.lora.row_text import read_row_text, stack_text
from delta.lora.stack import StackEntry

FILES = FileNames(
    ["ink.safetensors", "styles/ink.safetensors", "styles/soft: one.safetensors", "a <b>, c.pt", "grain.pt"]
)


def entries(text: str) -> list[StackEntry]:
    return [row.entry for row in read_row_text(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("[]", []),
        ("<lora:ink:0.8>", [("ink", 0.8, 0.8)]),
        ("<lora:ink:0.8:0.6>", [("ink", 0.8, 0.6)]),
        ("<LoRA:ink>", [("ink", 1, 1)]),
        ("<lora:ink:>", [("ink", 1, 1)]),
        ("<lora:ink:te=0.5:unet=-.25>", [("ink", -0.25, 0.5)]),
        ("<lora:ink:te=0.5>", [("ink", 1, 0.5)]),
        ("<lora:soft: one:1e-2>", [("soft: one", 0.01, 0.01)]),
        ("a cat, <lora:ink:1> (red:1.2) <lora:grain:2>, [dog]\n<lora:b:3>", [("ink", 1, 1), ("grain", 2, 2), ("b", 3, 3)]),
        ("[red:blue:0.5] <lora:ink:0.5>", [("ink", 0.5, 0.5)]),
        ("ink, 0.8, 0.6\n\n grain,0.5 \r\nink", [("ink", 0.8, 0.6), ("grain", 0.5, 0.5), ("ink", 1, 1)]),
        ("a, b, 0.5", [("a, b", 0.5, 0.5)]),
        ('[{"name": "ink", "model": 0.5}, {"name": "b", "on": false}]', [("ink", 0.5, 0.5)]),
    ],
)  # fmt: skip
def test_rows_are_read_from_tags_lines_and_json(text, expected):
    assert entries(text) == expected


def test_rows_of_a_text_are_counted_from_one():
    assert [row.number for row in read_row_text("<lora:a:1> and <lora:b:1>")] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<lora::1>", "Row 1 of the connected text: it has no LoRA name"),
        ("<lora:a:1> <lora:b:101>", "Row 2 of the connected text: `model` is 101.0; it must be a number from -100 to 100"),
        ("<lora:a:1e400>", "`model` is inf"),
        ("a, 1, 1e400", "`clip` is inf"),
        ("<lora:a:1:2:3>", "a in the connected text has 3 strengths. Write one"),
        ("<lora:a:1:lbw=3>", "the key `lbw` is not known"),
        ("<lora:a:1:blocks=attn2>", "`attn2` cannot be read"),
        ("[{", "rows of the connected text are not JSON"),
        ("{}", "must be a JSON list"),
        ('[{"a":' + "[" * 100_000, "nested too deep"),
        ('[{"name": "a", "model": 1' + "0" * 400 + "}]", "not JSON: a number has 401 digits"),
        ('[{"name": "a", "model": 1' + "0" * 5000 + "}]", "not JSON: a number has 5001 digits"),
        ('[{"name": "a", "model": NaN}]', "`model` is nan"),
        ('[{"name": "a\\ud800"}]', "`name` contains invalid characters"),
        ("<lora:a\ud800:1>", "`name` contains invalid characters"),
        ("a\x00b, 1", "`name` contains invalid characters"),
        ("x" * 1_000_001, "has 1000001 characters, more than 1000000"),
        ("<lora:a>" * 1001, "has more than 1000 rows"),
        ('[{"name": ' + "[" * 900 + "]" * 900 + "}]", "nested too deep"),
        (3, "are not text. Connect a String"),
    ],
)  # fmt: skip
def test_hostile_text_ends_in_a_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_row_text(text)
    said = str(caught.value)
    assert len(said) < 700 and said.encode()


def test_a_stack_is_written_as_tags():
    stack = [("ink.safetensors", 0.8, 0.8), ("styles/ink.safetensors", 0.8, 0.6), ("other.pack", 1, 1)]
    assert stack_text(stack, FILES) == "<lora:ink:0.8>\n<lora:styles/ink:0.8:0.6>\n<lora:other.pack:1>"
    assert stack_text([], FILES) == stack_text([("None", 1, 1)], FILES) == stack_text(["a", 1, 1], FILES) == ""


def test_what_is_written_is_read_as_the_same_rows():
    rules = "*=0, text=1, output=1\nattn2=0.5"
    stack = [
        StackEntry("ink.safetensors", 0.1 + 0.2, -1e-7, rules, 0.25),
        StackEntry("styles/ink.safetensors", 1.0, 1.0),
        StackEntry("styles/soft: one.safetensors", 0.0, 100.0, "", -1.0),
        StackEntry("a <b>, c.pt", 0.5, 0.5, "input.4|middle=0"),
    ]
    again = entries(f"a prompt, {stack_text(stack, FILES)} and more")
    assert [(FILES.find(name), model, clip) for name, model, clip in again] == stack
    assert [row.strength_low for row in again] == [row.strength_low for row in stack]
    assert [row.block_weights.replace("\n", ", ") for row in again] == [
        row.block_weights.replace("\n", ", ") for row in stack
    ]
    assert stack_text(again, FILES) == stack_text(stack, FILES)


def test_the_rows_of_the_widget_are_read_as_they_stand():
    rows = [{"name": "ink", "model": 0.5, "preset": "middle only"}, {"name": "b", "low": 0.1}]
    first, second = entries(json.dumps(rows))
    assert first.block_weights and second.strength_low == 0.1


@pytest.mark.parametrize(
    "text", ["<lora:" + ":" * 900_000 + ">", "<lora:a" + ":1" * 400_000 + ">", "a" + ", 1" * 300_000, "a\n" * 400_000]
)
def test_long_text_is_read_in_a_moment(text):
    start = time.perf_counter()
    with pytest.raises(ValueError):
        read_row_text(text)
    assert time.perf_counter() - start < 5
