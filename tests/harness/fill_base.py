"""Write everything that tests and examples load into ComfyUI's base directory: `python fill_base.py BASE_DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

from demo_models import make_demo_models
from trained_models import make_trained_models
from wan_models import make_wan_models


def fill_base(base_dir: str | Path) -> list[Path]:
    """Write the models with random weights, the trained ones, the stand-ins for Wan and the pictures; return their paths."""
    return make_demo_models(base_dir) + make_trained_models(base_dir) + make_wan_models(base_dir)


def main() -> None:
    """Write the files and say what they are."""
    if len(sys.argv) != 2:
        sys.exit("usage: python fill_base.py BASE_DIR")
    for path in fill_base(sys.argv[1]):
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path}")


if __name__ == "__main__":
    main()
