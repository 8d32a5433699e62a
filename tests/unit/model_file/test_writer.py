"""The writer against safetensors' own reader."""

import os
import shutil

import pytest
import torch
from safetensors import safe_open

from delta.model_file.formats import Rounding
from delta.model_file.writer import TYPES, Entry, Made, Part, digest, write_model


def values() -> dict[str, torch.Tensor]:
    """One tensor of every type, of odd sizes, and empty and single ones."""
    found = {
        str(dtype): torch.arange(3).to(dtype)
        for dtype in TYPES
        if dtype.itemsize > 1 or dtype in (torch.int8, torch.bool)
    }
    found |= {
        "u8": torch.arange(5, dtype=torch.uint8),
        "f8": torch.tensor([[1.5, -2.0, 448.0]]).to(torch.float8_e4m3fn),
    }
    return found | {"single": torch.tensor(2.5), "empty": torch.zeros(0), "wide": torch.arange(12.0).reshape(3, 4).T}


def part(name: str, tensor: torch.Tensor, calls: list | None = None) -> Part:
    def make() -> Made:
        if calls is not None:
            calls.append(name)
        return Made({name: tensor}, [Rounding(name, "as it is", 1.0, 0.0, 0.0)])

    return Part([Entry(name, tensor.dtype, tuple(tensor.shape))], make)


def parts(calls: list | None = None) -> list[Part]:
    return [part(name, tensor, calls) for name, tensor in values().items()]


def test_safetensors_reads_what_was_written(tmp_path):
    path = tmp_path / "model.safetensors"
    written = write_model(path, parts(), {"format": "pt", "word": "模型"})
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == values().keys() and file.metadata() == {"format": "pt", "word": "模型"}
        for name, expected in values().items():
            found = file.get_tensor(name)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert torch.equal(found.float(), expected.float()), name
    assert os.listdir(tmp_path) == ["model.safetensors"] and path.stat().st_size == written.size
    assert written.digests["wide"] == digest(values()["wide"].contiguous())
    assert [row.name for row in written.roundings] == list(values())


def test_a_file_is_never_replaced(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="already exists"):
        write_model(path, parts(), {})
    assert path.read_text() == "mine"


class Stop(BaseException):
    pass


def stop_at(share: float):
    def step(done: int, total: int) -> None:
        if done >= share * total:
            raise Stop

    return step


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_cancel_leaves_nothing(tmp_path, share):
    with pytest.raises(Stop):
        write_model(tmp_path / "model.safetensors", parts(), {}, stop_at(share))
    assert os.listdir(tmp_path) == []


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    folder, calls = tmp_path / "unfinished", []
    folder.mkdir()
    with pytest.raises(Stop):
        write_model(tmp_path / "model.safetensors", parts(calls), {}, stop_at(0.25), folder=folder)
    first = list(calls)
    assert 2 <= len(first) < len(values()) and os.listdir(tmp_path) == ["unfinished"]
    written = write_model(tmp_path / "model.safetensors", parts(calls), {}, folder=folder)
    assert calls == list(values()) and written.resumed == len(first)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    again = write_model(tmp_path / "again.safetensors", parts(), {})
    assert again.digests == written.digests and again.roundings == written.roundings
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_an_unfinished_file_of_another_plan_is_written_anew(tmp_path):
    folder, calls = tmp_path / "unfinished", []
    folder.mkdir()
    with pytest.raises(Stop):
        write_model(tmp_path / "model.safetensors", parts(), {"a": "b"}, stop_at(0.25), folder=folder)
    assert write_model(tmp_path / "model.safetensors", parts(calls), {}, folder=folder).resumed == 0
    assert calls == list(values())


def test_what_the_disk_gives_back_is_compared(tmp_path):
    path, damaged = tmp_path / "model.safetensors", []

    def damage(done: int, total: int) -> None:
        if done == total // 2 and not damaged:
            (file,) = tmp_path.glob(".*.tmp")
            damaged.append(file)
            with file.open("rb+") as content:
                content.seek(-1, os.SEEK_END)
                content.write(b"\xff")

    with pytest.raises(ValueError, match="model.safetensors: u8|f8|int8|bool.*was read back with different values"):
        write_model(path, parts(), {}, damage)
    assert damaged and os.listdir(tmp_path) == []


def test_a_check_that_fails_leaves_nothing(tmp_path):
    def check(path, written):
        assert path.stat().st_size == written.size
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        write_model(tmp_path / "model.safetensors", parts(), {}, check=check)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_beforehand(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    huge = Part([Entry("huge", torch.uint8, (free,))], lambda: pytest.fail("was made"))
    with pytest.raises(OSError, match=r"model.safetensors needs .* GB, but .* GB free. Free some"):
        write_model(tmp_path / "model.safetensors", [huge], {})
    assert os.listdir(tmp_path) == []


def test_a_tensor_of_another_shape_than_announced_is_refused(tmp_path):
    wrong = Part([Entry("a", torch.float32, (2,))], lambda: Made({"a": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"a became torch.float32 \(3,\)"):
        write_model(tmp_path / "model.safetensors", [wrong], {})
    assert os.listdir(tmp_path) == []
