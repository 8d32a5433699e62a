"""Style networks: time against onnxruntime, what bounds it, and memory with and without the pixel budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from skimage import data  # noqa: E402
from timing import in_turns  # noqa: E402
from torch.profiler import profile  # noqa: E402

from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, bundled_folder, load_bundled  # noqa: E402
from delta.style_network.network import stylize  # noqa: E402
from delta.style_network.params import StyleParams  # noqa: E402

THREADS = 2
LARGE_SIDE = 2880


def session(file: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(str(bundled_folder() / file), options, providers=["CPUExecutionProvider"])


BOUNDS = {"convolutions": "convolution", "norm statistics": "batch_norm", "reflect padding": "pad", "copies": "copy_"}


def what_bounds(run) -> str:
    """Shares of the time inside the library's kernels."""
    with profile() as trace:
        run()
    events = trace.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    shares = {
        label: sum(event.self_cpu_time_total for event in events if part in event.key) / total
        for label, part in BOUNDS.items()
    }
    return ", ".join(f"{label} {share:.0%}" for label, share in shares.items())


def speed() -> None:
    network, runtime = load_bundled(TABLE_NETWORK), session("multistyle26.onnx")
    photo = torch.from_numpy(data.astronaut().copy()).float()[None] / 255
    style = StyleParams(network.fingerprint, (network.style(19),))
    feed = {"image": photo.movedim(-1, 1).contiguous().numpy(), "style_weights": np.eye(26, dtype=np.float32)[19]}

    def ours() -> torch.Tensor:
        return stylize(network, photo, style)

    seconds = in_turns({"ours": ours, "onnxruntime": lambda: runtime.run(None, feed)})
    print(
        f"stylize 512x512, {THREADS} threads: {seconds['ours'] * 1e3:.0f} ms, onnxruntime "
        f"{seconds['onnxruntime'] * 1e3:.0f} ms, ratio {seconds['ours'] / seconds['onnxruntime']:.2f} (goal 1.40); "
        f"bound by {what_bounds(ours)}"
    )
    picture_network, predictor = load_bundled(PICTURE_NETWORK), session("arbitrary_predict.onnx")
    square = photo[:, ::2, ::2].contiguous()
    seconds = in_turns(
        {
            "float": lambda: picture_network.style_from_image(square, "picture"),
            "int8": lambda: predictor.run(None, {"style_image": square.numpy()}),
        }
    )
    print(
        f"style vector 256x256: float {seconds['float'] * 1e3:.0f} ms, onnxruntime int8 {seconds['int8'] * 1e3:.0f} ms"
    )


def paint_large(budget: int | None) -> None:
    """Paint a large picture and print how the peak memory of this process grows, in MB, and the seconds."""
    import time

    import psutil

    network = load_bundled(TABLE_NETWORK)
    style = StyleParams(network.fingerprint, (network.style(19),))
    stylize(network, torch.rand(1, 64, 64, 3), style)
    picture = torch.rand(1, LARGE_SIDE, LARGE_SIDE, 3)
    process = psutil.Process()
    before, peak, start = process.memory_info().rss, 0, time.perf_counter()

    def watch(done: int, total: int) -> None:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)

    stylize(network, picture, style, pixel_budget=budget, on_step=watch)
    print(json.dumps([(peak - before) / 1e6, time.perf_counter() - start]))


def memory() -> None:
    for label, budget in (("whole", "0"), ("in strips", "1000000")):
        done = subprocess.run([sys.executable, __file__, budget], capture_output=True, text=True, check=True)
        megabytes, seconds = json.loads(done.stdout)
        print(f"stylize {LARGE_SIDE}x{LARGE_SIDE} {label}: {megabytes:.0f} MB more at the peak, {seconds:.1f} s")


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    if len(sys.argv) > 1:
        paint_large(int(sys.argv[1]) or None)
    else:
        speed()
        memory()
