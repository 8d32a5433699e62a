"""Start ComfyUI's main.py: launch_host.py [--stop-on-eof] <host_dir> <main.py arguments...>

Adds --cpu where torch has no GPU. With --stop-on-eof the server ends when its standard input is closed, that is,
at the latest when the process that started it is gone.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from importlib.metadata import version


def has_gpu() -> bool:
    """Return whether torch can compute on a GPU, without importing it here: ComfyUI wants to configure it first."""
    if version("torch").endswith("+cpu"):
        return False
    probe = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", probe], stdin=subprocess.DEVNULL).returncode == 0


def prepare_torchvision() -> None:
    """Make `import torchvision` work where a CPU-only torch meets a torchvision that was built for CUDA.

    Its compiled operators cannot be loaded then, and it fails while it registers further functions for two of
    them. Nothing here calls these operators, so declaring them is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        # The library object owns the declarations: keep it alive.
        prepare_torchvision.library = library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]


def stop_on_eof() -> None:
    """End this process when its standard input is closed; returns at once."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> None:
    """Run the host with these arguments until it ends."""
    if arguments[0] == "--stop-on-eof":
        stop_on_eof()
        arguments = arguments[1:]
    host_dir, *host_arguments = arguments
    if not has_gpu():
        host_arguments.append("--cpu")
        prepare_torchvision()
    os.chdir(host_dir)
    # In place of this script's own folder, which ComfyUI must not see.
    sys.path[0] = host_dir
    sys.argv = [os.path.join(host_dir, "main.py"), *host_arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
