"""Text of other people as anything can write it: halves of characters, which no encoding knows, are written out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments, Result = ParamSpec("Arguments"), TypeVar("Result")


def writable(text: str) -> str:
    """The text with every half of a character as its number, `\\ud800`; all other text stays as it is."""
    return text.encode("utf-8", "backslashreplace").decode()


def with_writable_errors(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, whose errors, and those they came of, can be written to a log and sent, whatever they repeat.

    ComfyUI's log takes no halves of characters, and an error that it cannot write ends the thread that runs prompts.
    """

    @functools.wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except Exception as error:
            _make_writable(error)
            raise

    return called


def _make_writable(error: BaseException) -> None:
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            each.args = tuple(writable(part) if isinstance(part, str) else part for part in each.args)
            waiting += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
