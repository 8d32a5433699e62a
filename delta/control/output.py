"""The outputs of a control net, scaled block by block and place by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from .mask import EffectMask
from .weights import ControlLayout

Control = dict[str, list[Tensor | None]]


def scale_control(
    control: Mapping[str, Sequence[Tensor | None]],
    gain: float,
    factors: Mapping[str, tuple[float, ...]],
    mask: EffectMask | None,
    batch: int,
    chunks: int,
) -> Control:
    """The outputs [B, C, h, w] or [B, N, C] times the gain, the factor of their block, and the mask.

    factors: see `slot_factors`; nothing for lists that stay. batch: B. chunks: how many conditionings share it. An output of
    one picture for the whole batch grows where masks differ. Nothing is changed in place, and what several blocks of the
    model share is computed once.
    """
    done: dict[tuple[int, float], Tensor] = {}

    def scaled(output: Tensor, factor: float) -> Tensor:
        key = (id(output), factor)
        if key not in done:
            # The mask is small, so that the output itself is multiplied only once.
            scale = factor if mask is None else factor * mask.like(output, batch, chunks)
            done[key] = output if mask is None and factor == 1 else output * scale
        return done[key]

    scaled_control: Control = {}
    for name, outputs in control.items():
        left = iter(factors.get(name, ()))
        scaled_control[name] = [
            None if output is None else scaled(output, gain * next(left, 1.0)) for output in outputs
        ]
    return scaled_control


def slot_factors(
    control: Mapping[str, Sequence[Tensor | None]], layout: ControlLayout, weights: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    """The factor of every output that is not None, list by list.

    Raises ValueError where the net made other outputs than its layout says: weights must not land on the wrong block.
    """
    factors = {}
    for name, outputs in control.items():
        expected, found = len(layout.slots.get(name, ())), sum(output is not None for output in outputs)
        if found != expected:
            raise ValueError(
                f"This {layout.net} made {found} outputs for the model's {name} blocks instead of {expected}, so "
                "block weights would act on the wrong ones. Disconnect the weights, and report the net and the "
                "version of ComfyUI."
            )
        factors[name] = tuple(weights[block] for block in layout.slots.get(name, ()))
    return factors
