"""Pickles: what they would make is known before it is made, and damage ends in one sentence."""

import io
import pickle
import random
import re
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from delta.files import pickles
from delta.files.tensor_files import read_tensors, tensor_names

SENTENCE = re.compile(r"bad\.pth\b.*\b(safetensors version|Export|Use another copy).*\.")


def saved(content, old=False):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def rezipped(content, change):
    """The zip file with the entries that change(name, bytes) gives."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, *change(entry.filename, old.read(entry)))
    return made.getvalue()


def refusal(folder, content):
    path = folder / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_tensors(path)
    assert SENTENCE.match(str(caught.value)), caught.value
    return str(caught.value)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_what_training_scripts_save_is_read(tmp_path, old):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.randn(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    content = {
        "model": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "shape": torch.Size([3]),
        "epoch": 1.5,
    }
    (tmp_path / "a.pth").write_bytes(saved(content, old))
    tensors = read_tensors(tmp_path / "a.pth")[0]
    assert all(torch.equal(tensors[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_every_kind_of_plain_tensor_is_read(tmp_path, old):
    shared = torch.arange(6.0)
    content = {
        "parameter": nn.Parameter(torch.ones(2)),
        "transposed": torch.arange(6).view(2, 3).T,
        "part": shared[1:5:2],
        "tied": shared,
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3.0),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "truth": torch.tensor([True]),
    }
    if not old:
        # PyTorch writes no others in the old way that it could read.
        content["float8"] = torch.ones(3).to(torch.float8_e4m3fn)
    (tmp_path / "a.pth").write_bytes(saved(content, old))
    read = read_tensors(tmp_path / "a.pth")[0]
    assert read.keys() == content.keys() and not any(tensor.requires_grad for tensor in read.values())
    assert all(torch.equal(read[name].float(), tensor.float()) for name, tensor in content.items())


def test_a_file_without_checksums_is_read(tmp_path):
    content = bytearray(saved({"a": torch.ones(3)}))
    for entry in zipfile.ZipFile(io.BytesIO(content)).infolist():
        content[entry.header_offset + 14 : entry.header_offset + 18] = bytes(4)
    (tmp_path / "a.pth").write_bytes(content)
    assert torch.equal(read_tensors(tmp_path / "a.pth")[0]["a"], torch.ones(3))


class Call:
    """What pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def deflated(name, content):
    return content, zipfile.ZIP_DEFLATED


def larger(name, content):
    """The pickle says that there are 7000 numbers, where 7 are stored."""
    return (content.replace(b"K\x07", b"M\x58\x1b"),) if name.endswith("data.pkl") else (content,)


NUMBERS = torch.ones(50_000)
BOMBS = {
    "numbers shown many times": saved({"a": torch.ones(1).expand(30_000, 30_000)}),
    "numbers shown many times, before 1.6": saved({"a": torch.ones(1).expand(30_000, 30_000)}, old=True),
    "compressed": rezipped(saved({"a": torch.zeros(100_000)}), deflated),
    "more numbers than stored": rezipped(saved({"a": torch.ones(7)}), larger),
    "more numbers than stored, before 1.6": saved({"a": torch.ones(7)}, old=True).replace(b"K\x07", b"M\x58\x1b"),
    # Tied weights are common, ties of all weights are not.
    "numbers under many names": saved({str(number): NUMBERS[:] for number in range(9)}),
    "sparse": saved({"a": torch.eye(3).to_sparse()}),
    "quantised": saved({"a": torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8)}),
    "nested": saved({"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}),
    "meta": saved({"a": torch.empty(10**12, device="meta")}),
    "bytes": saved({"a": Call(bytearray, 10**12)}),
    "storage": saved({"a": Call(torch.UntypedStorage, 10**12)}),
    "tensor by its size": saved({"a": Call(torch.FloatTensor, 10**6, 10**6)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_larger_than_the_file_is_made(name, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("it was made")

    monkeypatch.setattr(pickles.torch, "load", load)
    assert "cannot be read safely as a file of tensors: " in refusal(tmp_path, BOMBS[name])


def test_tuples_in_each_other_end_in_a_sentence(tmp_path):
    # Python compares such a key by a recursion that ends its process.
    key = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
    refusal(tmp_path, rezipped(saved({}), lambda name, old: (key if name.endswith("data.pkl") else old,)))


@pytest.mark.parametrize(
    "content",
    [
        *({"state_dict": value} for value in ([torch.ones(2)], torch.ones(2), "text", {})),
        *({}, [torch.ones(2)], torch.ones(2), "text", None, 3, {0: torch.ones(2), "a": torch.ones(2)}),
        {"state_dict": {1: torch.ones(2)}},
        OrderedDict(a=torch.ones(2), b="text"),
    ],
    ids=str,
)
def test_what_is_no_state_dict_says_so(tmp_path, content):
    assert "Export the model's state_dict" in refusal(tmp_path, saved(content))
    assert all(isinstance(name, str) for name in tensor_names(tmp_path / "bad.pth"))


def test_complex_nan_is_found(tmp_path):
    assert "the tensor a holds NaN" in refusal(tmp_path, saved({"a": torch.tensor([complex("nan")])}))


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_a_file_cut_short_anywhere_ends_in_a_sentence(tmp_path, old):
    whole = saved({"a": torch.ones(3), "b": torch.ones(2)}, old)
    for length in range(0, len(whole) - 1, 13):
        refusal(tmp_path, whole[:length])


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
def test_damage_anywhere_ends_in_a_sentence_or_is_none(tmp_path, old):
    chance, whole, path = (
        random.Random(21),
        saved({"a": torch.ones(3), "b": torch.ones(2, 2)}, old),
        tmp_path / "bad.pth",
    )
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 20))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            tensors = read_tensors(path)[0]
        except ValueError as error:
            assert SENTENCE.match(str(error)), error
        else:
            assert sum(tensor.numel() for tensor in tensors.values()) < 100


@pytest.mark.parametrize("protocol", range(5))
def test_other_pickles_are_refused(tmp_path, protocol):
    refusal(tmp_path, pickle.dumps({"a": 1}, protocol))


def test_a_file_that_may_not_be_opened_is_no_damage(tmp_path):
    with pytest.raises(IsADirectoryError):
        pickles.load_pickle(tmp_path)
