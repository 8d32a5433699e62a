"""A LoRA merged into a checkpoint of SDXL's size, text encoders included: peak anonymous memory and time."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests/harness")]

from extract_files import STATUS, Peak  # noqa: E402
from host_process import start  # noqa: E402
from merge import RANK, write_sdxl_lora  # noqa: E402
from norms import SDXL  # noqa: E402

HOST, BASE = Path(os.environ["STYLEDELTA_HOST_DIR"]), Path(os.environ["STYLEDELTA_BASE_DIR"])
# The largest weight that a LoRA changes, 10240 x 1280, in float32, eight times over.
GOAL_MB = 420
TEXT_LAYERS, TEXT_WIDTH = 32, 1280


def checkpoint_shapes() -> dict[str, tuple[int, ...]]:
    """The names that ComfyUI saves SDXL with both text encoders by, and the shapes."""
    import comfy.supported_models
    import torch

    meta = torch.device("meta")
    config = comfy.supported_models.SDXL(dict(SDXL))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, device=meta)
    target = config.clip_target(state_dict={})
    clip = target.clip(device=meta, dtype=torch.float32, model_options={}, **target.params)
    names = {f"model.diffusion_model.{name}": value for name, value in model.diffusion_model.state_dict().items()}
    names |= config.process_clip_state_dict_for_saving(clip.state_dict())
    return {name: tuple(value.shape) for name, value in names.items() if value.is_floating_point()}


def write_sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A float16 file of these tensors: zeros that take no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, count = end, 1
        for size in shape:
            count *= size
        end += 2 * count
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def lora(folder: Path) -> dict:
    """A LoRA for all linear layers of the U-Net, and for the attention of the large text encoder, which files hold fused."""
    import torch
    from safetensors.torch import load_file

    path = folder / "lora.safetensors"
    write_sdxl_lora(path, 0)
    tensors = load_file(path)
    for layer in range(TEXT_LAYERS):
        for part in "qkv":
            name = f"lora_te2_text_model_encoder_layers_{layer}_self_attn_{part}_proj"
            tensors |= {
                f"{name}.lora_up.weight": torch.randn(TEXT_WIDTH, RANK),
                f"{name}.lora_down.weight": torch.randn(RANK, TEXT_WIDTH),
            }
    return tensors


def main() -> int:
    if not STATUS.exists():
        print("skipped: this system does not tell anonymous memory in /proc/self/status")
        return 0
    node = start(HOST, BASE).node("StyleDeltaMergeIntoModelFile")
    pack = importlib.import_module(node.__module__.rsplit(".", 2)[0] + ".nodes.host.folders")
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, result = folder / "base.safetensors", folder / "merged.safetensors"
        write_sparse(base, checkpoint_shapes())
        tensors = lora(folder)
        pack.model_path, pack.output_path = (lambda name: str(base)), (lambda prefix: str(result))
        pack.unfinished_folder = lambda: str(folder / "unfinished")
        peak = Peak()
        peak.start()
        layers = sum(name.endswith("lora_up.weight") for name in tensors)
        begin = time.perf_counter()
        report = node.execute("checkpoints/base", "as the base has it", "", 1.0, 1.0, None, tensors).result[1]
        seconds, memory = time.perf_counter() - begin, peak.stop()
        print(
            f"{layers} layers into a checkpoint of {base.stat().st_size / 1e9:.1f} GB: {memory:.0f} MB of "
            f"anonymous memory above the start (goal {GOAL_MB}), {seconds:.0f} s on one thread"
        )
        print("  " + report.splitlines()[2])
    return int(memory > GOAL_MB)


if __name__ == "__main__":
    sys.exit(main())
