"""The README's picture of the widgets, from the real editor: widget_picture.py <host> <base> <out.png>"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from comfy_server import ComfyServer
from editor import Editor, launch_chromium
from PIL import Image
from playwright.sync_api import sync_playwright

STYLES = ((19, 0.45), (5, 0.1), (3, 0.25), (13, 0.2))
MARGIN = 16
ROWS = (
    ("noto", 0.8, "all blocks", True),
    ("fluent", 0.5, "decoder half", True),
    ("night", 0.7, "all blocks", False),
)


def draw(editor: Editor, out: Path) -> None:
    """Place the three widgets, run them, and photograph the graph without the menus around it."""
    rows = [
        {"on": on, "name": f"emoji_{name}_rank16.safetensors", "model": strength, "preset": preset}
        for name, strength, preset, on in ROWS
    ]
    palette = {"styles": [{"style": style, "weight": weight} for style, weight in STYLES]}
    stack = editor.add("StyleDeltaLoraStack", 0, 0, rows=json.dumps(rows))
    lora = editor.add("StyleDeltaLoadLora", 0, 300, lora_name=rows[0]["name"])
    report = editor.add("StyleDeltaLoraReport", 1020, 0)
    editor.link(lora, 0, report, "lora_model")
    network = editor.add("StyleDeltaLoadStyleNetwork", 0, 470)
    photo = editor.add("LoadImage", 0, 590, image="coffee.png")
    mix = editor.add("StyleDeltaStylePalette", 540, 0, palette=json.dumps(palette))
    paint = editor.add("StyleDeltaStylize", 540, 1600)
    show = editor.add("PreviewImage", 1020, 1600)
    seen = (stack, lora, report, network, photo, mix)
    for source, output, target, name in (
        (network, 0, mix, "style_network"),
        (photo, 0, mix, "image"),
        (network, 0, paint, "style_network"),
        (photo, 0, paint, "image"),
        (mix, 0, paint, "style"),
        (paint, 0, show, "images"),
    ):
        editor.link(source, output, target, name)
    editor.run()
    # The report takes room when it comes, and the preview follows it.
    editor.page.wait_for_timeout(3000)
    editor.drop_messages()
    editor.show(*seen)
    editor.page.wait_for_timeout(1000)
    picture = Image.open(editor.screenshot("widgets")).convert("RGB")
    boxes = [box for box in editor.boxes() if box["id"] in seen]
    edges = [
        pick(box[side] for box in boxes) for pick, side in zip((min, min, max, max), ("left", "top", "right", "bottom"))
    ]
    around = [edge + grown for edge, grown in zip(edges, (-MARGIN, -MARGIN, MARGIN, MARGIN))]
    picture.crop(tuple(map(round, around))).quantize(256).save(out, optimize=True)


def main(host: Path, base: Path, out: Path) -> None:
    with ComfyServer(host, base, base / "picture-server.log") as server, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        with Editor(server, browser, "vue", base / "output", size=(1700, 1000)) as editor:
            editor.clear()
            draw(editor, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
