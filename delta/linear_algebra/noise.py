"""What rounding adds to the difference of two stored weights, and which part of that difference stands above it.

A weight stored with p bits after the point of its mantissa is rounded to a grid of steps 2^(e - p), e the exponent of the
value; the error is taken as even over a step, of variance step^2 / 12. A matrix of such errors, m x n with standard
deviation s everywhere, has no singular value above s (sqrt(m) + sqrt(n)) but for a vanishing chance (Marchenko and Pastur
1967; Davidson and Szarek 2001): what lies below cannot be told from rounding. Large numbers are rounded more coarsely, and
rows and columns of weights differ in size: where they do, the largest singular value is higher; see `edge`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
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
# Of the Tracy-Widom law of real matrices.
TRACY_WIDOM_99 = 2.02
# Points at which the end of a spectrum is looked for at once, how often between the best of them, and Newton's steps for each.
POINTS, LOOKS, NEWTON = 6, 4, 6
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
        raise ValueError(f"The steps of {kind} are unknown.")
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


def edge(rows: Tensor, columns: Tensor) -> float:
    """The largest singular value, in all but one of a hundred cases, of noise whose variance is the product of a factor of
    its row [m] and one of its column [n] over their common mean.

    The end of the spectrum is that of Silverstein's equations for such noise (Paul and Silverstein 2009): the least x for
    which a g has x = x(g), where sum a / (x - a h) = g and h = sum b / (1 - b g). What a single matrix of finite size goes
    beyond it is taken from Johnstone (2001), as if all variances were the same.
    """
    mean = float(rows.double().mean())
    if not mean or not float(columns.sum()):
        return 0.0
    a, b = (part.double().div(part.double().mean()).cpu().numpy() for part in (rows, columns))
    low, high = 0.0, 1 / float(b.max())
    # x(g) is convex.
    for _ in range(LOOKS):
        points = np.linspace(low, high, POINTS + 2)
        ends = _ends(a, b, points[1:-1])
        best = int(ends.argmin())
        low, high = points[best], points[best + 2]
    return math.sqrt(mean * float(ends[best])) * _finite(len(rows), len(columns))


def _ends(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> np.ndarray:
    """x(g) of `edge` for several g.

    By Newton's method on the reciprocal of the left side, which is concave in x: from a start below, it never goes too far.
    """
    h = (b / (1 - b * g[:, None])).sum(1)
    x = a.max() * (h + 1 / g)
    for _ in range(NEWTON):
        reciprocals = 1 / (x[:, None] - a * h[:, None])
        left, slope = reciprocals @ a, np.square(reciprocals) @ a
        x += (1 / g - 1 / left) * left**2 / slope
    return x


def _finite(rows: int, columns: int) -> float:
    """How far the largest singular value of a matrix goes beyond that of large ones, in 1 of 100 cases."""
    one, two = math.sqrt(max(rows - 1, 1)), math.sqrt(columns)
    width = (one + two) * (1 / one + 1 / two) ** (1 / 3)
    return math.sqrt(((one + two) ** 2 + TRACY_WIDOM_99 * width) / (math.sqrt(rows) + two) ** 2)


def noise_floor(edge: float) -> RankPolicy:
    """Keep the singular values that stand above noise, of which this is the largest."""

    def rank(values: Tensor, shape: tuple[int, ...], rest: float = 0.0) -> int:
        above = int((values > edge).sum())
        return above + 1 if rest and above == len(values) else above

    return rank


def signal_to_noise(energy: float, deviation: float, shape: tuple[int, ...]) -> float:
    """Norm of the part of a difference that is not rounding over the norm of the rounding; infinite without rounding.

    energy: the squared norm of the whole difference.
    """
    noise = deviation**2 * math.prod(shape)
    return math.sqrt(max(energy - noise, 0.0) / noise) if noise else math.inf
