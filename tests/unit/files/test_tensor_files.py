"""Whole or nothing: what stays on the disk when writing or reading fails."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from delta.files.tensor_files import read_tensors, tensor_names, write_tensors

ROOT = Path(__file__).resolve().parents[3]

# Files of this process may not grow beyond 1000 bytes, which stops a write half-way as a full disk does.
LIMITED = """
import resource, signal, sys, torch
from delta.files.tensor_files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_tensors(sys.argv[1], {"a": torch.zeros(10_000)}, {})
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_write_that_stops_half_way_leaves_no_file(tmp_path):
    target = tmp_path / "large.safetensors"
    command = [sys.executable, "-c", LIMITED, str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "large.safetensors could not be written" in done.stdout and "nothing was kept" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_check_that_fails_leaves_no_file(tmp_path):
    def refuse(written):
        assert torch.equal(written["a"], torch.ones(3))
        raise ValueError("not as it was")

    with pytest.raises(ValueError, match="not as it was"):
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)}, {}, refuse)
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_read_with_its_metadata(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2, 3).T}, {"key": "value"})
    tensors, metadata = read_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["a"], torch.ones(3, 2)) and metadata == {"key": "value"}


@pytest.mark.parametrize("ending", ["SAFETENSORS", "Sft"])
def test_endings_in_capitals_are_read(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    save_file({"a": torch.ones(3)}, path)
    assert torch.equal(read_tensors(path)[0]["a"], torch.ones(3)) and tensor_names(path) == ["a"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\x10", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", b"<html>not found</html>"],
    ids=["empty", "one byte", "huge header", "header longer than the file", "a web page"],
)
def test_files_that_are_no_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.safetensors is not a complete safetensors file"):
        read_tensors(path)


def test_a_header_that_promises_more_than_the_file_has(tmp_path):
    save_file({"a": torch.ones(100)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-40])
    with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
        read_tensors(tmp_path / "cut.safetensors")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Runs:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Runs()}, protocol=2))
    with pytest.raises(ValueError, match="evil.pt cannot be read safely"):
        read_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float32])
def test_nan_is_found_in_every_type(tmp_path, dtype):
    save_file({"b": torch.tensor([1.0, float("nan")]).to(dtype)}, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="nan.safetensors: the tensor b holds NaN"):
        read_tensors(tmp_path / "nan.safetensors")


def test_a_folder_that_cannot_be_written_to_is_named():
    folder = Path("/proc")
    if not folder.is_dir():
        pytest.skip("this system has no /proc, a folder that nobody can write to")
    with pytest.raises(OSError, match="choose a writable folder; nothing was kept"):
        write_tensors(folder / "lora.safetensors", {"a": torch.zeros(1)}, {})
