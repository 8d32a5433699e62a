"""What rounding adds to the difference of two stored weights, and which part of that difference stands above it.

A weight stored with p bits after the point of its mantissa is rounded to a grid of steps 2^(e - p), e the exponent of the
value; the error is taken as even over a step, of variance step^2 / 12. A matrix of such errors, m x n with standard
deviation s, has no singular value above s (sqrt(m) + sqrt(n)) but for a vanishing chance (Marchenko and Pastur 1967;
Davidson and Szarek 2001): what lies below cannot be told from rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .factors import RankPolicy


class Format(NamedTuple):
    """bits: of the mantissa after the point; least: the exponent below which steps get no finer."""

    bits: int
    least: int


FORMATS = {
    torch.float32: Format(23, -126),
    torch.float16: Format(10, -14),
    torch.bfloat16: Format(7, -126),
    torch.float8_e4m3fn: Format(3, -6),
    torch.float8_e5m2: Format(2, -14),
}
NVFP4 = Format(1, 0)
NVFP4_BLOCK = 16
NVFP4_LARGEST = 6.0
SAMPLE = 2**18
# What float32 files often hold: values that were rounded to one of these before.
COARSER = (torch.bfloat16, torch.float16)


def rounding_variance(values: Tensor, kind: Format | torch.dtype) -> float:
    """The mean variance of the rounding of stored values [...], in the units in which they are stored.

    Integers have steps of 1. float32 values that float16 or bfloat16 hold exactly count as rounded to those. Raises
    ValueError for a dtype whose steps are not known.
    """
    if isinstance(kind, torch.dtype) and not kind.is_floating_point:
        return 1 / 12
    values = _sample(values)
    if kind == torch.float32:
        kind = next((coarse for coarse in COARSER if torch.equal(values.to(coarse).to(values.dtype), values)), kind)
    known = kind if isinstance(kind, Format) else FORMATS.get(kind)
    if known is None:
        raise ValueError(f"The steps of {kind} are not known.")
    return float(_squared_errors(values, known).mean())


def _sample(values: Tensor) -> Tensor:
    """Evenly chosen values, enough for a mean. The odd distance meets all columns of a matrix of even width."""
    return values.flatten()[:: values.numel() // SAMPLE | 1]


def stored_variance(stored: Tensor, weight: Tensor) -> float:
    """The mean variance of the rounding of a dequantised weight, from the numbers that are stored for it.

    Numbers of the weight's shape, padded or not, count as the weight over one scale, any others as NVFP4.
    """
    # MXFP8 pads both sides to multiples of 32.
    stored = stored[tuple(map(slice, weight.shape))] if stored.ndim == weight.ndim else stored
    if stored.shape != weight.shape:
        return block_rounding_variance(weight)
    norm = float(torch.linalg.vector_norm(stored.float()))
    scale = float(torch.linalg.vector_norm(weight)) / norm if norm else 1.0
    return rounding_variance(stored, stored.dtype) * scale**2


def step_variance(weight: Tensor, others: Tensor) -> float:
    """The mean variance of the rounding of a dequantised weight to steps of any size.

    others: the weight dequantised from numbers of which each is the next one, or the one before; a rotation of the weight
    keeps the mean square of that difference.
    """
    return float((others - weight).double().square().mean()) / 12


def arithmetic_variance(values: Tensor) -> float:
    """The mean variance of the rounding of float32 results of this size."""
    return rounding_variance(values, FORMATS[torch.float32])


def block_rounding_variance(values: Tensor) -> float:
    """The mean variance of the rounding of a weight that was stored as NVFP4: blocks of 16 numbers of a row, each with
    the scale that takes its largest to 6. values: [..., n], dequantised; the last block of a row may be short."""
    padding = -values.shape[-1] % NVFP4_BLOCK
    padded = torch.nn.functional.pad(values.float(), (0, padding), value=math.nan)
    blocks = padded.reshape(-1, NVFP4_BLOCK)
    within = ~blocks.isnan()
    blocks = torch.where(within, blocks, 0.0)
    scales = (blocks.abs().amax(1, keepdim=True) / NVFP4_LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    # Stored numbers are multiples of 1/2; dividing by the scale can leave them just below a power of two.
    errors = _squared_errors((2 * blocks / scales).round() / 2, NVFP4)
    # The largest number of a block is what its scale was made from.
    errors = torch.where(within, errors, 0.0)
    errors = errors.sum(1) - errors.amax(1)
    return float((errors * scales[:, 0].double().square()).sum()) / values.numel()


def _squared_errors(values: Tensor, kind: Format) -> Tensor:
    """The mean squared error of the rounding to each of these values, float64.

    The errors of a power of two go from -step / 4 to step / 2, because the steps below it are half as wide.
    """
    values = values.float()
    mantissas, exponents = torch.frexp(values)
    # frexp gives 0 the exponent 0.
    exponents = torch.where(values == 0, kind.least, exponents - 1)
    steps = torch.exp2((exponents.clamp(min=kind.least) - kind.bits).double())
    narrow = (mantissas.abs() == 0.5) & (exponents > kind.least)
    return steps.square() / torch.where(narrow, 16, 12)


def floor(deviation: float, shape: tuple[int, ...]) -> float:
    """The largest singular value that noise of this standard deviation has in a weight of this shape."""
    return deviation * (math.sqrt(shape[0]) + math.sqrt(math.prod(shape[1:])))


def noise_floor(deviation: float) -> RankPolicy:
    """Keep the singular values that stand above noise of this standard deviation."""

    def rank(values: Tensor, shape: tuple[int, ...], rest: float = 0.0) -> int:
        above = int((values > floor(deviation, shape)).sum())
        return above + 1 if rest and above == len(values) else above

    return rank


def signal_to_noise(energy: float, deviation: float, shape: tuple[int, ...]) -> float:
    """Norm of the part of a difference that is not rounding over the norm of the rounding; infinite without rounding.

    energy: the squared norm of the whole difference.
    """
    noise = deviation**2 * math.prod(shape)
    return math.sqrt(max(energy - noise, 0.0) / noise) if noise else math.inf
