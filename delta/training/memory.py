"""What training takes of memory, told before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

# A number that is trained, its gradient, and the two means of Adam, in float32.
BYTES_PER_TRAINED = 16


class Memory(NamedTuple):
    """In bytes. model: its weights; features: what the way back needs of one pass through the model; trained: the numbers that
    are trained, with their gradients and the optimiser's means."""

    model: int
    features: int
    trained: int

    @property
    def total(self) -> int:
        return sum(self)

    @property
    def line(self) -> str:
        """The sizes in one line of a report."""
        return (
            f"memory: about {size(self.total)}: model {size(self.model)}, features for the backward pass "
            f"{size(self.features)}, trained numbers and optimiser {size(self.trained)}"
        )


def size(count: float) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def kept_features(forward: Callable[[], Any], weights: Iterable[Tensor]) -> int:
    """The bytes that autograd keeps of a forward pass for the way back, without those of the weights.

    The pass runs with gradients, but nothing is kept: it takes no more memory than one without. What is kept twice counts
    once, and what was changed in place in between counts as often as it was kept, because then there are copies.
    """
    seen = {(StorageWeakRef(weight.untyped_storage()), _version(weight)) for weight in weights}
    total = 0

    def count(tensor: Tensor) -> None:
        nonlocal total
        storage = tensor.untyped_storage()
        # A weak reference keeps the address from being given to another storage.
        key = StorageWeakRef(storage), _version(tensor)
        if key not in seen:
            seen.add(key)
            total += storage.nbytes()

    def never(_: None) -> Tensor:
        raise RuntimeError("A pass that only counts features has no backward pass.")

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, never):
        forward()
    return total


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
