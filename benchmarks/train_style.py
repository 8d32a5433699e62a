"""What Train Style learns of a look from eight pictures in one minute and in three, seen on subjects that it was not shown.

The demo's trained model learns a LoRA through the node; the picture is written to tests/pictures/train_style.jpg. Seconds are those
of the whole prompt, with the pictures that it draws in the end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/harness"))

from claims import Row, drawn, save  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from fill_base import fill_base  # noqa: E402
from PIL import Image  # noqa: E402
from sketch import Link, Sketch, picture_of  # noqa: E402

PICTURE = ROOT / "tests/pictures/train_style.jpg"
# What is learnt from, by the captions.
SHOWN = ("dog face", "fox", "owl", "panda", "pizza", "sunflower", "automobile", "strawberry")
SEEN = ("house", "rabbit face", "fish", "red apple", "penguin")
LOOK = "ink"
# As many as two cores do in that time.
STEPS = {"1 minute": 600, "3 minutes": 1900}


def learnt_from(caption: str) -> str:
    """The file of a picture of the look."""
    return f"{LOOK}_{caption.split()[0]}.png"


def trained(sketch: Sketch, steps: int) -> Link:
    """The base with a LoRA that was trained on the pictures."""
    latents = sketch.latent(sketch.batch(map(learnt_from, SHOWN)))
    course = {"steps": steps, "learning_rate": 0.0, "schedule": "automatic", "warm_up": -1, "batch_size": 1, "seed": 0}
    what = {"train": "LoRA", "rank": 8, "lora_layers": "attention and convolutions"}
    what |= {"norms": True, "modulation": True, "qk_norms": False}
    given = {"model": sketch.model, "latents": latents, "clip": sketch.clip, "captions": "\n".join(SHOWN)}
    return sketch.with_lora(sketch.out("StyleDeltaTrainNorms", **given, **what, **course, preview_every=0))


def pictures(server: ComfyServer, sketch: Sketch, model: Link) -> list[Image.Image]:
    """What a model draws of the subjects that were not shown."""
    nodes = [sketch.sampled(model, sketch.words(subject)) for subject in SEEN]
    outputs = server.run(sketch.prompt)
    return [picture_of(server, outputs, node) for node in nodes]


def main() -> None:
    host, base = (Path(os.environ[f"STYLEDELTA_{name}_DIR"]) for name in ("HOST", "BASE"))
    fill_base(base)
    with ComfyServer(host, base, base / "bench-server.log") as server:
        sketch = Sketch()
        rows = [pictures(server, sketch, sketch.model)]
        for name, steps in STEPS.items():
            sketch, start = Sketch(), time.perf_counter()
            rows.append(pictures(server, sketch, trained(sketch, steps)))
            print(f"{name}: {steps} steps in {time.perf_counter() - start:.0f} s", flush=True)
    # Eight pictures in three rows, beside what is drawn before, after one minute and after three.
    learnt = [*(Image.open(ROOT / "tests/drawings" / learnt_from(caption)) for caption in SHOWN), None]
    cells = [[*learnt[3 * place : 3 * place + 3], *row] for place, row in enumerate(rows)]
    lines = [(name, ()) for name in ("Before", *STEPS)]
    save(drawn(Row("", ("Learnt from", "", "", *map(str.capitalize, SEEN)), lines), cells), PICTURE)


if __name__ == "__main__":
    main()
