"""The style palettes in the editor: styles are chosen, the point is dragged, the mix is seen, kept and run."""

import hashlib
import json
import re
import time
from io import BytesIO

import numpy as np
import pytest
from editor import PromptError
from PIL import Image
from playwright.sync_api import expect

MODULE = "/extensions/ComfyUI-StyleDelta/palette/style_weights.js"
TABLE = "26 styles (Dumoulin 2017)"


class PaletteNode:
    """A palette's widget on the page."""

    def __init__(self, editor, node: int):
        self.editor, self.node = editor, node
        self.root = editor.element(".sd-palette")
        self.pad = self.root.locator(".sd-pad")

    def styles(self) -> list[tuple]:
        """The styles and weights of the value."""
        return [(row["style"], row["weight"]) for row in json.loads(self.editor.value(self.node, "palette"))["styles"]]

    def weights(self) -> list[float]:
        """The weights as they are shown."""
        return [float(field.input_value()) for field in self.root.locator(".sd-weight").all()]

    def option(self, name: str):
        """A style of the list: a file by its name, one of a network by its number, whatever it is called besides."""
        return self.root.get_by_role("option", name=re.compile(f"^{re.escape(name)}(:|$)"))

    def choose(self, *names: str) -> None:
        """Choose these styles only, by mouse."""
        while self.root.locator(".sd-remove").count():
            self.root.locator(".sd-remove").first.click()
        for name in names:
            self.option(name).click()

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag through points of the pad's field, in 0..1."""
        box = self.root.locator(".sd-field").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        mouse = self.editor.page.mouse
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=4)
        mouse.up()

    def file(self) -> bytes:
        """The preview's file, empty without one."""
        script = """async () => {
            const { src } = document.querySelector('.sd-picture')
            if (!src) return []
            try { return [...new Uint8Array(await (await fetch(src)).arrayBuffer())] } catch { return [] }
        }"""
        return bytes(self.editor.page.evaluate(script))

    def picture(self) -> bytes:
        """The preview's file, when it is up to date and has been the same for a while."""
        last, since, deadline = b"", time.monotonic(), time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = self.file()
            if seen != last or self.root.locator(".sd-preview").get_attribute("aria-busy") != "false":
                last, since = seen, time.monotonic()
            if last and time.monotonic() - since > 1:
                return last
            self.editor.page.wait_for_timeout(150)
        raise TimeoutError("The preview does not come to rest.")

    @property
    def caption(self):
        return self.root.locator(".sd-caption")

    def wait_for_thumbnails(self) -> None:
        shown = "document.querySelectorAll('.sd-option .sd-swatch:not(.sd-plain)').length === 26"
        self.editor.page.wait_for_function(shown, timeout=120_000)


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(file)).convert("RGB"), dtype=np.float32) / 255


@pytest.fixture(scope="module")
def portrait(server, tmp_path_factory) -> str:
    """A picture of 256 pixels in the input folder."""
    from skimage.data import coffee

    path = tmp_path_factory.mktemp("photo") / "styledelta_cup.png"
    Image.fromarray(coffee()[80:336, 160:416]).save(path)
    return server.upload_image(path)


@pytest.fixture
def palette(editor) -> PaletteNode:
    """A palette with the bundled network."""
    network = editor.add("StyleDeltaLoadStyleNetwork", 0, 0, network=TABLE)
    node = editor.add("StyleDeltaStylePalette", 340, 0)
    editor.link(network, 0, node, "style_network")
    editor.show(scale=1.0)
    return PaletteNode(editor, node)


def painted(editor, palette: PaletteNode, photo: str) -> int:
    """Complete the graph so that it paints a picture; return the node that shows it."""
    source = editor.add("LoadImage", 0, 220, image=photo)
    stylize = editor.add("StyleDeltaStylize", 800, 0)
    shown = editor.add("PreviewImage", 1100, 0)
    editor.link(source, 0, palette.node, "image")
    editor.link(1, 0, stylize, "style_network")
    editor.link(source, 0, stylize, "image")
    editor.link(palette.node, 0, stylize, "style")
    editor.link(stylize, 0, shown, "images")
    return shown


