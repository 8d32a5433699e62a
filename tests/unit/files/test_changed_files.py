"""Files that other programs cut short or write anew while they are read, and files larger than memory."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from delta.files import tensor_files
from delta.files.checkpoint import Checkpoint
from delta.files.file_reader import FileReader
from delta.files.safetensors_header import read_safetensors_header
from delta.files.stored_weight import WeightFile
from delta.files.tensor_files import all_finite, read_tensors
from delta.model_file.source import TensorFile

ROOT = Path(__file__).resolve().parents[3]
WEIGHT, FIRST = "model.diffusion_model.out.2.weight", "model.diffusion_model.input_blocks.0.0.weight"
TENSORS = {WEIGHT: torch.ones(100_000), FIRST: torch.full((3,), 2.0)}

# Both would end the process by SIGBUS if anything of the file were mapped.
CUT_SHORT = """
import os, sys
from delta.files.checkpoint import Checkpoint
from delta.files.tensor_files import read_tensors
path = sys.argv[1]
tensors, checkpoint = read_tensors(path)[0], Checkpoint(path)
weight = checkpoint.read("diffusion_model.out.2.weight").value
os.truncate(path, 5000)
print(float(sum(tensor.sum() for tensor in tensors.values())), float(weight.sum()))
for read in (lambda: checkpoint.read("diffusion_model.out.2.weight"), lambda: read_tensors(path), lambda: Checkpoint(path)):
    try:
        read()
    except ValueError as error:
        print(error)
"""

# No more memory than is in use may be had, but for 300 MB, of which a file of 40 GB is opened.
LARGE = """
import resource, sys
from pathlib import Path
from delta.files.checkpoint import Checkpoint
from delta.model_file.source import TensorFile
path = sys.argv[1]
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
print(float(Checkpoint(path).read("diffusion_model.out.2.weight").value.sum()))
print(TensorFile(path).sketch()["model.diffusion_model.input_blocks.0.0.weight"].shape)
"""


@pytest.fixture
def path(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def run(script, path):
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_a_file_that_is_cut_short_ends_no_process(path):
    first, *sentences = run(CUT_SHORT, path).stdout.splitlines()
    assert first == "100006.0 100000.0" and len(sentences) == 3
    assert "a.safetensors changed while it was being read" in sentences[0]
    assert all("a.safetensors is not a complete safetensors file" in sentence for sentence in sentences[1:])


def test_numbers_stay_when_the_file_is_written_anew(path):
    tensors = read_tensors(path)[0]
    with path.open("rb+") as file:
        file.seek(1000)
        file.write(b"\7" * 100_000)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def written_anew(path):
    with path.open("rb+") as file:
        file.seek(-4, 2)
        file.write(bytes(4))


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def longer(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [written_anew, replaced, longer, Path.unlink])
@pytest.mark.parametrize("kind", [Checkpoint, WeightFile, TensorFile])
def test_a_weight_of_a_changed_file_is_refused(path, change, kind):
    file = kind(path)
    name = next(name for name in (file.shapes if kind is not TensorFile else file.tensors) if "out.2" in name)
    file.read(name)
    change(path)
    with pytest.raises(ValueError, match=r"a\.safetensors (changed|can no longer be read).*the node again\."):
        file.read(name)


@pytest.mark.parametrize("change", [written_anew, longer, lambda path: os.truncate(path, 200)])
def test_a_file_that_changes_meanwhile_is_refused(path, change, monkeypatch):
    read = FileReader.read

    def slowly(file, start, size):
        found = read(file, start, size)
        if start > 8:
            change(path)
        return found

    monkeypatch.setattr(tensor_files.FileReader, "read", slowly)
    with pytest.raises(ValueError, match=r"a\.safetensors changed while it was being read"):
        read_tensors(path)


@pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="this system does not tell how much memory is in use"
)
def test_a_file_larger_than_memory_is_opened(tmp_path):
    path, size = tmp_path / "large.safetensors", 40_000_000_000
    entries = {
        WEIGHT: {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]},
        FIRST: {"dtype": "F16", "shape": [size // 4, 2], "data_offsets": [4000, 4000 + size]},
    }
    header = json.dumps(entries)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode() + torch.ones(1000).numpy().tobytes())
        try:
            file.truncate(8 + len(header) + 4000 + size)
        except OSError:
            pytest.skip("this disk has no room for a file of 40 GB, even an empty one")
    assert run(LARGE, path).stdout.splitlines() == ["1000.0", f"torch.Size([{size // 4}, 2])"]


def test_a_sketch_has_the_numbers_of_small_tensors(path):
    sketch = TensorFile(path).sketch()
    assert sketch[WEIGHT].is_meta and sketch[WEIGHT].shape == (100_000,) and sketch[WEIGHT].dtype == torch.float32
    assert sketch[FIRST].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "header",
    [
        *('{"a":3}', '{"a":{}}', "[]", "3", "{", '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}'),
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}',
        '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
        '{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"a\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % ("9" * 400),
        '{"a":' + "[" * 5000,
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, header):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    for read in (read_safetensors_header, read_tensors, Checkpoint):
        with pytest.raises(
            ValueError, match=r"bad\.safetensors is not a complete safetensors file \(.*download or copy"
        ):
            read(path)


def test_damage_anywhere_ends_in_a_sentence_or_is_none(path):
    chance, whole = random.Random(21), path.read_bytes()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            content[chance.randrange(300)] = chance.randrange(256)
        path.write_bytes(content)
        try:
            tensors, metadata = read_tensors(path)
        except ValueError as error:
            assert str(error).startswith("a.safetensors") and "\ufffd" not in str(error)
            str(error).encode()
        else:
            assert sum(tensor.numel() for tensor in tensors.values()) <= 2 * 400_012


def test_metadata_that_is_no_text_is_left_out(tmp_path):
    header = '{"__metadata__":{"a":"b","c":[1]},"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    assert read_tensors(path)[1] == {"a": "b"}


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.complex64]
)
def test_finite_and_not(dtype):
    values = torch.tensor([[1.0, -2.0], [0.0, 3.0]]).to(dtype)
    assert all_finite(values) and all_finite(values.T) and all_finite(values[:0])
    for bad in (float("nan"), float("inf"), -float("inf")):
        broken = values.clone()
        broken[1, 0] = bad
        assert not all_finite(broken)
    assert all_finite(torch.tensor([2**40]))
