"""The style palette: up to four styles and their weights, as one JSON text that people and programs can write."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..files.json_text import read_json
from ..linear_algebra.shares import normalised
from .network import StyleNetwork
from .params import StyleParams, interpolate

MAX_STYLES = 4
MAX_WEIGHT = 2.0
NUMBER_EXAMPLE = '{"styles": [{"style": 19, "weight": 0.6}, {"style": 5, "weight": 0.4}]}'
NAME_EXAMPLE = '{"styles": [{"style": "ink.safetensors", "weight": 1}]}'


class PaletteStyle(NamedTuple):
    """One style of a palette: its number in a style network or the name of its file, and its share of the mix."""

    style: int | str
    weight: float


def read_palette(text: str, by_name: bool = False) -> list[PaletteStyle]:
    """The styles of a palette's JSON text; by_name: they are files, with names instead of numbers.

    Raises ValueError that names what is wrong and shows how a palette is written.
    """
    example = NAME_EXAMPLE if by_name else NUMBER_EXAMPLE
    try:
        value = read_json(text)
    except ValueError as error:
        raise ValueError(f"The palette is not valid JSON ({error}). Write it like {example}.") from None
    rows = value.get("styles") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"The palette has no list of styles. Write it like {example}.")
    if not rows:
        raise ValueError(f"The palette holds no style. Choose one to {MAX_STYLES} styles in it, or write {example}.")
    if len(rows) > MAX_STYLES:
        raise ValueError(f"The palette holds {len(rows)} styles; it mixes {MAX_STYLES} at most. Remove some.")
    styles = [_row(number, row, by_name, example) for number, row in enumerate(rows, 1)]
    if len({row.style for row in styles}) < len(styles):
        raise ValueError("The palette holds the same style twice. Remove one of the two, or choose another.")
    return styles


def _row(number: int, row: Any, by_name: bool, example: str) -> PaletteStyle:
    style = row.get("style") if isinstance(row, dict) else None
    weight = row.get("weight", 1.0) if isinstance(row, dict) else None
    # JSON's true is a number in Python.
    if isinstance(style, bool) or not isinstance(style, str if by_name else int) or style == "":
        wanted = "the name of a file" if by_name else "the number of a style"
        raise ValueError(f"Style {number} of the palette lacks {wanted}. Write it like {example}.")
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not math.isfinite(weight) or abs(weight) > MAX_WEIGHT:
        raise ValueError(
            f"Style {number} of the palette has the weight {json.dumps(weight)[:40]}. "
            f"Give it a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}."
        )
    return PaletteStyle(style, float(weight))


def mix_styles(network: StyleNetwork, styles: Sequence[PaletteStyle], strength: float = 1.0) -> StyleParams:
    """The mix of a network's own styles, weights divided by their sum.

    strength: 1 is the mix, 0 the mean of all styles of the network, above 1 exaggerates.
    Raises ValueError for a style that the network lacks, and for a strength other than 1 where there is but one style.
    """
    components = [network.style(row.style, row.weight) for row in styles]
    if strength != 1:
        anchor = network.gamma.mean(0), network.beta.mean(0)
        if len(network.style_names) < 2:
            raise ValueError(
                f"{network.name} has a single style, so there is no other style to move away from. Leave strength at 1."
            )
        moved = [interpolate(anchor, (each.gamma, each.beta), strength) for each in components]
        components = [each._replace(gamma=gamma, beta=beta) for each, (gamma, beta) in zip(components, moved)]
    mix = StyleParams(network.fingerprint, tuple(components))
    mix.weights()
    return mix


def shares(styles: Sequence[PaletteStyle]) -> list[float]:
    """The weights divided by their sum. Raises ValueError when they add up to zero."""
    return normalised([row.weight for row in styles])
