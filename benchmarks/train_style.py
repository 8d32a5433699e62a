"""What Train Style learns from eight pictures of a look in one minute and in three, seen on subjects that it was not shown.

The demo's trained model learns a LoRA through the node; the picture is written to tests/pictures/train_style.png. Seconds are those
of the whole prompt, with its pictures.
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests/harness"))

from claims import Row, drawn  # noqa: E402
from comfy_server import ComfyServer  # noqa: E402
from fill_base import fill_base  # noqa: E402
from PIL import Image  # noqa: E402
from sketch import Link, Sketch  # noqa: E402

PICTURE = ROOT / "tests/pictures/train_style.png"
# What is learnt from, by the captions.
SHOWN = ("dog face", "fox", "owl", "panda", "pizza", "sunflower", "automobile", "strawberry")
SEEN = ("house", "rabbit face", "fish", "red apple")
LOOKS = ("ink", "poster")
STEPS = {"One minute": 220, "Three minutes": 700}


def trained(sketch: Sketch, look: str, steps: int) -> Link:
    """The base with a LoRA that was trained on the pictures of a look."""
    images = [sketch.loaded(f"{look}_{caption.split()[0]}.png") for caption in SHOWN]
    batch = images[0]
    for image in images[1:]:
        batch = sketch.out("ImageBatch", image1=batch, image2=image)
    lora = sketch.out(
        "StyleDeltaTrainNorms",
        model=sketch.model,
        latents=sketch.latent(batch),
        clip=sketch.clip,
        captions="\n".join(SHOWN),
        train="LoRA",
        rank=8,
        lora_layers="attention and convolutions",
        steps=steps,
        learning_rate=0.0,
        schedule="automatic",
        warm_up=-1,
        batch_size=1,
        seed=0,
        preview_every=0,
        norms=True,
        modulation=True,
        qk_norms=False,
    )
    return sketch.with_lora(lora)


def pictures(server: ComfyServer, sketch: Sketch, model: Link) -> list[Image.Image]:
    """What a model draws of the subjects that were not shown."""
    nodes = [sketch.sampled(model, sketch.words(subject)) for subject in SEEN]
    outputs = server.run(sketch.prompt)
    return [Image.open(io.BytesIO(server.view(**outputs[node]["images"][0]))).convert("RGB") for node in nodes]


def main(looks: tuple[str, ...]) -> None:
    host, base = (Path(os.environ[f"STYLEDELTA_{name}_DIR"]) for name in ("HOST", "BASE"))
    fill_base(base)
    lines, cells = [], []
    with ComfyServer(host, base, base / "bench-server.log") as server:
        sketch = Sketch()
        before = pictures(server, sketch, sketch.model)
        for look in looks:
            found = [before]
            for name, steps in STEPS.items():
                sketch, start = Sketch(), time.perf_counter()
                found.append(pictures(server, sketch, trained(sketch, look, steps)))
                print(f"{look}: {name}, {steps} steps: {time.perf_counter() - start:.0f} s", flush=True)
            learnt = [Image.open(ROOT / f"tests/drawings/{look}_{caption.split()[0]}.png") for caption in SHOWN]
            lines += [(look.capitalize(), SHOWN), ("", ()), ("", ())]
            cells += [[*some, *(part for part in row)] for some, row in zip(halves(learnt), found)]
    columns = ("Learnt from", "", "", *SEEN)
    drawn(Row("", columns, lines), cells).save(PICTURE, optimize=True)


def halves(images: list[Image.Image]) -> list[list[Image.Image]]:
    """Eight pictures in three rows of three, of which the last place stays empty."""
    return [images[place : place + 3] for place in (0, 3, 6)]


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or LOOKS)