def test_points_and_weights_belong_together(editor):
    script = """async (module) => {
        const { cornersOf, pointOf, shares, weightsAt, withWeight } = await import(module)
        const back = [1, 2, 3, 4].map((count) => {
            const points = cornersOf(count).concat([[0.3, 0.6], [0.5, 0.5]])
            return points.map(([x, y]) => {
                const weights = weightsAt(count, x, y)
                const again = weightsAt(count, ...pointOf(weights))
                return [weights, Math.max(...weights.map((weight, index) => Math.abs(weight - again[index])))]
            })
        })
        const shapes = [weightsAt(2, 0.25, 0.9), weightsAt(3, 0.5, 0), weightsAt(3, 0.5, 2 / 3), weightsAt(4, 0.25, 0.5)]
        const outside = [weightsAt(2, -3, 7), weightsAt(3, -1, -1), weightsAt(3, 0, 0), weightsAt(3, 0.5, 9), weightsAt(4, 9, 9)]
        const typed = [withWeight([0.6, 0.4], 1, 0.7), withWeight([1, 0, 0], 0, 0.4), withWeight([0.2, 0.3, 0.5], 2, 3)]
        return { back, shapes, outside, typed, shares: [shares([3, 1]), shares([1, -1])] }
    }"""
    found = editor.page.evaluate(script, MODULE)
    for pairs in found["back"]:
        for weights, gap in pairs:
            assert sum(weights) == pytest.approx(1) and min(weights) >= 0 and gap <= 0.011
    assert found["back"][2][1][0] == [0, 1, 0] and found["back"][3][3][0] == [0, 0, 0, 1]
    assert found["shapes"] == [[0.75, 0.25], [1, 0, 0], [0.34, 0.33, 0.33], [0.38, 0.13, 0.37, 0.12]]
    assert found["outside"] == [[1, 0], [1, 0, 0], [0.8, 0.2, 0], [0, 0.5, 0.5], [0, 0, 0, 1]]
    assert found["typed"] == [[0.3, 0.7], [0.4, 0.3, 0.3], [0, 0, 1]]
    assert found["shares"] == [[0.75, 0.25], [0.5, 0.5]]


def test_styles_are_chosen_and_mixed_by_mouse(editor, palette):
    assert palette.styles() == [(19, 0.6), (5, 0.4)]
    palette.wait_for_thumbnails()
    pictures = {palette.picture()}
    offset = editor.page.evaluate("[...app.canvas.ds.offset, app.canvas.ds.scale, ...app.graph.nodes[1].pos]")
    palette.drag((0.4, 0.5), (0.9, 0.2))
    assert palette.styles() == [(19, 0.1), (5, 0.9)] and palette.weights() == [0.1, 0.9]
    pictures.add(palette.picture())
    palette.option("style 3").click()
    palette.drag((0.5, 0.3), (0.5, 0.0))
    assert palette.styles() == [(19, 1), (5, 0), (3, 0)]
    pictures.add(palette.picture())
    palette.option("style 13").click()
    palette.drag((0.5, 0.5), (0.25, 0.75))
    assert palette.weights() == pytest.approx([0.19, 0.06, 0.56, 0.19], abs=0.03) and sum(palette.weights()) == 1
    pictures.add(palette.picture())
    editor.screenshot("style_palette_square")
    assert len({hashlib.sha256(picture).digest() for picture in pictures}) == 4
    # There is no fifth corner.
    palette.option("style 7").click()
    assert len(palette.styles()) == 4 and "4 styles at most" in palette.root.locator(".sd-status").inner_text()
    palette.option("style 5").click()
    assert [style for style, _ in palette.styles()] == [19, 3, 13] and sum(palette.weights()) == pytest.approx(1)
    palette.picture()
    editor.screenshot("style_palette_triangle")
    palette.choose("style 8")
    assert palette.styles() == [(8, 1)]
    # The graph was neither moved nor zoomed by any of this.
    palette.root.locator(".sd-list").hover()
    editor.page.mouse.wheel(0, 200)
    script = "[...app.canvas.ds.offset, app.canvas.ds.scale, ...app.graph.nodes[1].pos]"
    assert editor.page.evaluate(script) == offset
    palette.picture()


def test_everything_is_done_by_keyboard(editor, palette):
    palette.wait_for_thumbnails()
    first = palette.picture()
    palette.pad.focus()
    for _ in range(4):
        editor.page.keyboard.press("ArrowRight")
    assert palette.styles() == [(19, 0.4), (5, 0.6)]
    editor.page.keyboard.press("Shift+ArrowLeft")
    assert palette.styles() == [(19, 0.41), (5, 0.59)]
    assert palette.pad.get_attribute("aria-valuetext") == "style 19: 0.41, style 5: 0.59"
    assert palette.picture() != first
    field = palette.root.get_by_label("Weight of style 5: oil sketch, rust and violet", exact=True)
    field.fill("0.25")
    field.press("Enter")
    assert palette.styles() == [(19, 0.75), (5, 0.25)]
    palette.root.get_by_role("option", selected=True).first.focus()
    palette.option("style 0").focus()
    editor.page.keyboard.press("ArrowRight")
    editor.page.keyboard.press("Space")
    assert [style for style, _ in palette.styles()] == [19, 5, 1]
    assert palette.option("style 1").get_attribute("aria-selected") == "true"
    assert editor.page.evaluate("document.activeElement.getAttribute('aria-label')") == (
        "style 1: bold black lines, grey and yellow"
    )
    # The graph's own keys are not for what has the focus here.
    editor.page.keyboard.press("Delete")
    assert editor.page.evaluate("app.graph.nodes.length") == 2
    palette.root.get_by_role("button", name=re.compile("^Remove style 19:")).press("Enter")
    assert [style for style, _ in palette.styles()] == [5, 1]
    palette.picture()


