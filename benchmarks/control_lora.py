"""Extracting a Control-LoRA from two files of SDXL's size: peak anonymous memory and time, from files to a checked file."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from extract_files import STATUS, Peak, content  # noqa: E402

from delta.control_lora.extract import extract_control_lora  # noqa: E402
from delta.control_lora.net_file import ControlNetFile  # noqa: E402
from delta.control_lora.save import save_control_lora  # noqa: E402
from delta.extraction.extract import Settings  # noqa: E402
from delta.extraction.store import FolderStore  # noqa: E402
from delta.files.checkpoint import Checkpoint  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402

RANK = 64
GOAL_MINUTES, GOAL_MB = 10, 1000
CHANNELS, DEPTHS = (320, 640, 1280), (0, 2, 10)
TEXT, POOLED, TIME = 2048, 2816, 1280
HINT = (3, 16, 16, 32, 32, 96, 96, 256, 320)
Shape = tuple[int, ...]


def encoder_shapes() -> dict[str, Shape]:
    """The encoder of SDXL: 382 matrices besides the first convolution."""
    weights = {"time_embed.0": (TIME, 320), "time_embed.2": (TIME, TIME)}
    weights |= {"label_emb.0.0": (TIME, POOLED), "label_emb.0.2": (TIME, TIME), "input_blocks.0.0": (320, 4, 3, 3)}
    norms: dict[str, Shape] = {}
    number, width = 1, CHANNELS[0]
    for level, (channels, depth) in enumerate(zip(CHANNELS, DEPTHS)):
        for _ in range(2):
            add_resnet(weights, norms, f"input_blocks.{number}.0", width, channels)
            add_attention(weights, norms, f"input_blocks.{number}.1", channels, depth)
            number, width = number + 1, channels
        if level < len(CHANNELS) - 1:
            weights[f"input_blocks.{number}.0.op"] = (channels, channels, 3, 3)
            number += 1
    for place in (0, 2):
        add_resnet(weights, norms, f"middle_block.{place}", width, width)
    add_attention(weights, norms, "middle_block.1", width, DEPTHS[-1])
    return dict(with_biases(weights)) | {f"{name}.{end}": s for name, s in norms.items() for end in ("weight", "bias")}


def add_resnet(weights: dict[str, Shape], norms: dict[str, Shape], name: str, inputs: int, outputs: int) -> None:
    weights[f"{name}.in_layers.2"] = (outputs, inputs, 3, 3)
    weights[f"{name}.emb_layers.1"] = (outputs, TIME)
    weights[f"{name}.out_layers.3"] = (outputs, outputs, 3, 3)
    if inputs != outputs:
        weights[f"{name}.skip_connection"] = (outputs, inputs, 1, 1)
    norms |= {f"{name}.in_layers.0": (inputs,), f"{name}.out_layers.0": (outputs,)}


def add_attention(weights: dict[str, Shape], norms: dict[str, Shape], name: str, width: int, depth: int) -> None:
    if not depth:
        return
    norms[f"{name}.norm"] = (width,)
    weights |= {f"{name}.proj_in": (width, width), f"{name}.proj_out": (width, width)}
    for block in (f"{name}.transformer_blocks.{n}" for n in range(depth)):
        for attention, inputs in (("attn1", width), ("attn2", TEXT)):
            weights |= {f"{block}.{attention}.to_{part}": (width, inputs) for part in "kv"}
            weights |= {f"{block}.{attention}.to_{part}": (width, width) for part in ("q", "out.0")}
        weights |= {f"{block}.ff.net.0.proj": (8 * width, width), f"{block}.ff.net.2": (width, 4 * width)}
        norms |= {f"{block}.norm{n}": (width,) for n in (1, 2, 3)}


def with_biases(weights: dict[str, Shape]) -> Iterator[tuple[str, Shape]]:
    for name, shape in weights.items():
        yield f"{name}.weight", shape
        if not name.endswith(("to_q", "to_k", "to_v")):
            yield f"{name}.bias", shape[:1]


def own_shapes() -> dict[str, Shape]:
    """The layers that only the ControlNet has."""
    layers = {f"input_hint_block.{2 * n}": (b, a, 3, 3) for n, (a, b) in enumerate(zip(HINT, HINT[1:]))}
    outputs = (320, 320, 320, 320, 640, 640, 640, 1280, 1280)
    layers |= {f"zero_convs.{n}.0": (width, width, 1, 1) for n, width in enumerate(outputs)}
    return dict(with_biases(layers | {"middle_block_out.0": (1280, 1280, 1, 1)}))


def write(path: Path, shapes: dict[str, Shape], prefix: str, scale: float) -> None:
    """A float16 file: zeros that take no room on the disk, or matrices with a medium spectrum of this scale."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[prefix + name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    contents: dict[Shape, bytes] = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values() if scale else ():
            if len(shape) == 1:
                file.seek(2 * shape[0], 1)
                continue
            flat = (shape[0], math.prod(shape[1:]))
            if flat not in contents:
                contents[flat] = content(*flat, scale)
            file.write(contents[flat])
        file.truncate(8 + len(text) + end)


def extract(folder: Path) -> None:
    paths = [folder / "net.safetensors", folder / "base.safetensors"]
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    net, base = ControlNetFile(paths[0]), Checkpoint(paths[1])
    hashes = [model.fingerprint() for model in (net, base)]
    hashed = time.perf_counter()
    store = FolderStore(folder / "unfinished", {"hashes": hashes})
    job = extract_control_lora(net, base, Settings(RankChoice("fixed", RANK)), store=store)
    extracted = time.perf_counter()
    save_control_lora(job.lora, folder / "control_lora.safetensors", "float16", dict)
    end = time.perf_counter()
    size = (folder / "control_lora.safetensors").stat().st_size
    print(
        f"rank {RANK} of a net of {paths[0].stat().st_size / 1e9:.2f} GB, {len(job.lora.factors)} layers: {size / 1e6:.0f} MB, "
        f"{peak.stop():.0f} MB of anonymous memory above the interpreter (goal {GOAL_MB}), hashing {hashed - start:.0f} s, "
        f"extracting {(extracted - hashed) / 60:.1f} min (goal {GOAL_MINUTES}), saving {end - extracted:.0f} s"
    )


def main() -> None:
    if not STATUS.exists():
        print("skipped: this system does not tell anonymous memory in /proc/self/status")
        return
    encoder = encoder_shapes()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "net.safetensors", encoder | own_shapes(), "", 0.05)
        write(Path(folder) / "base.safetensors", encoder, "model.diffusion_model.", 0.0)
        extract(Path(folder))


if __name__ == "__main__":
    main()
