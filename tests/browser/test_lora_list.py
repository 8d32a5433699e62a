"""The whole list of LoRA Stack: multiplied, sorted, saved, loaded, one row alone; and what is known of a LoRA."""

import json

import pytest
from lora_rows_page import DIFFUSERS, INK, KOHYA, LOCON, fill, folder, names, node, row, rows, undo
from PIL import Image
from playwright.sync_api import expect

__all__ = ["folder", "node"]


def choose(editor, words: str, index: int | None = None) -> None:
    """Click an entry of the menu of the list, or of that of a row."""
    menu = (
        editor.element(".styledelta-header .styledelta-more")
        if index is None
        else row(editor, index).locator(".styledelta-more")
    )
    menu.click()
    editor.element("[role=menuitem]").filter(has_text=words).click()


def test_all_strengths_are_multiplied(editor, node):
    fill(
        editor,
        node,
        {"name": KOHYA},
        {"name": LOCON, "model": 0.5, "clip": -80, "low": 0.3},
        {"name": INK, "on": False},
    )
    choose(editor, "Multiply all strengths")
    factor = editor.element(".styledelta-factor input")
    expect(factor).to_be_focused()
    editor.page.keyboard.type("much")
    editor.page.keyboard.press("Enter")
    expect(factor).to_be_visible()
    editor.page.keyboard.type("1,5")
    editor.screenshot("lora_list_factor")
    editor.page.keyboard.press("Enter")
    assert rows(editor, node) == [
        {"name": KOHYA, "model": 1.5},
        {"name": LOCON, "model": 0.75, "clip": -100, "low": 0.45},
        {"name": INK, "on": False, "model": 1.5},
    ]
    expect(row(editor, 0).locator(".styledelta-strength-value")).to_have_text("1.50")
    undo(editor, node)
    assert rows(editor, node)[1] == {"name": LOCON, "model": 0.5, "clip": -80, "low": 0.3}


def test_rows_are_sorted_by_the_names_of_their_files(editor, node):
    fill(
        editor,
        node,
        {"name": LOCON},
        {"name": INK},
        {"name": "z/Styledelta_demo_10.pt"},
        {"name": "b/styledelta_demo_9.pt"},
    )
    choose(editor, "Sort by name")
    assert names(editor, node) == [INK, "b/styledelta_demo_9.pt", "z/Styledelta_demo_10.pt", LOCON]


def test_one_row_is_heard_alone_and_the_others_come_back(editor, node):
    fill(editor, node, {"name": KOHYA}, {"name": LOCON, "on": False}, {"name": INK}, {"name": DIFFUSERS})
    choose(editor, "Only this row on", 2)
    assert [r["on"] for r in rows(editor, node)] == [False, False, True, False]
    expect(editor.element(".styledelta-count")).to_have_text("1 of 4 on")
    choose(editor, "Restore the other rows", 2)
    assert [r["on"] for r in rows(editor, node)] == [True, False, True, True]
    choose(editor, "Only this row on", 1)
    assert [r["on"] for r in rows(editor, node)] == [False, True, False, False]


def test_a_list_is_saved_as_a_file_and_loaded_again(editor, node, tmp_path):
    content = [{"name": KOHYA, "model": 0.8, "clip": 0.5}, {"name": INK, "on": False, "blocks": "attn2=0"}]
    fill(editor, node, *content)
    with editor.page.expect_download() as download:
        choose(editor, "Save the list")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "lora_list.json" and json.loads(path.read_text()) == content

    fill(editor, node, {"name": LOCON})
    with editor.page.expect_file_chooser() as chooser:
        choose(editor, "Load a list")
    chooser.value.set_files(path)
    expect(editor.element(".styledelta-row")).to_have_count(2)
    assert rows(editor, node) == content
    undo(editor, node)
    assert names(editor, node) == [LOCON]


@pytest.mark.parametrize("content", ["no list", "{}", "[]", "[3]", "x" * 1_000_001])
def test_a_file_without_a_list_is_told_and_changes_nothing(editor, node, tmp_path, content):
    fill(editor, node, {"name": KOHYA})
    (tmp_path / "other.json").write_text(content)
    with editor.page.expect_file_chooser() as chooser:
        choose(editor, "Load a list")
    chooser.value.set_files(tmp_path / "other.json")
    expect(editor.element(".styledelta-popup")).to_contain_text("does not contain a LoRA list")
    editor.page.keyboard.press("Escape")
    assert names(editor, node) == [KOHYA]


@pytest.fixture
def told(base_dir):
    """Files beside the LoRA in a folder, that tell of it."""
    path = base_dir / "models/loras" / INK
    civitai = {
        "model": {"name": "Ink Wash on Rice Paper"},
        "baseModel": "SD 1.5",
        "trainedWords": ["ink wash, rice paper", "sumi-e"],
    }
    info, picture = path.with_suffix(".civitai.info"), path.with_suffix(".preview.png")
    info.write_text(json.dumps(civitai))
    Image.linear_gradient("L").convert("RGB").save(picture)
    yield
    info.unlink()
    picture.unlink()


def test_what_is_known_of_a_lora_is_shown_and_copied(editor, node, told):
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fill(editor, node, {"name": INK}, {"name": "lost.safetensors"})
    choose(editor, "About this LoRA", 0)
    panel = editor.element(".styledelta-info")
    expect(panel.locator(".styledelta-info-title")).to_have_text("Ink Wash on Rice Paper")
    expect(panel.locator(".styledelta-info-name")).to_have_text("from_rows/ink_wash")
    expect(panel.locator("dd").first).to_have_text("SD 1.5")
    assert panel.locator("img").evaluate("async (image) => { await image.decode(); return image.naturalWidth }") == 224
    editor.screenshot("lora_info")
    words = panel.locator(".styledelta-chip")
    words.filter(has_text="rice paper").first.click()
    expect(words.filter(has_text="Copied")).to_have_count(1)
    assert editor.page.evaluate("navigator.clipboard.readText()") == "rice paper"
    panel.locator(".styledelta-copy-all").click()
    editor.until(lambda: editor.page.evaluate("navigator.clipboard.readText()"), "ink wash, rice paper, sumi-e")
    editor.page.keyboard.press("Escape")
    expect(panel).to_have_count(0)

    row(editor, 1).locator(".styledelta-more").click()
    expect(editor.element("[role=menuitem]").filter(has_text="About this LoRA")).to_be_disabled()
    editor.screenshot("lora_row_menu")
    editor.page.keyboard.press("Escape")
    editor.element(".styledelta-header .styledelta-more").click()
    editor.screenshot("lora_list_menu")
    editor.page.keyboard.press("Escape")


def test_a_lora_of_which_little_is_known_says_so(editor, node):
    fill(editor, node, {"name": DIFFUSERS})
    choose(editor, "About this LoRA", 0)
    expect(editor.element(".styledelta-info .styledelta-info-title")).to_contain_text("styledelta_demo_diffusers")
    editor.screenshot("lora_info_little")
