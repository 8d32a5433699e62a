"""The workflows' thumbnails, composed from what the demo made: thumbnails.py <demo_output>"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import count, takewhile
from pathlib import Path

from PIL import Image

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"
# Of a row with small pictures and of one without, in pixels.
HEIGHT, LARGE_HEIGHT, GAP, PAPER = 320, 560, 12, "#ffffff"
SMALL = 128
MOST_WIDTH = 1700
# Which pictures stand in the row, by the titles of their nodes; all that the demo kept where none are named. The workflows with
# photos keep the thumbnails that they have, and so does that of Wan, a picture of its nodes: the demo draws patterns there.
CHOSEN: dict[str, tuple[str, ...]] = {
    "control_lora_extract": (
        "Your photo",
        "The hint",
        "With the full net",
        "With the Control-LoRA",
        "What is lost, by block",
    ),
    "control_lora_transfer": (
        "Your photo",
        "The hint",
        "With the original net",
        "With the moved net",
        "What the move changes, by block",
    ),
    "controlnet_canny": (
        "Your photo",
        "The hint",
        "Without it",
        "With the net",
        "Strength of each block at each step",
    ),
    "controlnet_regions": ("Scribble of it", "Soft edges of it", "One picture of both"),
    "controlnet_stack": (),
    "core_lora_rows": (),
    "layer_swap": (),
    "lora_compare": (),
    "lora_extract": ("Fine-tuned model", "Base with the LoRA", "Singular values and error"),
    "lora_extract_files": (),
    "lora_extract_mix": (),
    "lora_merge": (),
    "lora_remove_subspace": (),
    "lora_resize": (),
    "lora_rows": (),
    "lora_stack": (),
    "norm_mix": ("Without the mix", "With the mix", "How far each block moved"),
    "norm_palette": ("Without the mix", "With the mix", "How far each block moved"),
    "norm_schedule": ("No style", "Growing style", "Whole style"),
    "norm_swap": ("Base model", "Base with the norms", "Styled model", "How far each block moved"),
    "norm_training": ("Picture of the style", "Another one", "Before", "After", "Loss by step"),
    "pose_editor": (),
    "pose_json": (),
    "save_patched_model": (),
    "style_library": (),
    "style_loop": (),
}


def pictures_of(out_dir: Path, workflow: str) -> list[Image.Image]:
    """The pictures of a workflow that its thumbnail shows, in their order."""
    prompt = json.loads((PROMPTS / f"{workflow}.json").read_text(encoding="utf-8"))["prompt"]
    kept = {node["_meta"]["title"]: f"node{node_id}_{{}}.png" for node_id, node in prompt.items()}
    titles = CHOSEN[workflow] or kept
    files = [file for title in titles for file in numbered(out_dir / workflow, kept[title])]
    return [Image.open(file).convert("RGB") for file in files]


def numbered(folder: Path, name: str) -> Iterator[Path]:
    """The files of a folder with this name for the numbers from 0 on."""
    return takewhile(Path.is_file, (folder / name.format(number) for number in count()))


def thumbnail(pictures: list[Image.Image]) -> Image.Image:
    """The pictures side by side at one height; small ones become larger smoothly."""
    height = HEIGHT if min(max(picture.size) for picture in pictures) <= SMALL else LARGE_HEIGHT
    scaled = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in pictures]
    width = sum(p.width for p in scaled) + GAP * (len(scaled) - 1)
    row = Image.new("RGB", (width, height), PAPER)
    left = 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    row.thumbnail((MOST_WIDTH, height), Image.Resampling.LANCZOS)
    return row


def main(out_dir: Path, ran: Iterable[str] = tuple(CHOSEN)) -> Path:
    """Write the thumbnails to thumbnails/ in the demo's folder and return it; they are copied to workflows/ by hand.

    ran: the workflows that the demo's ComfyUI could run.
    """
    folder = out_dir / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    for workflow in sorted(CHOSEN.keys() & set(ran)):
        thumbnail(pictures_of(out_dir, workflow)).save(folder / f"{workflow}.jpg", quality=88, optimize=True)
    return folder


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
