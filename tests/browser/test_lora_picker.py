"""The list that LoRAs are chosen from: pictures, folders, favourites, those used last, and those for the connected model."""

import json

import pytest
import torch
from lora_rows_page import INK, KOHYA, LOCON, fill, folder, names, node, refresh
from PIL import Image
from playwright.sync_api import expect
from safetensors.torch import save_file

__all__ = ["folder", "node"]

MODEL = "styledelta_test_sd.safetensors"
# Weights that only models of Stable Diffusion 1 have together, and layers that only LoRAs of one family have.
MARKS = ("input_blocks.0.0.weight", "input_blocks.1.1.norm.weight", "input_blocks.11.0.in_layers.0.weight")
LAYERS = {
    "from_rows/fits.safetensors": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    "from_rows/other.safetensors": "lora_unet_up_blocks_0_attentions_2_transformer_blocks_9_attn1_to_q",
    "from_rows/unknown.safetensors": "lora_te_text_model_encoder_layers_0_mlp_fc1",
}


@pytest.fixture(autouse=True)
def no_marks(editor):
    """No favourites and no last ones, before and after; and all LoRAs are shown."""
    clear = "localStorage.removeItem('StyleDelta.favouriteLoras'); localStorage.removeItem('StyleDelta.recentLoras')"
    editor.page.evaluate(clear)
    yield
    editor.page.evaluate(clear)
    editor.reload()


@pytest.fixture
def files(base_dir, folder, node, editor):
    """LoRAs of two families and of none that is known, one with a picture, and a model of the first family."""
    loras = base_dir / "models/loras"
    for name, layer in LAYERS.items():
        save_file({f"{layer}.lora_{part}.weight": torch.zeros(2, 2) for part in ("up", "down")}, loras / name)
    model = base_dir / "models/checkpoints" / MODEL
    save_file({f"model.diffusion_model.{mark}": torch.zeros(1) for mark in MARKS}, model)
    pictures = [loras / "from_rows/fits.png", loras / KOHYA.replace(".safetensors", ".preview.png")]
    for colour, path in zip(("teal", "orange"), pictures):
        Image.new("RGB", (64, 96), colour).save(path)
    refresh(editor)
    yield
    for path in (model, *pictures, *(loras / name for name in LAYERS)):
        path.unlink()
    refresh(editor)


def shown(editor) -> list[str]:
    return editor.element("[role=option]").evaluate_all("(options) => options.map((option) => option.title)")


def view(editor, words: str) -> None:
    editor.element(".styledelta-view").filter(has_text=words).first.click()


def test_files_have_pictures_and_lie_in_folders(editor, node, files):
    editor.element(".styledelta-add").click()
    pictures = editor.element("img.styledelta-thumbnail")
    expect(pictures).to_have_count(2)
    assert pictures.first.evaluate("async (image) => { await image.decode(); return image.naturalWidth }") == 96
    expect(editor.element(".styledelta-picker-search")).to_be_focused()
    editor.screenshot("lora_picker")
    everything = shown(editor)
    view(editor, "from_rows")
    assert shown(editor) == sorted([INK, *LAYERS])
    expect(editor.element(".styledelta-picker-search")).to_be_focused()
    editor.page.keyboard.type("inkw")
    assert shown(editor) == [INK]
    editor.page.keyboard.press("Enter")
    assert names(editor, node) == [INK]

    # The folder stays chosen, and the keyboard leaves it.
    editor.element(".styledelta-add").click()
    assert shown(editor) == sorted([INK, *LAYERS])
    editor.page.keyboard.press("Alt+ArrowUp")
    editor.until(lambda: editor.element(".styledelta-view[aria-pressed=true]").inner_text() != "from_rows", True)
    view(editor, "All")
    assert shown(editor) == everything


def test_favourites_and_those_used_last_have_lists_of_their_own(editor, node):
    editor.element(".styledelta-add").click()
    view(editor, "Favourites")
    expect(editor.element(".styledelta-picker-note")).to_contain_text("No favourites yet")
    view(editor, "All")
    option = editor.element(f"[role=option][title='{LOCON}']")
    option.hover()
    option.locator(".styledelta-star").click()
    editor.page.keyboard.type("inkw")
    editor.page.keyboard.press("Control+Enter")
    editor.screenshot("lora_picker_star")
    editor.page.keyboard.press("Control+a")
    editor.page.keyboard.press("Delete")
    view(editor, "Favourites")
    assert sorted(shown(editor)) == sorted([INK, LOCON])
    option.click()
    assert names(editor, node) == [LOCON]
    for name in ("kohya", "inkw"):
        editor.element(".styledelta-add").click()
        view(editor, "All")
        editor.page.keyboard.type(name)
        editor.page.keyboard.press("Enter")

    # They are kept by the browser.
    saved = editor.serialize()
    editor.reload()
    editor.load(saved)
    editor.show(node, scale=1.2)
    editor.element(".styledelta-add").click()
    view(editor, "Recently used")
    assert shown(editor) == [INK, KOHYA, LOCON]
    view(editor, "Favourites")
    assert sorted(shown(editor)) == sorted([INK, LOCON])
    editor.element(f"[role=option][title='{INK}']").hover()
    editor.element(f"[role=option][title='{INK}'] .styledelta-star").click()
    assert json.loads(editor.page.evaluate("localStorage.getItem('StyleDelta.favouriteLoras')")) == [LOCON]


def test_marks_that_other_programs_have_spoilt_are_none(editor, node):
    editor.page.evaluate(
        "localStorage.setItem('StyleDelta.favouriteLoras', '{'); localStorage.setItem('StyleDelta.recentLoras', '[3]')"
    )
    editor.element(".styledelta-add").click()
    view(editor, "Recently used")
    expect(editor.element(".styledelta-picker-note")).to_contain_text("Nothing chosen yet")
    editor.page.keyboard.press("Escape")


def test_only_loras_that_may_fit_the_connected_model_are_shown(editor, node, files):
    loader = editor.add("CheckpointLoaderSimple", -520, 0, ckpt_name=MODEL)
    core = editor.add("LoraLoaderModelOnly", -520, 200)
    add = editor.add("StyleDeltaAddLora", 0, 400)
    apply = editor.add("StyleDeltaApplyLoraStack", 620, 0)
    editor.link(loader, 0, core, "model")
    editor.link(core, 0, apply, "model")
    editor.link(node, 0, add, "lora_stack")
    editor.link(add, 0, apply, "lora_stack")
    editor.show(node, scale=1.2)
    editor.element(".styledelta-add").click()
    view(editor, "from_rows")
    fits = editor.element(".styledelta-fits")
    expect(fits).to_have_text("Only for Stable Diffusion 1 or 2")
    assert set(LAYERS) <= set(shown(editor))
    fits.click()
    editor.screenshot("lora_picker_fits")
    assert "from_rows/other.safetensors" not in shown(editor)
    assert {"from_rows/fits.safetensors", "from_rows/unknown.safetensors"} <= set(shown(editor))
    editor.page.keyboard.press("Alt+Enter")
    expect(fits.locator("input")).not_to_be_checked()
    assert set(LAYERS) <= set(shown(editor))
    editor.page.keyboard.press("Escape")


def test_without_a_model_nothing_is_asked(editor, node):
    fill(editor, node, {"name": KOHYA})
    editor.element(".styledelta-name").click()
    expect(editor.element(".styledelta-current")).to_have_count(1)
    expect(editor.element(".styledelta-fits")).to_be_hidden()
    editor.page.keyboard.press("Escape")
