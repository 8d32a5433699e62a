"""The workflows' thumbnails, composed from what the demo made: thumbnails.py <demo_output>"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"
# Of a row of pictures and of a chart, in pixels.
HEIGHT, LARGE_HEIGHT, GAP, PAPER = 320, 640, 12, "#ffffff"
SMALL = 128
MOST_WIDTH = 1600
# Which pictures stand in the row, by the titles of their nodes, where not all that the demo kept do.
CHOSEN: dict[str, tuple[str, ...]] = {}


def pictures_of(out_dir: Path, workflow: str) -> list[Image.Image]:
    """The pictures of a workflow that its thumbnail shows, in their order."""
    prompt = json.loads((PROMPTS / f"{workflow}.json").read_text(encoding="utf-8"))["prompt"]
    kept = {node["_meta"]["title"]: out_dir / workflow / f"node{node_id}_0.png" for node_id, node in prompt.items()}
    titles = CHOSEN.get(workflow) or [title for title, file in kept.items() if file.is_file()]
    return [Image.open(kept[title]).convert("RGB") for title in titles]


def thumbnail(pictures: list[Image.Image]) -> Image.Image:
    """The pictures side by side at one height; small ones become larger smoothly."""
    height = HEIGHT if len(pictures) > 1 or max(pictures[0].size) <= SMALL else LARGE_HEIGHT
    scaled = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in pictures]
    width = sum(p.width for p in scaled) + GAP * (len(scaled) - 1)
    row = Image.new("RGB", (width, height), PAPER)
    left = 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    row.thumbnail((MOST_WIDTH, height), Image.Resampling.LANCZOS)
    return row


def main(out_dir: Path) -> Path:
    """Write the thumbnails to thumbnails/ in the demo's folder and return it; they are copied to workflows/ by hand."""
    folder = out_dir / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(PROMPTS.glob("*.json")):
        thumbnail(pictures_of(out_dir, path.stem)).save(folder / f"{path.stem}.jpg", quality=88, optimize=True)
    return folder


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
