"""Tensors that are not there: they remember by which operations they would be made of the tensors of a file.

ComfyUI renames, splits and fuses a file's tensors as it loads them, and does the reverse when it saves. Its own functions run on
expressions, which take no memory, and one tensor at a time is computed afterwards; or put back where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

META = torch.device("meta")


class Expression(torch.Tensor):
    """A tensor of a file by its name, or what operations would make of such tensors."""

    of: str | None
    made_by: tuple[Callable, Any, Any, int | None] | None

    @staticmethod
    def __new__(cls, meta: Tensor, of: str | None = None, made_by: tuple | None = None) -> Expression:
        found = torch.Tensor._make_wrapper_subclass(
            cls, meta.shape, strides=meta.stride(), dtype=meta.dtype, device="cpu", requires_grad=False
        )
        found.meta, found.of, found.made_by = meta, of, made_by
        return found

    def __repr__(self, **_: Any) -> str:
        return f"Expression({self.of or self.made_by[0]}, {tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "device"}
        if func is torch.ops.aten.copy_.default and isinstance(args[0], Expression):
            return _write(args[0], args[1])
        if func._schema.is_mutable:
            raise NotImplementedError(f"{func} changes a tensor in place, which cannot be traced.")
        if func is torch.ops.aten._local_scalar_dense.default:
            raise NotImplementedError("A function asks for the values of a tensor, which are not there.")
        made = func(*tree_map(_meta, args), **tree_map(_meta, kwargs))
        if isinstance(made, Tensor):
            return cls(made, made_by=(func, args, kwargs, None))
        if isinstance(made, (tuple, list)) and all(isinstance(part, Tensor) for part in made):
            return type(made)(cls(part, made_by=(func, args, kwargs, index)) for index, part in enumerate(made))
        raise NotImplementedError(f"{func} makes no tensors, which cannot be traced.")


class Traced(TorchDispatchMode):
    """While it is entered, tensors that a function makes to fill them are expressions too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(value, Tensor) for value in tree_flatten((args, kwargs))[0]):
            return func(*args, **(kwargs or {}))
        made = func(*args, **{**(kwargs or {}), "device": META})
        return Expression(made, made_by=(func, args, {**(kwargs or {}), "device": "cpu"}, None))


def _write(place: Expression, value: Any) -> Expression:
    """Put a value into an expression, or into some of its rows."""
    _become(place, torch.ops.aten.copy.default(_as_it_was(place), value))
    return place


def _become(place: Expression, new: Expression) -> None:
    """From now on this stands for something new; and so do the rows of what it is a part of."""
    func, args, kwargs, _ = place.made_by or (None, (), {}, None)
    if func is torch.ops.aten.slice.Tensor:
        whole = args[0]
        _become(whole, torch.ops.aten.slice_scatter.default(_as_it_was(whole), new, *args[1:], **kwargs))
    elif func is None or any(argument.alias_info for argument in func._schema.arguments):
        raise NotImplementedError("A function changes a tensor of the file in place, which cannot be traced.")
    else:
        place.made_by = new.made_by


def _as_it_was(expression: Expression) -> Expression:
    """The same, which later changes of the expression leave alone."""
    made_by = expression.made_by
    if made_by is not None and made_by[0] is torch.ops.aten.slice.Tensor:
        func, (whole, *rest), kwargs, index = made_by
        made_by = func, (_as_it_was(whole), *rest), kwargs, index
    return Expression(expression.meta, expression.of, made_by)


def _meta(value: Any) -> Any:
    if isinstance(value, Expression):
        return value.meta
    return value.to(META) if isinstance(value, Tensor) else value


def leaf(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Expression:
    """A tensor of a file as an expression."""
    return Expression(torch.empty(shape, dtype=dtype, device=META), name)


def origin(expression: Expression) -> str | None:
    """The name of the tensor that this is as it stands; None where it is made of one, or of several."""
    while expression.of is None and expression.made_by[0] in _SAME:
        expression = expression.made_by[1][0]
    return expression.of


# What hands a tensor on as it is.
_SAME = (torch.ops.aten.alias.default, torch.ops.aten.detach.default, torch.ops.aten.clone.default)


def leaves(expression: Expression) -> list[str]:
    """The names of the tensors that an expression is made of, each once, in their order."""
    if expression.of is not None:
        return [expression.of]
    found: dict[str, None] = {}
    tree_map(
        lambda value: found.update(dict.fromkeys(leaves(value))) if isinstance(value, Expression) else None,
        expression.made_by[1:3],
    )
    return list(found)


def evaluate(expression: Expression, values: Mapping[str, Tensor]) -> Tensor:
    """The tensor that the operations make of these values of the leaves."""
    if expression.of is not None:
        return values[expression.of]
    func, args, kwargs, index = expression.made_by
    args, kwargs = tree_map(lambda x: evaluate(x, values) if isinstance(x, Expression) else x, (args, kwargs))
    made = func(*args, **kwargs)
    return made if index is None else made[index]


def positions(expression: Expression, shapes: Mapping[str, tuple[int, ...]]) -> Tensor:
    """For each number of an expression its place among the numbers of `shapes`, the leaves one after the other: int64."""
    values, start = {}, 0
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        values[name] = torch.arange(start, start + count).reshape(shape)
        start += count
    return evaluate(expression, values)


class Group:
    """The tensors of a file that belong together, because weights of the model are made of several or of parts of them.

    weights: the expressions by the names of the weights. Values are float32, one after the other in one row of numbers.
    """

    def __init__(self, weights: Mapping[str, Expression], values: Mapping[str, Tensor]):
        """values: of all leaves of all weights; they are copied."""
        self.weights = weights
        self.shapes = {name: tuple(value.shape) for name, value in values.items()}
        self.flat = torch.cat([value.reshape(-1) for value in values.values()])

    def change(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """Put change(value) in place of a weight's value.

        Raises ValueError where the model's weight is not made of the file's numbers alone, and cannot be put back.
        """
        places = positions(self.weights[name], self.shapes)
        is_moved_only = places.dtype == torch.int64 and 0 <= int(places.min()) and int(places.max()) < len(self.flat)
        value = self.flat[places] if is_moved_only else None
        if value is None or not torch.equal(value, evaluate(self.weights[name], self.values())):
            raise ValueError(
                f"ComfyUI computes {name} from the file's numbers when it loads it, so a change cannot be written "
                "back. Load the model in ComfyUI and use Save Patched Model."
            )
        changed = change(value)
        if changed.shape != value.shape:
            raise ValueError(f"{name} is {tuple(value.shape)} in the file, and would become {tuple(changed.shape)}.")
        self.flat[places] = changed

    def values(self) -> dict[str, Tensor]:
        """The leaves as they are now."""
        counts = [torch.Size(shape).numel() for shape in self.shapes.values()]
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), self.flat.split(counts))}
