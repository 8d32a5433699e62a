"""Reports in core's Preview as Text, which renders Markdown: every statement stands on its own line, and tables are tables."""

import pytest
from playwright.sync_api import Locator, expect

KOHYA, DIFFUSERS = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers"))
CHECKPOINT = "styledelta_demo_sd15.safetensors"
# Newer front ends have a switch on the node, off at first.
MARKDOWN = """(id) => {
  const switched = app.graph.getNodeById(id).widgets.find((widget) => widget.value === false)
  if (switched) switched.value = true
  switched?.callback?.(true)
}"""
# Where the classic and the new renderer show Markdown, and where the classic one of newer front ends shows plain text.
SHOWN, PLAIN = ":is(.tiptap, .comfy-markdown-content)", ".widget-text-preview textarea"


def previewed(editor, node: int, output: int) -> tuple[Locator, list[str]]:
    """What Preview as Text shows of an output after a run, and the lines that it got."""
    preview = editor.add("PreviewAny", 800, 0)
    editor.page.evaluate(MARKDOWN, preview)
    editor.link(node, output, preview, "source")
    text = editor.run()[str(preview)]["text"][0]
    if editor.renderer == "classic" and editor.element(PLAIN).count():
        expect(editor.element(PLAIN)).to_have_value(text)
        pytest.skip(
            "The classic canvas of this front end shows reports as plain text, whatever its switch says; it is the run's."
        )
    shown = editor.element(SHOWN).last
    lines = text.splitlines()
    expect(shown.locator("li")).to_have_count(sum(line.strip().startswith(("- ", "1. ", "2. ")) for line in lines))
    return shown, lines


def test_statements_and_tables(editor):
    lora = editor.add("StyleDeltaLoadLora", 0, 0, lora_name=KOHYA)
    node = editor.add("StyleDeltaLoraReport", 350, 0)
    editor.link(lora, 0, node, "lora_model")
    shown, lines = previewed(editor, node, 1)
    # The row below the head of a table is its rule.
    assert shown.locator("table tr").count() == sum(line.startswith("|") for line in lines) - 1
    assert "strongest layers (Frobenius norm):" in shown.inner_text().splitlines()


def test_rows_keep_their_numbers_and_names_their_characters(editor):
    loader = editor.add("CheckpointLoaderSimple", 0, 0, ckpt_name=CHECKPOINT)
    first = editor.add("StyleDeltaAddLora", 0, 200, lora_name=KOHYA)
    second = editor.add("StyleDeltaAddLora", 0, 500, lora_name=DIFFUSERS)
    apply = editor.add("StyleDeltaApplyLoraStack", 400, 0)
    editor.link(first, 0, second, "lora_stack")
    editor.link(second, 0, apply, "lora_stack")
    editor.link(loader, 0, apply, "model")
    shown, lines = previewed(editor, apply, 2)
    assert shown.locator("ol > li").count() == 2 and shown.locator("ol ul > li").count() >= 4
    assert KOHYA in shown.inner_text() and DIFFUSERS in shown.inner_text()


def test_a_file_is_shown_as_its_path(editor):
    lora = editor.add("StyleDeltaLoadLora", 0, 0, lora_name=KOHYA)
    save = editor.add("StyleDeltaSaveLora", 350, 0, filename_prefix="loras/_seen_")
    editor.link(lora, 0, save, "lora_model")
    shown, lines = previewed(editor, save, 1)
    path = next(line for line in lines if "saved `" in line).split("`")[1]
    assert shown.locator("code").inner_text() == path
