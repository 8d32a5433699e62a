"""Tensors in the precision that a computation needs, on the device that has it."""

from torch import Tensor


def in_float64(tensor: Tensor) -> Tensor:
    """A copy in float64, on the CPU where the device has no such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def small_in_float64(small: Tensor) -> Tensor:
    """A small matrix in float64 on the CPU, which solves R x R problems faster than a device does."""
    return small.cpu().double()