def test_a_workflow_keeps_the_palette(editor, palette):
    palette.wait_for_thumbnails()
    palette.choose("style 16", "style 7", "style 13")
    palette.drag((0.5, 0.4), (0.5, 0.7))
    chosen, saved = palette.styles(), editor.serialize()
    editor.load(saved)
    assert palette.styles() == chosen and palette.weights() == [weight for _, weight in chosen]
    editor.reload()
    # The editor's own, with any workflow.
    editor.errors.clear()
    editor.load(saved)
    assert palette.styles() == chosen and palette.root.locator(".sd-corner").count() == 3
    editor.show(scale=1.0)
    palette.wait_for_thumbnails()
    palette.picture()
    prompt = editor.prompt()[str(palette.node)]["inputs"]
    assert json.loads(prompt["palette"])["styles"] == [{"style": style, "weight": weight} for style, weight in chosen]


def test_the_picture_is_painted_in_the_mix_that_was_seen(editor, palette, portrait):
    palette.wait_for_thumbnails()
    expect(palette.caption).to_contain_text("Demo photo")
    demo = palette.picture()
    shown = painted(editor, palette, portrait)
    palette.drag((0.4, 0.5), (0.7, 0.5))
    results = []
    for weights in ([0.3, 0.7], [0.8, 0.2]):
        if results:
            palette.drag((0.5, 0.5), (0.2, 0.5))
        assert palette.weights() == weights
        output = editor.run()[str(shown)]["images"][0]
        results.append(pixels(editor.server.view(**output)))
        expect(palette.caption).to_have_text("Your picture")
        seen = palette.picture()
        assert seen != demo
        # A PNG of the host cuts off what the preview rounds.
        assert np.abs(pixels(seen) - results[-1]).max() < 1 / 255 + 1e-4
    assert np.abs(results[0] - results[1]).mean() > 0.02
    # Strength is in the preview too, without a run.
    script = """(id) => {
        const widget = app.graph.getNodeById(id).widgets.find((each) => each.name === 'strength')
        widget.value = 0.3
        widget.callback?.(0.3)
    }"""
    editor.page.evaluate(script, palette.node)
    assert np.abs(pixels(palette.picture()) - pixels(seen)).mean() > 0.02
    editor.show()
    editor.screenshot("style_palette_run")
    forget_refusals(editor)


def forget_refusals(editor) -> None:
    """The server paints no preview while a prompt runs, and the browser logs its answer."""
    editor.errors[:] = [error for error in editor.errors if "503" not in error]


