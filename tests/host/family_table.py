"""The matrix of families as a table: python dev.py families."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from host_process import start

from .family_matrix import COLUMNS, row
from .layouts import TABLE, has


def main() -> int:
    """Print a row for every small model that this host has; return 1 when a cell is wrong."""
    base_dir = Path(os.environ["STYLEDELTA_BASE_DIR"])
    host = start(Path(os.environ["STYLEDELTA_HOST_DIR"]), base_dir)
    print(f"| model | {' | '.join(COLUMNS)} |")
    print(f"| --- |{' --- |' * len(COLUMNS)}")
    wrong = 0
    for layout in TABLE:
        if layout.only_meta is None and has(layout):
            cells = row(host, base_dir, layout)
            wrong += sum(text.startswith("wrong") for text in cells.values())
            print(f"| {layout.name} | {' | '.join(text.replace('|', '/') for text in cells.values())} |", flush=True)
    print(f"{wrong} wrong", file=sys.stderr)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
