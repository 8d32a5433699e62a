"""A backward pass through a model that changes its features in place.

As `torch.autograd.graph.allow_mutation_on_saved_tensors`, which tells saved tensors apart by the address of the Python object.
Once one of them has been cloned, another tensor may get its address, and is then taken for it: gradients are wrong without a
word, or shapes do not fit. It also overlooks changes through a view that begins elsewhere. Here what is saved belongs to its storage.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Saved:
    """What one operation needs for its way back. It lives as long as the graph does, and keeps the storage alive."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class _Ledger:
    """What is saved, by the storage in which it lies. A storage has no other's address as long as something saved lies in it."""

    def __init__(self) -> None:
        self.by_storage: dict[int, list[weakref.ref[_Saved]]] = {}

    def pack(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor)
        self.by_storage.setdefault(tensor.untyped_storage()._cdata, []).append(weakref.ref(saved))
        return saved

    def unpack(self, saved: _Saved) -> Tensor:
        return saved.tensor

    def before_change(self, tensor: Tensor) -> None:
        """Copy all that is saved in the storage of a tensor that is about to be changed; each part of it once."""
        clones: dict[tuple, Tensor] = {}
        for reference in self.by_storage.pop(tensor.untyped_storage()._cdata, ()):
            saved = reference()
            if saved is None:
                continue
            old = saved.tensor
            part = (old.dtype, old.storage_offset(), tuple(old.shape), old.stride(), old.is_conj(), old.is_neg())
            if part not in clones:
                clones[part] = old.detach().clone()
            saved.tensor = clones[part]


class _Watch(TorchDispatchMode):
    """Tells a ledger of every tensor that an operation is about to change."""

    def __init__(self, ledger: _Ledger):
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        for index, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            changed = args[index] if index < len(args) else kwargs.get(argument.name)
            for tensor in changed if isinstance(changed, (list, tuple)) else [changed]:
                if isinstance(tensor, Tensor):
                    self.ledger.before_change(tensor)
        return func(*args, **kwargs)


@contextmanager
def changes_allowed() -> Iterator[None]:
    """What is changed in place after it was saved for the way back is copied first. Both ways have to be in one such context."""
    ledger = _Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, ledger.unpack), _Watch(ledger):
        yield