def test_while_a_prompt_runs_the_last_picture_stays(editor, palette):
    palette.wait_for_thumbnails()
    before = palette.picture()
    server = editor.server
    # Every style of a large picture: seconds of work.
    network = {"class_type": "StyleDeltaLoadStyleNetwork", "inputs": {"network": TABLE}}
    grey = {"width": 1024, "height": 1024, "batch_size": 1, "color": int(time.time()) % 2**24}
    sheet = {"style_network": ["1", 0], "image": ["2", 0], "tile_size": 512, "columns": 7}
    prompt = {
        "1": network,
        "2": {"class_type": "EmptyImage", "inputs": grey},
        "3": {"class_type": "StyleDeltaStyleSheet", "inputs": sheet},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    server.submit(prompt)
    editor.until(lambda: bool(server.queue()["queue_running"]), True)
    palette.drag((0.4, 0.5), (0.8, 0.5))
    palette.root.locator(".sd-status", has_text="A prompt is running").wait_for()
    assert palette.styles() == [(19, 0.2), (5, 0.8)] and palette.file() == before
    assert server.queue()["queue_running"]
    server.interrupt()
    status = palette.root.locator(".sd-status", has_text="A prompt is running")
    status.wait_for(state="detached", timeout=60_000)
    assert palette.picture() != before
    forget_refusals(editor)


def test_what_cannot_be_read_stays(editor, palette):
    palette.wait_for_thumbnails()
    palette.picture()
    broken = '{"styles": [{"style": "ink", "weight": 1}]}'
    saved = editor.serialize()
    node = next(node for node in saved["nodes"] if node["type"] == "StyleDeltaStylePalette")
    node["widgets_values"] = [1, broken]
    editor.load(saved)
    assert editor.value(palette.node, "palette") == broken
    assert "not a palette" in palette.root.locator(".sd-status").inner_text()
    shown = editor.add("StyleDeltaSaveStyle", 800, 0)
    editor.link(palette.node, 0, shown, "style")
    with pytest.raises(PromptError, match="lacks the number of a style"):
        editor.run()
    # Older editors show the error in a dialog.
    dialog = editor.element(".p-dialog")
    if dialog.count():
        editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_other_networks(editor, palette):
    """The any-picture network has nothing to choose from, and says so."""
    palette.wait_for_thumbnails()
    palette.choose()
    palette.root.locator(".sd-picture").wait_for(state="hidden")
    script = "(name) => { app.graph.nodes[0].widgets[0].value = name }"
    editor.page.evaluate(script, "any picture (Ghiasi 2017)")
    editor.page.mouse.move(5, 500)
    palette.pad.hover()
    status = palette.root.locator(".sd-status", has_text="has no styles of its own")
    status.wait_for(timeout=60_000)
    assert palette.root.get_by_role("option").count() == 0


def test_its_texts_are_chinese_where_the_editor_is(chinese):
    palette = PaletteNode(chinese, chinese.add("StyleDeltaStylePalette", 340, 0, palette='{"styles": []}'))
    chinese.show(scale=1.0)
    palette.wait_for_thumbnails()
    assert palette.pad.get_attribute("aria-label") == "各风格的权重"
    palette.root.locator(".sd-status", has_text="请在下方选择最多 4 种风格").wait_for()
    chinese.screenshot("style_palette_zh")


def test_norm_styles_are_mixed_and_run(editor, base_dir):
    folder = base_dir / "models/loras"
    picture = folder / "styledelta_demo_norms.png"
    Image.open(base_dir / "input/coffee.png").save(picture)
    try:
        model = editor.add("CheckpointLoaderSimple", 0, 0, ckpt_name="styledelta_demo_sd15.safetensors")
        node = editor.add("StyleDeltaNormPalette", 340, 0)
        shown = editor.add("PreviewImage", 800, 0)
        editor.link(model, 0, node, "model")
        editor.link(node, 3, shown, "images")
        editor.show(scale=1.0)
        palette = PaletteNode(editor, node)
        assert palette.styles() == []
        palette.root.get_by_role("option").first.wait_for(timeout=30_000)
        names = [option.get_attribute("aria-label") for option in palette.root.get_by_role("option").all()]
        palette.root.get_by_role("searchbox").fill("DEMO_NORMS")
        assert palette.root.get_by_role("option").count() == 1
        palette.option("styledelta_demo_norms.safetensors").click()
        assert palette.styles() == [("styledelta_demo_norms.safetensors", 1)]
        assert editor.run()[str(shown)]["images"]
        palette.root.get_by_role("searchbox").fill("")
        assert palette.root.get_by_role("option").count() == len(names)
        palette.option("styledelta_demo_kohya.safetensors").click()
        palette.drag((0.5, 0.5), (0.25, 0.5))
        chosen = [("styledelta_demo_norms.safetensors", 0.75), ("styledelta_demo_kohya.safetensors", 0.25)]
        assert palette.styles() == chosen
        background = palette.root.locator(".sd-corner .sd-swatch").first.evaluate(
            "(part) => part.style.backgroundImage"
        )
        assert "file_picture" in background
        editor.screenshot("norm_palette")
        saved = editor.serialize()
        editor.load(saved)
        assert palette.styles() == chosen
    finally:
        picture.unlink()


def test_what_is_to_come_stands_in_the_place_of_the_picture(editor):
    # The server is never asked to paint.
    editor.page.route("**/styledelta/style_palette/preview", lambda route: None)
    try:
        network = editor.add("StyleDeltaLoadStyleNetwork", 0, 0, network=TABLE)
        node = editor.add("StyleDeltaStylePalette", 340, 0)
        editor.link(network, 0, node, "style_network")
        editor.show(scale=1.0)
        palette = PaletteNode(editor, node)
        waiting = palette.root.locator(".sd-waiting")
        expect(waiting).to_contain_text("Painting the mix")
        expect(waiting).to_contain_text("60 % style 19: night-sky strokes, blue and yellow")
        expect(waiting).to_contain_text("40 % style 5: oil sketch, rust and violet")
        expect(palette.root.locator(".sd-name").first).to_have_text("19: night-sky strokes, blue and yellow")
        expect(palette.option("style 8")).to_have_attribute(
            "title", "style 8: fine hatching, turquoise and pink on white"
        )
    finally:
        editor.page.unroute("**/styledelta/style_palette/preview")
