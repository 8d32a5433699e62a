"""Captions of pictures, as a user writes them."""

from __future__ import annotations


def captions_of(text: str, pictures: int) -> list[str]:
    """One caption for each picture: the lines of a text, or its only line for all. An empty line in between is no caption.

    Raises ValueError for an empty text, and for another number of lines than 1 or one for each picture.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines:
        raise ValueError("The captions are empty. Write one line for all pictures, or one line for each.")
    if len(lines) not in (1, pictures):
        raise ValueError(
            f"There are {len(lines)} lines of captions for {pictures} pictures. Write one line for all, or one line for each."
        )
    return lines * pictures if len(lines) == 1 else lines
