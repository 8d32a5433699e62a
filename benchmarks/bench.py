"""Run the benchmarks: bench.py [names]. Each is a script of its own beside this file, run alone in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return 1 when one fails or does not exist."""
    scripts = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("bench", "timing")}
    unknown = set(names) - scripts.keys()
    if unknown:
        print(f"There is no benchmark {', '.join(sorted(unknown))}. There are: {', '.join(scripts)}.")
        return 1
    failed = 0
    for name in names or scripts:
        print(f"== {name}", flush=True)
        failed |= subprocess.call([sys.executable, scripts[name]])
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
