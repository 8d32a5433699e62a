"""What a save that was killed has left in a folder: removed by the next one."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

# The names of `unfinished_name`, with the list of finished parts beside them, and those of the library safetensors.
NAMES = re.compile(r"\..*-[0-9a-f]{32}\.(?:tmp|done)|\.tmp[A-Za-z0-9]{6}")
# Seconds without a change, after which no save is at work on a file any more.
LEFT_AFTER = 3600


def unfinished_name(path: Path) -> Path:
    """A new path in the same folder for a file that gets its own name when it is whole."""
    return path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of a folder that nobody has written to for an hour, as far as they can be removed."""
    try:
        for path in folder.iterdir():
            if NAMES.fullmatch(path.name) and not path.is_symlink() and path.is_file():
                if path.stat().st_mtime < time.time() - LEFT_AFTER:
                    path.unlink(missing_ok=True)
    except OSError:
        # They are in nobody's way.
        pass
