"""What the pack adds to the host's start, and a LoRA stack against a chain of core's loaders."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

HOST, BASE = Path(os.environ["STYLEDELTA_HOST_DIR"]), Path(os.environ["STYLEDELTA_BASE_DIR"])
HARNESS = Path(__file__).resolve().parents[1] / "tests/harness"
sys.path[:0] = [str(HOST), str(HARNESS)]

from launch_host import has_gpu, prepare_torchvision  # noqa: E402
from timing import in_turns  # noqa: E402

LORAS = [("styledelta_demo_kohya", 0.8), ("styledelta_demo_diffusers", 0.5), ("styledelta_demo_locon", 1.0)]


def start_host():
    """The host's module `nodes`, with everything loaded but our pack."""
    sys.argv = ["main.py", "--base-directory", str(BASE), *([] if has_gpu() else ["--cpu"])]
    prepare_torchvision()
    import comfy.options

    comfy.options.enable_args_parsing()
    # First, as in ComfyUI's main.py: importing nodes puts comfy/, which has another utils, in front on sys.path.
    import utils.extra_config  # noqa: F401

    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    return nodes


def import_time(nodes) -> None:
    start = time.perf_counter()
    loaded = asyncio.run(nodes.load_custom_node(str(BASE / "custom_nodes/ComfyUI-StyleDelta"), set(), "custom_nodes"))
    assert loaded
    print(f"importing the pack adds {(time.perf_counter() - start) * 1e3:.0f} ms to the host's start (limit 150 ms)")


def stack_time(nodes) -> None:
    node = nodes.NODE_CLASS_MAPPINGS
    model, clip, _ = node["CheckpointLoaderSimple"]().load_checkpoint("styledelta_demo_sd15.safetensors")
    loaders = [node["LoraLoader"]() for _ in LORAS]
    stack = None
    for name, strength in LORAS:
        values = (f"{name}.safetensors", strength, strength, "all blocks", "", stack)
        stack = node["StyleDeltaAddLora"].execute(*values)[0]

    def core() -> None:
        patched = model, clip
        for loader, (name, strength) in zip(loaders, LORAS):
            patched = loader.load_lora(*patched, f"{name}.safetensors", strength, strength)

    seconds = in_turns({"ours": lambda: node["StyleDeltaApplyLoraStack"].execute(model, stack, clip), "core": core})
    print(
        f"three LoRAs: stack with report {seconds['ours'] * 1e3:.0f} ms, chained core loaders "
        f"{seconds['core'] * 1e3:.0f} ms, ratio {seconds['ours'] / seconds['core']:.2f}"
    )


if __name__ == "__main__":
    host_nodes = start_host()
    import_time(host_nodes)
    stack_time(host_nodes)
