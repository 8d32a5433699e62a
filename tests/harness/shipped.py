"""The files that the registry gets."""

from __future__ import annotations

import subprocess
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shipped() -> list[Path]:
    """Every tracked file that .comfyignore does not leave out, as comfy-cli packs them."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    names = [name for name in tracked.split("\0") if name and (ROOT / name).exists()]
    return [ROOT / name for name in names if not any(is_left_out(name, rule) for rule in rules)]


def is_left_out(name: str, rule: str) -> bool:
    """Whether a line of .comfyignore leaves out a file."""
    return name.startswith(rule) if rule.endswith("/") else fnmatch(name, rule)
