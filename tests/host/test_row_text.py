"""Rows of LoRA Stack that come from the graph as text, the stack as text, and names from the graph, on the real host."""

import json

import pytest
from comfy_server import PromptError

from .demo_loras import LORAS

KOHYA, DIFFUSERS, LOCON = (name for name, *_ in LORAS)


def stack(host, text="", *rows, before=None) -> tuple[list, str]:
    return tuple(host.node("StyleDeltaLoraStack").execute(json.dumps(rows), before, text).result[:2])


def short(name: str) -> str:
    return name.rpartition(".")[0]


def test_connected_rows_come_behind_those_of_the_node(host):
    made, text = stack(
        host, f"a cat <lora:{short(DIFFUSERS).upper()}:0.5:0.25>", {"name": KOHYA}, before=[(LOCON, 1, 1)]
    )
    assert made == [(LOCON, 1, 1), (KOHYA, 1, 1), (DIFFUSERS, 0.5, 0.25)]
    assert text == f"<lora:{short(LOCON)}:1>\n<lora:{short(KOHYA)}:1>\n<lora:{short(DIFFUSERS)}:0.5:0.25>"
    again, same = stack(host, text)
    assert again == made and same == text


def test_the_inputs_that_are_new_need_not_be_there(host):
    node = host.node("StyleDeltaLoraStack")
    assert node.execute(json.dumps([{"name": KOHYA}]))[0] == [(KOHYA, 1, 1)]
    assert node.execute("[]", [("None", 1, 1)]).result[:2] == ([("None", 1, 1)], "")


def test_all_missing_rows_are_told_in_one_error(host, checkpoint):
    with pytest.raises(FileNotFoundError) as caught:
        stack(
            host, "<lora:styledelta_demo_kohia:1>", {"name": "lost.safetensors"}, {"name": KOHYA}, {"name": "gone/b.pt"}
        )
    said = str(caught.value)
    for part in ("Row 1 of the LoRA stack: lost", "Row 3 of the LoRA stack: gone/b.pt", "called styledelta_demo_kohia"):
        assert part in said
    assert f"Similar names: {KOHYA}" in said and "Put the files there and refresh" in said
    with pytest.raises(FileNotFoundError, match=r"Row 1 of the LoRA stack: a\.pt(?s:.)*Row 3 of the LoRA stack: b\.pt"):
        others = [("a.pt", 1, 1), (KOHYA, 1, 1), ("b.pt", 1, 1)]
        host.node("StyleDeltaApplyLoraStack").execute(checkpoint[0], others)


def test_a_name_from_the_graph_takes_the_place_of_the_chosen_one(host):
    node = host.node("StyleDeltaAddLora")
    chosen = (KOHYA, 1.0, 1.0, "all blocks", "")
    assert node.execute(*chosen, name=short(LOCON).upper())[0] == [(LOCON, 1, 1)]
    assert node.execute(*chosen, name=" ")[0] == node.execute(*chosen)[0] == [(KOHYA, 1, 1)]
    with pytest.raises(
        FileNotFoundError, match="No LoRA is called styledelta_demo_loconn. Similar names: .*locon.*Put the file into"
    ):
        node.execute(*chosen, name="styledelta_demo_loconn")


def test_text_and_names_are_linked_in_a_prompt(server):
    prompt = {
        "words": {"class_type": "PrimitiveString", "inputs": {"value": f"a house <lora:{short(KOHYA)}:0.5>"}},
        "name": {"class_type": "PrimitiveString", "inputs": {"value": short(LOCON)}},
        "add": {
            "class_type": "StyleDeltaAddLora",
            "inputs": {
                "lora_name": KOHYA, "strength_model": 1.0, "strength_clip": 0.5, "preset": "all blocks", "block_weights": "",
                "name": ["name", 0],
            },
        },
        "stack": {
            "class_type": "StyleDeltaLoraStack",
            "inputs": {"rows": "[]", "lora_stack": ["add", 0], "rows_text": ["words", 0]},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["stack", 1]}},
    }  # fmt: skip
    assert server.run(prompt)["show"]["text"] == [f"<lora:{short(LOCON)}:1:0.5>\n<lora:{short(KOHYA)}:0.5>"]
    prompt["words"]["inputs"]["value"] = "<lora:lost:1> <lora:gone:1>"
    with pytest.raises(PromptError, match="is called lost(?s:.)*is called gone"):
        server.run(prompt)


def test_trigger_words_come_from_the_files_beside_the_loras(host, base_dir):
    beside = [base_dir / "models/loras" / f"{short(name)}.txt" for name in (KOHYA, LOCON)]
    node, rows = host.node("StyleDeltaLoraStack"), json.dumps([{"name": KOHYA}, {"name": LOCON}, {"name": DIFFUSERS}])
    before = node.fingerprint_inputs(rows=rows)
    try:
        for path, words in zip(beside, ("ink wash, Paper", "paper, grain")):
            path.write_text(words)
        assert node.fingerprint_inputs(rows=rows) != before
        assert node.execute(rows)[2] == "ink wash, Paper, grain"
        assert node.execute(json.dumps([{"name": KOHYA, "model": 0}, {"name": LOCON}]))[2] == "paper, grain"
        assert host.node("StyleDeltaLoadLora").execute(LOCON)[1] == "paper, grain"
    finally:
        for path in beside:
            path.unlink(missing_ok=True)
    # As its own metadata say.
    assert node.execute(rows)[2] == "demo style"
