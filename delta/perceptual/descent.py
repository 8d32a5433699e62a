"""Going down a loss of pictures, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .loss import PerceptualLoss, Terms

LBFGS, ADAM = METHODS = ("L-BFGS", "Adam")
# The step of Adam in values of 0..1, where there are finer sizes to come and where not, on a cosine that ends at this share.
FIRST_RATE, LAST_RATE, END = 0.05, 0.025, 0.1
# The share of its step that L-BFGS takes, and how many it remembers. A search along each step was tried: where a ReLU bends it
# finds no point that meets the Wolfe conditions, and stays for ever. Whole steps overshoot more often. Where
# the loss rises by more than this all the same, it goes on from the best picture and has forgotten what it remembered.
SHARE, HISTORY, RISE = 0.5, 12, 1.02


def descend(
    loss: PerceptualLoss, x: Tensor, method: str, steps: int, coarse: bool = False
) -> Iterator[tuple[Terms, Tensor]]:
    """For each step the parts of the loss, without gradients, and the picture of the lowest loss so far.

    x: [1, 3, height, width] in 0..1, where to begin; changed in place and kept in 0..1. coarse: larger steps, for a size that
    is not the last. Adam: arXiv 1412.6980. L-BFGS: Liu and Nocedal 1989 (doi 10.1007/BF01589116), without a line
    search.
    """
    x.requires_grad_()
    rate = FIRST_RATE if coarse else LAST_RATE
    optimiser = _optimiser(x, method, rate)
    # The gradient of one pixel is so small that L-BFGS would take it for nothing; Adam knows no scale.
    scale = x.numel()
    lowest: tuple[float, Tensor] | None = None
    evaluated: list[tuple[Terms, Tensor]] = []

    def evaluate() -> Tensor:
        optimiser.zero_grad()
        terms = loss(x)
        value = terms.total * scale
        value.backward()
        evaluated.append((Terms(*(part.detach() for part in terms)), x.detach().clone()))
        return value

    for step in range(steps):
        if method == ADAM:
            optimiser.param_groups[0]["lr"] = rate * _falling(step, steps)
        evaluated.clear()
        with torch.enable_grad():
            optimiser.step(evaluate)
        terms, picture = evaluated[0]
        total = float(terms.total)
        with torch.no_grad():
            if method == LBFGS and lowest is not None and total > RISE * lowest[0]:
                x.copy_(lowest[1])
                optimiser = _optimiser(x, method, rate)
            x.clamp_(0, 1)
        if lowest is None or total < lowest[0]:
            lowest = total, picture
        yield terms, lowest[1]


def _optimiser(x: Tensor, method: str, rate: float) -> torch.optim.Optimizer:
    if method == ADAM:
        return torch.optim.Adam([x], rate)
    return torch.optim.LBFGS([x], lr=SHARE, max_iter=1, history_size=HISTORY)


def _falling(step: int, steps: int) -> float:
    """The share of the rate at a step: a cosine (arXiv 1608.03983) from 1 to `END`."""
    return END + (1 - END) * 0.5 * (1 + math.cos(math.pi * step / steps))
