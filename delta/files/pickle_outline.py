"""What a pickle would make, told from its instructions without carrying any of them out.

Only the instructions that `torch.load(weights_only=True)` knows are read. Every tensor must lie in a storage of its own
file and have no more numbers than that, so that nothing larger than the file is ever made of it.
"""

from __future__ import annotations

import math
import pickletools
from typing import Any, BinaryIO, NamedTuple

import torch

# Bytes of a number by the name of its storage. Quantised ones are not among them.
NUMBERS = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1},
    **{"Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "Untyped": 1},
}
TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
TYPED = "torch._tensor._rebuild_from_type_v2"
# What makes memory of a size that is only written down.
SIZED = ("Tensor", "Storage", "Parameter")
BYTE_ARRAYS = ("builtins.bytearray", "__builtin__.bytearray")
# Tuples in each other, which Python would compare without an end. Those of tensors are three.
DEEPEST = 8
MOST_DIMENSIONS = 64

PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
OTHERS = {"NONE", "NEWTRUE", "NEWFALSE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Refused(ValueError):
    """Why the tensors of a pickle are not made, as a part of a sentence."""


class Storage(NamedTuple):
    """key: its name in the file; numbers: how many it holds; size: bytes of each."""

    key: str
    numbers: int
    size: int


class Outline(NamedTuple):
    """value: what is made in the end, where that is a number or text; storages: bytes by key; tensors: bytes of all."""

    value: Any
    storages: dict[str, int]
    tensors: int


class _Global(str):
    """The full name of a class or a function."""


class _Tuple(tuple):
    depth = 1


_MARK, _OTHER, _TENSOR = object(), object(), object()


def outline(file: BinaryIO) -> Outline:
    """The outline of the pickle that begins here, after which the file stands at its end.

    Raises Refused for tensors that no plain file of weights has, and ValueError, LookupError, TypeError, OverflowError or
    MemoryError where it is damaged.
    """
    machine = _Machine()
    for instruction, value, _ in pickletools.genops(file):
        machine.step(instruction.name, value)
    return Outline(machine.stack[-1], machine.storages, machine.tensors)


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, int] = {}
        self.tensors = 0

    def step(self, name: str, value: Any) -> None:
        stack = self.stack
        if name in PLAIN:
            stack.append(value)
        elif name in OTHERS:
            stack.append(_OTHER)
        elif name in TUPLES:
            stack.append(_tuple(self._pop(TUPLES[name])))
        elif name == "TUPLE":
            stack.append(_tuple(self._pop_mark()))
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "GLOBAL":
            stack.append(_Global(value.replace(" ", ".")))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[value])
        elif name == "BINPERSID":
            stack.append(self._storage(*stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._pop(2)
            stack.append(self._called(function, arguments))
        elif name in ("APPENDS", "SETITEMS"):
            self._pop_mark()
        elif name in ("APPEND", "SETITEM"):
            self._pop(2 if name == "SETITEM" else 1)
        elif name == "BUILD":
            self._pop(1)
            if stack[-1] is _TENSOR or isinstance(stack[-1], Storage):
                raise Refused("it changes a tensor that is made already")
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"the instruction {name}")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("more is taken than was given")
        start = len(self.stack) - count
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _pop_mark(self) -> list[Any]:
        taken = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _storage(self, kind: Any, of: Any, key: Any, place: Any, numbers: Any, view: Any = _OTHER) -> Storage:
        size = NUMBERS.get(of.rpartition(".")[2].removesuffix("Storage")) if isinstance(of, _Global) else None
        if kind != "storage" or size is None or view is not _OTHER:
            raise Refused("it holds quantised numbers or a kind of storage that is not known")
        found = Storage(str(key), _count(numbers), size)
        if self.storages.setdefault(found.key, found.numbers * size) != found.numbers * size:
            raise Refused("one storage has two sizes")
        return found

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Global):
            return _OTHER
        module, _, name = function.rpartition(".")
        if function == TYPED:
            return self._called(arguments[0], arguments[2])
        if module == "torch._utils" and name in PARAMETERS:
            return arguments[0]
        if module == "torch._utils" and name in TENSORS:
            return self._tensor(*arguments[:4], *(arguments[6:7] if name == TENSORS[2] else ()))
        if module == "torch._utils" and name.startswith("_rebuild"):
            raise Refused("it holds a tensor that is sparse, quantised, nested or without numbers")
        if module in ("torch", "torch.storage", "torch.nn.parameter", "torch.cuda") and name.endswith(SIZED):
            raise Refused("it makes a tensor of numbers that the file does not hold")
        if module.endswith("sparse") and name.endswith(SIZED):
            raise Refused("it holds a tensor that is sparse, quantised, nested or without numbers")
        if function in BYTE_ARRAYS and any(isinstance(argument, int) for argument in arguments[:1]):
            raise Refused("it makes bytes that the file does not hold")
        return _OTHER

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, dtype: Any = None) -> object:
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise TypeError("a tensor without a storage")
        size = storage.size if dtype is None else _dtype(dtype).itemsize
        sizes, steps = [_count(value) for value in shape], [_count(value) for value in strides]
        if len(sizes) != len(steps) or len(sizes) > MOST_DIMENSIONS:
            raise ValueError("a tensor with other dimensions than strides")
        count = math.prod(sizes)
        last = _count(offset) + sum((length - 1) * step for length, step in zip(sizes, steps)) + 1
        if count and max(count, last) * size > storage.numbers * storage.size:
            raise Refused("it holds a tensor with more numbers than are stored of it")
        self.tensors += count * size
        return _TENSOR


def _tuple(items: list[Any]) -> _Tuple:
    found = _Tuple(items)
    found.depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
    if found.depth > DEEPEST:
        raise ValueError("tuples in each other without an end")
    return found


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("a size that is none")
    return value


def _dtype(name: Any) -> torch.dtype:
    found = getattr(torch, name.rpartition(".")[2], None)
    if not isinstance(found, torch.dtype) or str(found).startswith("torch.q"):
        raise Refused("it holds numbers of a type that is not known")
    return found
