"""The prompt of a workflow with inputs that open into others, and which prompts a host is too old for."""

import pytest

from workflows import NEWER, reason_to_skip, to_prompt

FIELD = ["COMBO", {"options": ["a", "b"]}]
LOOP = {
    "display_name": "Start Loop",
    "input": {
        "required": {
            "mode": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "simple", "inputs": {"required": {"rounds": ["INT", {}]}}},
                        {"key": "List", "inputs": {"required": {"list": ["COMFY_MATCHTYPE_V3", {}]}}},
                    ]
                },
            ],
            "cache": ["BOOLEAN", {}],
        }
    },
}
ROWS = {
    "display_name": "Rows",
    "input": {
        "required": {
            "model": ["MODEL"],
            "loras": [
                "COMFY_DYNAMICGROUP_V3",
                {"template": {"required": {"name": FIELD}, "optional": {"strength": ["FLOAT", {}]}}},
            ],
        }
    },
}


def prompt_of(info, values, inputs=()):
    node = {"id": 7, "type": "Some", "inputs": list(inputs), "widgets_values": values}
    return to_prompt({"nodes": [node], "links": [[3, 2, 0, 7, 0, "INT"]]}, {"Some": info})["7"]["inputs"]


def test_the_inputs_of_a_choice_have_its_name_before_theirs():
    assert prompt_of(LOOP, ["simple", 4, False]) == {"mode": "simple", "mode.rounds": 4, "cache": False}
    assert prompt_of(LOOP, ["List", True]) == {"mode": "List", "cache": True}
    linked = prompt_of(LOOP, ["simple", 4, False], [{"name": "mode.rounds", "link": 3}])
    assert linked == {"mode": "simple", "mode.rounds": ["2", 0], "cache": False}


def test_rows_are_numbered():
    assert prompt_of(ROWS, [2, "a", 0.8, "b", 0.5]) == {
        "loras.0.name": "a",
        "loras.0.strength": 0.8,
        "loras.1.name": "b",
        "loras.1.strength": 0.5,
    }
    assert prompt_of(ROWS, [0]) == {}


@pytest.mark.parametrize("values, words", [([2, "a", 0.8, "b"], "too few"), ([1, "a", 0.8, "b"], "too many")])
def test_values_that_are_no_rows_are_told(values, words):
    with pytest.raises(ValueError, match=f"node 7 .Some. has {words} widget values"):
        prompt_of(ROWS, values)


def test_a_host_without_a_newer_node_is_told_which_one_has_it():
    prompt = {"1": {"class_type": "StartLoop"}, "2": {"class_type": "EndLoop"}, "3": {"class_type": "KSampler"}}
    assert reason_to_skip(prompt, {"KSampler": {}}) == "it needs EndLoop, StartLoop of ComfyUI 0.36 or newer"
    assert reason_to_skip(prompt, dict.fromkeys(NEWER)) == ""


def test_another_node_that_is_missing_is_no_reason():
    assert reason_to_skip({"1": {"class_type": "StyleDeltaNoSuch"}, "2": {"class_type": "KSampler"}}, {}) == ""
