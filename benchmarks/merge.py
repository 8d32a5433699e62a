"""Merging LoRAs: one layer against PEFT and against what kohya runs, and a whole SDXL merge from file to file."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/harness")]

import torch  # noqa: E402
from launch_host import prepare_torchvision  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from delta.files.tensor_files import read_tensors, write_tensors  # noqa: E402
from delta.linear_algebra.factors import LowRank, concat, small_problems  # noqa: E402
from delta.linear_algebra.rank import RankChoice  # noqa: E402
from delta.lora.file import LoraModel, read_layers, write_layers  # noqa: E402
from delta.lora.merge_job import merge_job  # noqa: E402
from delta.lora.sources import MergeInput  # noqa: E402

RANK = 32
GOALS = {1280: 100, 3072: 300}
CONTEXT = 2048


def random_lora(rows: int, columns: int, generator: torch.Generator) -> LowRank:
    up = torch.randn(rows, RANK, generator=generator) * 0.02
    return LowRank(up, torch.randn(RANK, columns, generator=generator) * 0.02, (rows, columns))


def kohya(parts: list[LowRank], rank: int) -> LowRank:
    """What svd_merge_lora.py of sd-scripts runs: the dense sum, its full SVD, and values beyond the 99 % quantile clamped."""
    total = sum(part.to_dense() for part in parts)
    u, values, vt = torch.linalg.svd(total)
    up, down = u[:, :rank] @ torch.diag(values[:rank]), vt[:rank]
    limit = torch.quantile(torch.cat([up.flatten(), down.flatten()]), 0.99)
    return LowRank(up.clamp(-limit, limit), down.clamp(-limit, limit), total.shape)


def peft(parts: list[LowRank], rank: int) -> LowRank:
    """add_weighted_adapter of PEFT itself, by its method `svd`, on a model of one layer."""
    # PEFT imports transformers, which imports torchvision.
    prepare_torchvision()
    from peft import LoraConfig, get_peft_model

    rows, columns = parts[0].shape
    model = torch.nn.Sequential(torch.nn.Linear(columns, rows, bias=False, device="meta")).to_empty(device="cpu")
    names = [f"lora_{number}" for number in range(len(parts))]
    wrapped = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["0"]), names[0])
    for name in names[1:]:
        wrapped.add_adapter(name, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["0"]))
    layer = wrapped.base_model.model[0]
    for name, part in zip(names, parts):
        layer.lora_A[name].weight.data, layer.lora_B[name].weight.data = part.down, part.up
    start = time.perf_counter()
    wrapped.add_weighted_adapter(names, [1.0] * len(names), "merged", combination_type="svd", svd_rank=rank)
    peft.seconds = time.perf_counter() - start
    return LowRank(layer.lora_B["merged"].weight.data, layer.lora_A["merged"].weight.data, parts[0].shape)


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def one_layer(side: int) -> None:
    generator = torch.Generator().manual_seed(side)
    parts = [random_lora(side, side, generator) for _ in range(3)]
    with small_problems():
        concat(parts).truncate(RANK)
        ours = min(seconds(lambda: concat(parts).truncate(RANK)) for _ in range(50))
    dense = concat(parts).to_dense()
    error = relative_error(concat(parts).truncate(RANK).low_rank, dense)
    print(f"three rank-{RANK} LoRAs at {side}x{side}: {ours * 1e3:.1f} ms on one thread, error {error:.6f}", flush=True)
    threads = torch.get_num_threads()
    for name, run in (("PEFT", peft), ("kohya's way", kohya)):
        error, took = 0.0, {}
        for count in (1, threads):
            torch.set_num_threads(count)
            start = time.perf_counter()
            theirs = run(parts, RANK)
            took[count] = peft.seconds if run is peft else time.perf_counter() - start
            error = relative_error(theirs, dense)
        times = ", ".join(f"{t:.2f} s on {n} = {t / ours:.0f} times as long" for n, t in took.items())
        print(f"  {name}, by threads: {times} (goal {GOALS[side]}), error {error:.6f}", flush=True)


def relative_error(cut: LowRank, dense: torch.Tensor) -> float:
    return float((cut.to_dense() - dense).norm() / dense.norm())


def sdxl_layers() -> dict[str, tuple[int, int]]:
    """The 722 linear layers of SDXL's U-Net that a LoRA trains, by kohya name."""
    places = [("down_blocks_1", 2, 640, 2), ("down_blocks_2", 2, 1280, 10), ("mid_block", 1, 1280, 10)]
    places += [("up_blocks_0", 3, 1280, 10), ("up_blocks_1", 3, 640, 2)]
    layers = {}
    for place, attentions, width, depth in places:
        for attention in range(attentions):
            base = f"lora_unet_{place}_attentions_{attention}"
            layers |= {f"{base}_{name}": (width, width) for name in ("proj_in", "proj_out")}
            for block in range(depth):
                inside = f"{base}_transformer_blocks_{block}"
                layers |= {f"{inside}_attn1_to_{name}": (width, width) for name in ("q", "k", "v", "out_0")}
                layers |= {f"{inside}_attn2_to_{name}": (width, width) for name in ("q", "out_0")}
                layers |= {f"{inside}_attn2_to_{name}": (width, CONTEXT) for name in ("k", "v")}
                layers |= {f"{inside}_ff_net_0_proj": (8 * width, width), f"{inside}_ff_net_2": (width, 4 * width)}
    return layers


def write_sdxl_lora(path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (rows, columns) in sdxl_layers().items():
        part = random_lora(rows, columns, generator)
        tensors |= {f"{name}.lora_up.weight": part.up.half(), f"{name}.lora_down.weight": part.down.half()}
        tensors[f"{name}.alpha"] = torch.tensor(float(RANK))
    save_file(tensors, path)


def whole_sdxl() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{seed}.safetensors" for seed in range(3)]
        for seed, path in enumerate(paths):
            write_sdxl_lora(path, seed)
        start = time.perf_counter()
        inputs = [MergeInput(LoraModel(*read_tensors(path), path.stem), 1.0, 1.0) for path in paths]
        read = time.perf_counter()
        job = merge_job(inputs, "linear", "", RankChoice("fixed", RANK))
        merged = time.perf_counter()
        tensors = write_layers(read_layers(job.model).layers, torch.float16)
        write_tensors(Path(folder) / "merged.safetensors", tensors, job.model.metadata)
        end = time.perf_counter()
        print(
            f"whole SDXL merge of three files of {paths[0].stat().st_size / 1e6:.0f} MB: {end - start:.1f} s (goal 15): "
            f"reading {read - start:.1f}, merging {merged - read:.1f}, writing {end - merged:.1f}"
        )


if __name__ == "__main__":
    for side in GOALS:
        one_layer(side)
    whole_sdxl()
