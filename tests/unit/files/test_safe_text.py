"""Halves of characters in what is repeated to people: logs, messages, files."""

import traceback

import pytest
import torch

from delta.files.safe_text import with_writable_errors, writable
from delta.files.tensor_files import read_tensors, write_tensors

HALF = "caf\ud800 \u4e2d"


def test_only_halves_of_characters_are_written_out():
    assert writable(HALF) == "caf\\ud800 \u4e2d"
    assert writable("\U0001f600 \\ud800\n") == "\U0001f600 \\ud800\n"


def test_an_error_and_those_it_came_of_can_be_written():
    @with_writable_errors
    def refuse(name, kind):
        try:
            try:
                raise RuntimeError(f"first {name}", 3)
            except RuntimeError:
                raise KeyError(name)  # noqa: B904
        except KeyError as error:
            raise FileNotFoundError(f"{kind} {name} is not there.") from error

    with pytest.raises(FileNotFoundError, match=r"LoRA caf\\ud800 \u4e2d is not there\.") as caught:
        refuse(HALF, kind="LoRA")
    "".join(traceback.format_exception(caught.value)).encode()
    assert refuse.__name__ == "refuse"


def test_errors_that_came_of_each_other_end():
    one, other = ValueError(HALF), ValueError(HALF)
    one.__context__, other.__context__ = other, one

    @with_writable_errors
    def refuse():
        raise one

    with pytest.raises(ValueError, match="ud800"):
        refuse()
    str(other).encode()


def test_metadata_with_halves_of_characters_is_written(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)}, {"trigger words": HALF})
    assert read_tensors(tmp_path / "a.safetensors")[1] == {"trigger words": writable(HALF)}


def test_names_of_tensors_that_nothing_can_write_are_refused(tmp_path):
    torch.save({HALF: torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a.pth has tensors whose names are not text"):
        read_tensors(tmp_path / "a.pth")
