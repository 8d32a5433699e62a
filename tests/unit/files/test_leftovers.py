"""Unfinished files of saves that were killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from delta.files.leftovers import remove_leftovers, unfinished_name
from delta.files.tensor_files import write_tensors
from delta.model_file.writer import Entry, Made, Part, write_model

ROOT = Path(__file__).resolve().parents[3]
KILLED = """
import os, signal, sys, torch
from delta.files.tensor_files import write_tensors
write_tensors(sys.argv[1], {"a": torch.ones(9)}, {}, lambda written: os.kill(os.getpid(), signal.SIGKILL))
"""
LEFT = [f".ink-{'0f' * 16}.tmp", f".a b.c-{'12' * 16}.tmp", f".ink-{'0f' * 16}.done", ".tmpAb3xY9"]
OTHERS = [
    ".tmp",
    ".tmpAb3xY",
    ".tmpAb3xY9z",
    "ink.tmp",
    ".ink.tmp",
    f"ink-{'0f' * 16}.tmp",
    f".ink-{'0g' * 16}.tmp",
    "tmpAb3xY9",
]


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def with_part(path):
    write_model(path, [Part([Entry("a", torch.float32, (3,))], lambda: Made({"a": torch.ones(3)}))], {})


@pytest.mark.parametrize("save", [lambda path: write_tensors(path, {"a": torch.ones(3)}, {}), with_part])
def test_the_next_save_removes_what_is_an_hour_old(tmp_path, save):
    for name in (*LEFT, *OTHERS):
        (tmp_path / name).write_bytes(b"half")
        age(tmp_path / name, 3700)
    (tmp_path / f".new-{'0f' * 16}.tmp").write_bytes(b"half")
    (tmp_path / f".folder-{'0f' * 16}.tmp").mkdir()
    age(tmp_path / f".folder-{'0f' * 16}.tmp", 3700)
    save(tmp_path / "whole.safetensors")
    kept = [*OTHERS, f".new-{'0f' * 16}.tmp", f".folder-{'0f' * 16}.tmp", "whole.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that kills")
def test_a_killed_save_leaves_nothing_after_the_next_one(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed.safetensors")]
    assert subprocess.run(command, cwd=ROOT).returncode < 0
    left = list(tmp_path.iterdir())
    assert left and "killed.safetensors" not in [path.name for path in left]
    for path in left:
        age(path, 3700)
    write_tensors(tmp_path / "next.safetensors", {"a": torch.ones(3)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["next.safetensors"]


def test_links_and_what_is_not_there_are_left_alone(tmp_path):
    (tmp_path / "own").write_bytes(b"whole")
    age(tmp_path / "own", 3700)
    (tmp_path / ".tmpAb3xY9").symlink_to(tmp_path / "own")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "none")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_name_is_in_the_same_folder(tmp_path):
    assert unfinished_name(tmp_path / "ink.safetensors").parent == tmp_path
    assert unfinished_name(tmp_path / "ink.safetensors") != unfinished_name(tmp_path / "ink.safetensors")
