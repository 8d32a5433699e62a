"""The type of what long loops call after each step."""

from __future__ import annotations

from collections.abc import Callable

Step = Callable[[int, int], None]
