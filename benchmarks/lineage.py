"""The whole lineage in one row: what each method of the workflow `style_lineage` paints, in how many seconds, and how many
kilobytes decide the style.

The graph is the example workflow's, with its full training, on the demo's pictures and models; each picture is asked for by
itself, of a ComfyUI that has done nothing before. Seconds: of all that the picture needs, loading and learning included.
Kilobytes: of the file that holds the style, without the network that all styles share.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT), str(ROOT / "tests/harness")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy_server import ComfyServer, Prompt  # noqa: E402
from fill_base import fill_base  # noqa: E402
from PIL import Image  # noqa: E402

from delta.charts.contact_sheet import contact_sheet  # noqa: E402

PROMPT = ROOT / "tests/prompts/style_lineage.json"
# What the workflow has and its twin shortens.
FULL = {"StyleDeltaOptimiseStyle": 60, "StyleDeltaTrainStyleNetwork": 400, "StyleDeltaFitStyle": 400}
SIDE, COLUMNS = 320, 3


class Method(NamedTuple):
    """A picture of the row: its caption, the title of the node that shows it, and the bytes that decide its style."""

    caption: str
    title: str
    bytes: int


# Of AdaIN and WCT 144 means and 144 deviations or 144 x 144 numbers; of the networks those that were trained; float32 all.
METHODS = (
    Method("Gatys 2016", "1. Optimised", 0),
    Method("Johnson 2016", "2. Own network", 565_416),
    Method("Dumoulin 2017", "3. 990 numbers", 3_960),
    Method("AdaIN 2017", "4. AdaIN", 4 * 2 * 144),
    Method("WCT 2017", "5. WCT", 4 * (144 + 144 * 144)),
    Method("Reference AdaIN", "6. Reference AdaIN", 0),
    Method("LoRA", "7. LoRA", 838_000),
)


def needed(prompt: Prompt, last: str) -> Prompt:
    """The part of a prompt that a node needs."""
    part, waiting = {}, [last]
    while waiting:
        key = waiting.pop()
        if key not in part:
            part[key] = prompt[key]
            waiting += [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    return part


class Shown(NamedTuple):
    """A picture, the seconds that it took, and the most memory, in bytes, that the server held beyond what it had before."""

    picture: Image.Image
    seconds: float
    memory: int


def memory_of(server: ComfyServer, name: str) -> int:
    """A line of the process's status, in bytes: VmRSS what it holds, VmHWM the most that it held."""
    lines = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def shown(server: ComfyServer, prompt: Prompt, node: str) -> Shown:
    before = memory_of(server, "VmRSS")
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    start = time.perf_counter()
    outputs = server.run(needed(prompt, node), timeout=1800)
    seconds = time.perf_counter() - start
    picture = Image.open(io.BytesIO(server.view(**outputs[node]["images"][0]))).convert("RGB")
    return Shown(picture, seconds, memory_of(server, "VmHWM") - before)


def tile(picture: Image.Image) -> torch.Tensor:
    way = Image.Resampling.NEAREST if picture.width < SIDE else Image.Resampling.LANCZOS
    return torch.from_numpy(np.asarray(picture.resize((SIDE, SIDE), way)).copy()).float() / 255


def main() -> None:
    host, base = (Path(os.environ[f"STYLEDELTA_{name}_DIR"]) for name in ("HOST", "BASE"))
    fill_base(base)
    prompt = json.loads(PROMPT.read_text(encoding="utf-8"))["prompt"]
    for node in prompt.values():
        if node["class_type"] in FULL:
            node["inputs"]["steps"] = FULL[node["class_type"]]
    by_title = {node["_meta"]["title"]: key for key, node in prompt.items()}
    tiles, labels = [], []
    for title in ("Your photo", "The painting"):
        tiles.append(tile(Image.open(base / "input" / prompt[by_title[title]]["inputs"]["image"]).convert("RGB")))
        labels.append(title)
    for caption, title, count in METHODS:
        # Memory that a process has given back may stay with it, so each method has a fresh one.
        with ComfyServer(host, base, base / "bench-server.log") as server:
            found = shown(server, prompt, by_title[title])
        decides = f"{count / 1000:.0f} kB" if count >= 1000 else "the picture itself"
        tiles.append(tile(found.picture))
        labels.append(f"{caption}: {found.seconds:.0f} s, {decides}")
        print(f"{labels[-1]}; {found.memory / 1e9:.2f} GB of memory", flush=True)
    path = ROOT / "demo_output/lineage.jpg"
    path.parent.mkdir(exist_ok=True)
    sheet = contact_sheet(tiles, labels, COLUMNS)[0]
    Image.fromarray((255 * sheet).round().byte().numpy()).save(path, quality=90)
    print(f"pictures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
