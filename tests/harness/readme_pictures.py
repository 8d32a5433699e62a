"""The pictures of the README, composed from what the demo made: readme_pictures.py <demo_output>"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import claims
from PIL import Image

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"
# The workflow and the class of the node whose plot stands in the row, from left to right.
REPORTS = (("lora_extract_files", "StyleDeltaExtractLoraFiles"), ("lora_merge", "StyleDeltaMergeLoras"))
REPORT_HEIGHT = 600
GAP = 24
# Which claims stand below each other in a picture.
CLAIMS = {
    "styles": ("styles",),
    "deltas": ("stack_and_merge", "resized", "block_weights"),
    "norms": ("norms", "training"),
    "control": ("edges", "regions", "schedule", "control_lora"),
}


def plot_of(out_dir: Path, workflow: str, node_class: str) -> Image.Image:
    """The picture that the demo kept of a node's plot. Raises FileNotFoundError when that workflow failed."""
    prompt = json.loads((PROMPTS / f"{workflow}.json").read_text(encoding="utf-8"))["prompt"]
    maker = next(key for key, node in prompt.items() if node["class_type"] == node_class)
    shows = [key for key, node in prompt.items() if node["inputs"].get("images", [None])[0] == maker]
    return Image.open(out_dir / workflow / f"node{shows[0]}_0.png").convert("RGB")


def in_a_row(pictures: list[Image.Image], height: int) -> Image.Image:
    """The pictures side by side at one height, on the paper of the first."""
    scaled = [p.resize((round(p.width * height / p.height), height), Image.LANCZOS) for p in pictures]
    width = sum(p.width for p in scaled) + GAP * (len(scaled) - 1)
    row = Image.new("RGB", (width, height), pictures[0].getpixel((0, 0)))
    left = 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row


def in_a_column(pictures: list[Image.Image]) -> Image.Image:
    """The pictures below each other, on white."""
    height = sum(p.height for p in pictures) + GAP * (len(pictures) - 1)
    column = Image.new("RGB", (max(p.width for p in pictures), height), "white")
    top = 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height + GAP
    return column


def main(out_dir: Path) -> Path:
    """Write the pictures to readme/ in the demo's folder and return that folder; they are copied to tests/pictures by hand."""
    folder = out_dir / "readme"
    folder.mkdir(parents=True, exist_ok=True)
    row = in_a_row([plot_of(out_dir, *report) for report in REPORTS], REPORT_HEIGHT)
    row.save(folder / "reports.png", optimize=True)
    for name, rows in CLAIMS.items():
        pictures = [Image.open(out_dir / claims.FOLDER / f"{row}.jpg").convert("RGB") for row in rows]
        claims.save(in_a_column(pictures), folder / f"{name}.jpg")
    return folder


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
