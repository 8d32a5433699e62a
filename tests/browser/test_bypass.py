"""Nodes that are bypassed or muted: the graph still runs, and what they would have changed stays as it is."""

import pytest

KOHYA, DIFFUSERS = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers"))
CHECKPOINT, PLAIN = "styledelta_demo_sd15.safetensors", "No LoRA is connected or switched on"
MUTED, BYPASSED = 2, 4


def set_mode(editor, mode: int, *nodes: int) -> None:
    editor.page.evaluate(
        "([nodes, mode]) => nodes.forEach((id) => { app.graph.getNodeById(id).mode = mode })", [list(nodes), mode]
    )


@pytest.fixture
def applied(editor) -> tuple[list[int], int, int]:
    """Two rows of a stack, the node that applies it, and the preview of its report."""
    loader = editor.add("CheckpointLoaderSimple", 0, 0, ckpt_name=CHECKPOINT)
    rows = [editor.add("StyleDeltaAddLora", 0, 200 + 300 * i, lora_name=n) for i, n in enumerate((KOHYA, DIFFUSERS))]
    apply = editor.add("StyleDeltaApplyLoraStack", 400, 0)
    preview = editor.add("PreviewAny", 800, 0)
    editor.link(rows[0], 0, rows[1], "lora_stack")
    editor.link(rows[1], 0, apply, "lora_stack")
    editor.link(loader, 0, apply, "model")
    editor.link(loader, 1, apply, "clip")
    editor.link(apply, 2, preview, "source")
    return rows, apply, preview


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_a_stack_without_its_rows(editor, applied, mode):
    rows, _, preview = applied
    set_mode(editor, mode, *rows)
    assert editor.run()[str(preview)]["text"][0].startswith(PLAIN)


def test_one_row_of_two(editor, applied):
    rows, _, preview = applied
    set_mode(editor, BYPASSED, rows[1])
    report = editor.run()[str(preview)]["text"][0]
    assert KOHYA in report and DIFFUSERS not in report


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_apply_lora_model_without_its_lora(editor, mode):
    loader = editor.add("CheckpointLoaderSimple", 0, 0, ckpt_name=CHECKPOINT)
    lora = editor.add("StyleDeltaLoadLora", 0, 200, lora_name=KOHYA)
    apply = editor.add("StyleDeltaApplyLora", 400, 0)
    preview = editor.add("PreviewAny", 800, 0)
    editor.link(loader, 0, apply, "model")
    editor.link(lora, 0, apply, "lora_model")
    editor.link(apply, 2, preview, "source")
    set_mode(editor, mode, lora)
    assert editor.run()[str(preview)]["text"][0].startswith(PLAIN)


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
@pytest.mark.parametrize("taken", ["net", "row"])
def test_a_control_stack_without_its_net_or_row(editor, mode, taken):
    loader = editor.add("CheckpointLoaderSimple", 0, 0, ckpt_name=CHECKPOINT)
    text = editor.add("CLIPTextEncode", 0, 200, text="a street")
    net = editor.add("StyleDeltaLoadControlNet", 0, 450)
    image = editor.add("EmptyImage", 0, 600, width=64, height=64)
    row = editor.add("StyleDeltaControlStack", 400, 200)
    apply = editor.add("StyleDeltaApplyControlStack", 800, 0)
    preview = editor.add("PreviewAny", 1200, 0)
    editor.link(loader, 1, text, "clip")
    editor.link(net, 0, row, "control_net")
    editor.link(image, 0, row, "image")
    editor.link(row, 0, apply, "control_net_stack")
    editor.link(text, 0, apply, "positive")
    editor.link(text, 0, apply, "negative")
    editor.link(apply, 2, preview, "source")
    set_mode(editor, mode, net if taken == "net" else row)
    assert editor.run()[str(preview)]["text"][0] == "The stack is empty: nothing was applied."
