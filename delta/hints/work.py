"""What a hint is told beside its picture and settings: the size that is wanted, and whom to tell how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..progress import Step

# Rows that are worked on at once: little memory, and a Cancel is obeyed within about a second at 4096 pixels.
ROWS = 256


@dataclass(frozen=True)
class Work:
    """size: (height, width) that the hint is wanted in, None for the picture's own. A hint of another size is resized by
    `delta.hints.batch`; one that can do it better itself does. on_step: called with (done, total) after each part; it may
    raise to cancel. rows: how many rows are worked on at once, which changes no result.
    """

    size: tuple[int, int] | None = None
    on_step: Step = lambda done, total: None
    rows: int = ROWS

    def bands(self, height: int) -> Iterator[slice]:
        """The rows of a picture from the top down, so many at once; tells after each how much is done."""
        for start in range(0, height, self.rows):
            stop = min(start + self.rows, height)
            yield slice(start, stop)
            self.on_step(stop, height)

    def part(self, index: int, count: int) -> Work:
        """One of `count` parts of this work, each of which takes about as long."""
        return replace(self, on_step=lambda done, total: self.on_step(index * total + done, count * total))


# That of a hint which is drawn alone, in its own size.
ALONE = Work()
