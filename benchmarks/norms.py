"""Norm parameters: extracting them from two files of SDXL's size, and switching styles by norms, LoRA and checkpoint."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from extract_files import STATUS, Peak  # noqa: E402
from host_start import BASE, start_host  # noqa: E402

GOAL_SECONDS, GOAL_MB = 2.0, 100
ROUNDS = 3
RANK = 16
SHARED = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_heads": -1,
    "use_spatial_transformer": True,
    "legacy": False,
}
SD15 = SHARED | {
    "num_heads": 8,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 768,
}
SDXL = SHARED | {
    "num_head_channels": 64,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "context_dim": 2048,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "use_linear_in_transformer": True,
}


def shapes_of(config: dict) -> dict[str, tuple[int, ...]]:
    """The weights of a U-Net of true size."""
    import comfy.ops
    import torch
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**config, device="meta", dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    return {name: tuple(weight.shape) for name, weight in unet.state_dict().items()}


def write_file(path: Path, prefix: str, shapes: dict[str, tuple[int, ...]], seed: int, norms_only: bool) -> None:
    """A float16 file of these tensors, random; with norms_only all others are zeros that take no room on the disk."""
    import torch

    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[prefix + name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    generator = torch.Generator().manual_seed(seed)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            if norms_only and len(shape) > 1:
                file.seek(2 * math.prod(shape), 1)
                continue
            gain = 1.0 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
            file.write((torch.randn(shape, generator=generator) * gain).half().numpy().tobytes())
        file.truncate(8 + len(text) + end)


def extraction(folder: Path) -> None:
    from delta.blocks.rules import BlockWeights
    from delta.families.norm_sites import MODULATION, NORMS
    from delta.files.checkpoint import Checkpoint
    from delta.norms.job import extract_norms_job

    files = [folder / "styled.safetensors", folder / "base.safetensors"]
    for seed, file in enumerate(files):
        write_file(file, "model.diffusion_model.", shapes_of(SDXL), seed, norms_only=True)

    def run() -> object:
        return extract_norms_job(*map(Checkpoint, files), (NORMS, MODULATION), BlockWeights())

    run()
    peak = Peak()
    peak.start()
    start = time.perf_counter()
    job = run()
    seconds = time.perf_counter() - start
    numbers = sum(tensor.numel() for tensor in job.model.values())
    print(
        f"norms of two files of {files[0].stat().st_size / 1e9:.1f} GB: {seconds:.2f} s (goal {GOAL_SECONDS:g}), "
        f"{peak.stop():.0f} MB of anonymous memory (goal {GOAL_MB}), {len(job.model)} tensors, {numbers * 2 / 1e6:.2f} MB in float16"
    )


def switching(nodes, folder: Path) -> None:
    """Seconds from one style to the next, until the weights stand in the model, everything warm."""
    import comfy.model_management
    import folder_paths
    import torch
    from safetensors.torch import save_file

    from delta.families.norm_sites import find_sites

    shapes = shapes_of(SD15)
    for kind in ("diffusion_models", "loras"):
        (folder / kind / "bench").mkdir(parents=True)
        folder_paths.add_model_folder_path(kind, str(folder / kind))
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).half() * 0.01

    found = find_sites({f"diffusion_model.{name}": shape for name, shape in shapes.items()})
    sites = [name.removeprefix("diffusion_model.") for name in found.tiers]
    layers = [name.removesuffix(".weight") for name in shapes if ".attn" in name and name.endswith(".weight")]
    for number in range(2):
        write_file(folder / f"diffusion_models/bench/model {number}.safetensors", "", shapes, number, norms_only=False)
        norms = {
            f"diffusion_model.{name.rpartition('.')[0]}.{'diff' if name.endswith('weight') else 'diff_b'}": noise(
                *shapes[name]
            )
            for name in sites
        }
        save_file(norms, folder / f"loras/bench/norms {number}.safetensors")
        lora = {}
        for layer in layers:
            rows, columns = shapes[f"{layer}.weight"]
            lora[f"diffusion_model.{layer}.lora_up.weight"] = noise(rows, RANK)
            lora[f"diffusion_model.{layer}.lora_down.weight"] = noise(RANK, columns)
        save_file(lora, folder / f"loras/bench/lora {number}.safetensors")
    node = nodes.NODE_CLASS_MAPPINGS
    loader = node["UNETLoader"]()
    base = loader.load_unet("bench/model 0.safetensors", "default")[0]

    def by_library(kind: str) -> Callable[[int], None]:
        def switch(number: int) -> None:
            model = node["StyleDeltaStyleLibrary"].execute(base, "bench", 0, f"{kind} {number}", 1.0, 1.0)[0]
            comfy.model_management.load_models_gpu([model])

        return switch

    def by_checkpoint(number: int) -> None:
        comfy.model_management.load_models_gpu([loader.load_unet(f"bench/model {number}.safetensors", "default")[0]])

    print(f"switching the style of a U-Net of {sum(map(math.prod, shapes.values())) / 1e6:.0f} million parameters:")
    times = {}
    for kind, file, switch in (
        ("norms", "loras/bench/norms 0.safetensors", by_library("norms")),
        ("lora", "loras/bench/lora 0.safetensors", by_library("lora")),
        ("checkpoint", "diffusion_models/bench/model 0.safetensors", by_checkpoint),
    ):
        seconds = []
        for turn in range(2 * ROUNDS):
            start = time.perf_counter()
            switch(turn % 2)
            seconds.append(time.perf_counter() - start)
        # The first two read the files.
        times[kind] = min(seconds[2:])
        size = (folder / file).stat().st_size
        print(f"  by {kind}: {times[kind] * 1e3:.0f} ms, file of {size / 1e6:.1f} MB")
    print(
        f"  norms are {times['lora'] / times['norms']:.1f} times faster than a LoRA of rank {RANK} on attention, "
        f"{times['checkpoint'] / times['norms']:.0f} times than a checkpoint"
    )


def main() -> None:
    if not STATUS.exists():
        print("skipped: this system does not tell anonymous memory in /proc/self/status")
        return
    nodes = start_host()
    assert asyncio.run(nodes.load_custom_node(str(BASE / "custom_nodes/ComfyUI-StyleDelta"), set(), "custom_nodes"))
    with tempfile.TemporaryDirectory() as folder:
        extraction(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        switching(nodes, Path(folder))


if __name__ == "__main__":
    main()
