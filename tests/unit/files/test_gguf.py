"""GGUF files, written by the format's own package and quantised by it and by ggml, and broken by hand."""

import builtins
import math
import struct
import time

import ggml
import gguf
import numpy as np
import pytest
import torch

from delta.extraction.pair import compare
from delta.files.checkpoint import Checkpoint
from delta.files.gguf_header import read_gguf_header
from delta.files.packed import ERRORS, NUMBERS, PACKED, packed_variance, unpacked
from delta.files.stored_weight import WeightFile
from delta.linear_algebra.noise import floor, rounding_variance

LAYER = "double_blocks.0.img_mlp.0"
# Without these it is no Flux.
MARKS = ("double_blocks.0.img_mod.lin.weight", "single_blocks.0.modulation.lin.weight", "img_in.weight")
# What the package itself can quantise to, in blocks.
BY_PACKAGE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
# For these ggml makes tables for many seconds first: `dev.py bench packed` has their figures.
SLOW = ("IQ1_M", "IQ2_S", "IQ2_XS")
needs_ggml = pytest.mark.skipif(ggml.library() is None, reason=ggml.ABSENT)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return 0.03 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_package(weight: torch.Tensor, kind: str) -> np.ndarray:
    return gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType[kind])


def flat(stored: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(stored).flatten()


def test_a_block_of_q8_0_by_hand():
    """Half of a float16 scale, and 32 numbers: each is scale times number."""
    numbers = np.arange(-16, 16, dtype=np.int8)
    stored = np.frombuffer(np.float16(0.5).tobytes() + numbers.tobytes(), np.uint8).copy()
    value = unpacked(torch.from_numpy(stored), "Q8_0", (2, 16))
    assert torch.equal(value, torch.from_numpy(numbers).float().reshape(2, 16) / 2) and value.dtype == torch.float32
    assert packed_variance(torch.from_numpy(stored), "Q8_0") == pytest.approx(0.97 * 0.5**2 / 12)


def test_a_block_of_q4_k_by_hand():
    """Eight groups of 32 numbers of 4 bits: scale * 6 bits * number - scale of the least * 6 bits."""
    scales, least = [1, 2, 3, 4], [5, 6, 7, 8]
    # Of groups 0 to 3 these lie in the low 6 bits of a byte each; groups 4 to 7 are left 0.
    packed = bytes(scales) + bytes(least) + bytes(4)
    quarters = bytes(16 * [0x21] + 16 * [0x43]) * 4
    block = np.float16(0.5).tobytes() + np.float16(0.25).tobytes() + packed + quarters
    value = unpacked(torch.tensor(list(block), dtype=torch.uint8), "Q4_K", (8, 32))
    for group in range(4):
        # Two groups share their bytes: the low halves are of the first.
        first, second = (1, 3) if group % 2 == 0 else (2, 4)
        expected = [0.5 * scales[group] * number - 0.25 * least[group] for number in (first, second)]
        assert value[group].unique().tolist() == expected
    assert torch.equal(value[4:], torch.zeros(4, 32))
    steps = sum((0.5 * scale) ** 2 for scale in scales) / 8
    assert packed_variance(torch.tensor(list(block), dtype=torch.uint8), "Q4_K") == pytest.approx(0.77 * steps / 12)


@needs_ggml
@pytest.mark.parametrize("kind", [kind for kind in PACKED if kind not in SLOW])
def test_rounding_by_ggml_is_as_predicted(kind):
    # Looking through tables takes ggml long.
    shape = (24 if kind in ggml.NEED_IMPORTANCE else 256, 512)
    one, two = random(*shape, seed=2), 2 * random(*shape, seed=3)
    stored = [ggml.quantised(weight, kind) for weight in (one, two)]
    values = [unpacked(flat(each), kind, shape) for each in stored]
    for value, each in zip(values, stored):
        assert torch.equal(value, ggml.dequantised(each, kind))
    deviation = math.sqrt(sum(packed_variance(flat(each), kind) for each in stored))
    noise = (values[0] - values[1]).double() - (one - two).double()
    assert float(noise.square().mean()) ** 0.5 == pytest.approx(deviation, rel=0.05)
    assert float(torch.linalg.matrix_norm(noise, 2)) < 1.05 * floor(deviation, shape)


@pytest.mark.parametrize("kind", BY_PACKAGE)
def test_rounding_by_the_package_is_as_predicted(kind):
    weight = random(256, 512, seed=4) * torch.linspace(0.1, 3, 256)[:, None]
    stored = by_package(weight, kind)
    noise = unpacked(flat(stored), kind, (256, 512)).double() - weight.double()
    assert float(noise.square().mean()) == pytest.approx(packed_variance(flat(stored), kind), rel=0.08)


@needs_ggml
@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != "MXFP4"])
def test_the_lowest_bits_are_one_step_apart(kind):
    """Two neighbours on the grid: nothing that the type can hold lies between."""
    size, length = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    stored = ggml.quantised(random(1, size, seed=5), kind)
    start, stop, bits, _ = NUMBERS[kind]
    assert 0 <= start < stop <= length
    count = (stop - start) * bin(bits).count("1")
    assert count == size
    others = stored.copy()
    others[:, start:stop] ^= bits
    before, after = (unpacked(flat(each), kind, (size,)) for each in (stored, others))
    assert (before != after).all()
    for byte in range(start, stop):
        for bit in range(8):
            changed = stored.copy()
            changed[0, byte] ^= 1 << bit
            moved = (unpacked(flat(changed), kind, (size,)) - before).abs()
            # The other bits of a number move it further.
            assert (moved[moved > 0] >= (after - before).abs()[moved > 0] * 0.999).all() or kind.startswith("IQ4")


@needs_ggml
def test_long_weights_are_unpacked_in_parts(monkeypatch):
    import delta.files.packed as packed

    stored = ggml.quantised(random(40, 512), "Q6_K")
    whole = unpacked(flat(stored), "Q6_K", (40, 512))
    monkeypatch.setattr(packed, "AT_ONCE", 3 * 256)
    assert torch.equal(unpacked(flat(stored), "Q6_K", (40, 512)), whole)
    monkeypatch.setattr(packed, "SAMPLE", 1000)
    assert packed_variance(flat(stored), "Q6_K") == pytest.approx(
        float((whole - random(40, 512)).double().square().mean()), rel=0.15
    )


@needs_ggml
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "IQ3_S"])
def test_files_are_read_as_the_package_reads_them(tmp_path, kind):
    weight, bias = random(6, 512), random(6)
    stored = ggml.quantised(weight, kind)
    path = ggml.write_gguf(
        tmp_path / "model.gguf",
        {
            f"{LAYER}.weight": (stored, kind),
            f"{LAYER}.bias": (bias.numpy(), "F32"),
            "double_blocks.0.img_mlp.2.weight": (by_package(weight, "BF16"), "BF16"),
            "double_blocks.1.img_mlp.2.weight": (weight.half().numpy(), "F16"),
        }
        | {name: (weight.numpy(), "F32") for name in MARKS},
    )
    header = read_gguf_header(path)
    for tensor in gguf.GGUFReader(path).tensors:
        mine = header[tensor.name]
        assert (mine.dtype, mine.shape) == (tensor.tensor_type.name, tuple(tensor.shape.tolist())[::-1])
        assert mine.start == tensor.data_offset
    checkpoint = Checkpoint(path)
    assert checkpoint.architecture == "Flux.1" and not checkpoint.left_out
    value, variance = checkpoint.read(f"diffusion_model.{LAYER}.weight")
    assert torch.equal(value, ggml.dequantised(stored, kind)) and value.shape == (6, 512)
    assert variance == pytest.approx(packed_variance(flat(stored), kind))
    assert torch.equal(checkpoint.read(f"diffusion_model.{LAYER}.bias").value, bias)
    for block, dtype in ((0, torch.bfloat16), (1, torch.float16)):
        value, variance = checkpoint.read(f"diffusion_model.double_blocks.{block}.img_mlp.2.weight")
        assert torch.equal(value, weight.to(dtype).float()) and variance == rounding_variance(weight.to(dtype), dtype)
    assert torch.equal(WeightFile(path).read(f"{LAYER}.weight").value, ggml.dequantised(stored, kind))


def test_weights_without_whole_blocks_keep_their_shape(tmp_path):
    """ComfyUI-GGUF's tools store convolutions as rows of 256, and their shape beside them."""
    weight = random(32, 16, 3, 3)
    rows = by_package(weight.reshape(-1, 256), "Q8_0")
    name = "input_blocks.1.0.in_layers.2.weight"
    tensors = {name: (rows, "Q8_0"), "out.2.weight": (random(4, 32, 3, 3).numpy(), "F32")}
    path = ggml.write_gguf(
        tmp_path / "unet.gguf", tensors, "sdxl", **{f"comfy.gguf.orig_shape.{name}": tuple(weight.shape)}
    )
    checkpoint = Checkpoint(path)
    assert checkpoint.shapes[f"diffusion_model.{name}"] == (32, 16, 3, 3)
    value = checkpoint.read(f"diffusion_model.{name}").value
    assert torch.equal(value.reshape(-1, 256), torch.from_numpy(gguf.dequantize(rows, gguf.GGMLQuantizationType.Q8_0)))


@needs_ggml
def test_a_gguf_is_either_side_of_a_pair(tmp_path):
    from safetensors.torch import save_file

    weight = random(64, 256)
    tensors = {f"{LAYER}.weight": weight} | {name: random(8, 4) for name in MARKS}
    save_file(
        {f"model.diffusion_model.{name}": value for name, value in tensors.items()}, tmp_path / "base.safetensors"
    )
    packed = {name: (value.numpy(), "F32") for name, value in tensors.items()}
    packed[f"{LAYER}.weight"] = ggml.quantised(weight, "Q5_K"), "Q5_K"
    plain, quantised = (
        Checkpoint(tmp_path / "base.safetensors"),
        Checkpoint(ggml.write_gguf(tmp_path / "q.gguf", packed)),
    )
    for pair in (compare(plain, quantised), compare(quantised, plain)):
        assert set(pair.names) == {f"diffusion_model.{name}" for name in tensors}
        assert not pair.notes


@pytest.fixture
def whole(tmp_path):
    """A small GGUF file, its bytes, and a function that writes other bytes in its place."""
    tensors = {
        f"{LAYER}.weight": (by_package(random(4, 64), "Q8_0"), "Q8_0"),
        "img_in.weight": (random(8, 4).numpy(), "F32"),
    }
    path = ggml.write_gguf(tmp_path / "model.gguf", tensors, **{"tokenizer.ggml.tokens": ["a", "b"]})

    def write(content: bytes):
        path.write_bytes(content)
        return path

    return path.read_bytes(), write


def test_files_that_are_cut_short_are_refused_wherever_they_end(whole):
    content, write = whole
    for length in range(len(content) - 32):
        with pytest.raises(
            ValueError, match=r"model\.gguf is not a complete GGUF file|model\.gguf is not a known kind of model"
        ):
            Checkpoint(write(content[:length]))


def test_no_byte_of_a_header_makes_more_than_an_error(whole):
    """Any wrong byte gives the same tensors, other ones, or an error that names the file, and soon."""
    content, write = whole
    end = content.index(b"img_in.weight") + 48
    begin, refused = time.perf_counter(), 0
    for place in range(end):
        for value in (0x00, 0x7F, 0xFF):
            try:
                read_gguf_header(write(content[:place] + bytes([value]) + content[place + 1 :]))
            except ValueError as error:
                assert "model.gguf" in str(error), error
                refused += 1
    assert end < refused < 3 * end and time.perf_counter() - begin < 20


def edited(content: bytes, name: str, behind: int, form: str, value: int) -> bytes:
    """The bytes with another number so many bytes behind a tensor's name."""
    place = content.index(name.encode()) + len(name) + behind
    packed = struct.pack(f"<{form}", value)
    return content[:place] + packed + content[place + len(packed) :]


HUGE = 2**60


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: b"GGML" + c[4:], "does not begin as one"),
        (lambda c: c[:4] + struct.pack("<I", 1) + c[8:], "of version 1"),
        (lambda c: c[:4] + struct.pack(">I", 3) + c[8:], "the other byte order"),
        (lambda c: c[:8] + struct.pack("<Q", HUGE) + c[16:], "tensors are more than the file has room for"),
        (lambda c: c[:16] + struct.pack("<Q", HUGE) + c[24:], "metadata are more than the file has room for"),
        (lambda c: c[:24] + struct.pack("<Q", HUGE) + c[32:], "letters of a name are more than the file has room for"),
        (lambda c: edited(c, "tokenizer.ggml.tokens", 8, "Q", HUGE), "texts are more than the file has room for"),
        (lambda c: edited(c, "tokenizer.ggml.tokens", 4, "I", 9), "metadata of an unknown type"),
        (lambda c: edited(c, "tokenizer.ggml.tokens", 0, "I", 77), "metadata of an unknown type"),
        (lambda c: edited(c, "img_in.weight", 0, "I", 9), "tensor img_in.weight has 9 dimensions"),
        (lambda c: edited(c, "img_in.weight", 4, "Q", HUGE), "the tensor img_in.weight begins at byte"),
        (lambda c: edited(c, "img_in.weight", 24, "Q", HUGE), "the tensor img_in.weight begins at byte"),
        (lambda c: edited(c, "img_in.weight", 24, "Q", 33), "the tensor img_in.weight begins at byte"),
        (
            lambda c: edited(c, "img_in.weight", 20, "I", 12),
            "rows of img_in.weight, 4 numbers long, are not whole blocks",
        ),
        (lambda c: edited(c, f"{LAYER}.weight", 4, "Q", 65), f"rows of {LAYER}.weight, 65 numbers long"),
        (lambda c: edited(c, "img_in.weight", 20, "I", 999), "img_in.weight has the GGUF type 999.*upgrade gguf"),
        (lambda c: edited(c, "img_in.weight", 20, "I", 5), "img_in.weight has the GGUF type 5"),
    ],
)
def test_wrong_headers_are_told_by_file_and_tensor(whole, edit, message):
    content, write = whole
    with pytest.raises(ValueError, match=rf"model\.gguf.*{message}"):
        Checkpoint(write(edit(content)))


def test_one_name_twice_is_refused(whole):
    content, write = whole
    with pytest.raises(ValueError, match=f"two tensors {LAYER}"):
        long, short = f"{LAYER}.weight", "img_in.weight"
        place = content.index(short.encode()) - 8
        renamed = struct.pack("<Q", len(long)) + long.encode()
        Checkpoint(write(content[:place] + renamed + content[place + 8 + len(short) :]))


@pytest.mark.parametrize("shape", [(3, 64), (-4, -64), (4, 64, 0)])
def test_an_original_shape_of_another_size_is_refused(tmp_path, shape):
    tensors = {"img_in.weight": (random(4, 64).numpy(), "F32")}
    path = ggml.write_gguf(tmp_path / "m.gguf", tensors, **{"comfy.gguf.orig_shape.img_in.weight": shape})
    with pytest.raises(ValueError, match=r"m\.gguf.*img_in\.weight"):
        Checkpoint(path)


def test_types_that_cannot_be_read_are_told_by_name(tmp_path):
    stored = np.zeros((4, 36), np.uint8)
    path = ggml.write_gguf(tmp_path / "m.gguf", {f"{LAYER}.weight": (stored, "NVFP4")})
    with pytest.raises(ValueError, match=rf"m\.gguf: {LAYER}\.weight is packed \(NVFP4\).*another type"):
        Checkpoint(path)
    for kind in ("Q8_K", "TQ1_0", "F32"):
        with pytest.raises(ValueError, match=f"type {kind} cannot be read"):
            packed_variance(torch.zeros(292, dtype=torch.uint8), kind)


def test_bytes_that_are_too_few_for_the_shape_are_refused():
    with pytest.raises(ValueError, match="68 bytes of Q8_0 are not 2 x 64 numbers"):
        unpacked(torch.zeros(68, dtype=torch.uint8), "Q8_0", (2, 64))


def test_infinite_scales_are_refused_by_file_and_tensor(tmp_path):
    stored = by_package(random(4, 64), "Q8_0")
    stored[2, :2] = np.frombuffer(np.float16(np.inf).tobytes(), np.uint8)
    checkpoint = Checkpoint(ggml.write_gguf(tmp_path / "m.gguf", {f"{LAYER}.weight": (stored, "Q8_0")}))
    with pytest.raises(ValueError, match=rf"m\.gguf: {LAYER}\.weight holds NaN or infinite"):
        checkpoint.read(f"diffusion_model.{LAYER}.weight")


def test_shards_of_gguf_belong_together(tmp_path):
    for number, name in enumerate((f"{LAYER}.weight", "img_in.weight"), 1):
        ggml.write_gguf(tmp_path / f"m-0000{number}-of-00002.gguf", {name: (random(8, 4).numpy(), "F32")})
    assert len(Checkpoint(tmp_path / "m-00002-of-00002.gguf").shapes) == 2
    (tmp_path / "m-00001-of-00002.gguf").unlink()
    with pytest.raises(FileNotFoundError, match="m-00001-of-00002.gguf"):
        Checkpoint(tmp_path / "m-00002-of-00002.gguf")


def test_without_the_package_the_remedy_is_told(whole, monkeypatch):
    content, write = whole
    imported = builtins.__import__

    def without(name, *rest):
        if name == "gguf":
            raise ModuleNotFoundError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install -r requirements.txt"):
        Checkpoint(write(content))


def test_every_type_of_the_package_is_read_or_refused():
    """A new type of the package must be looked at."""
    plain = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}
    refused = {"Q8_1", "Q8_K", "NVFP4", "Q1_0", "TQ1_0", "TQ2_0"}
    assert {kind.name for kind in gguf.GGMLQuantizationType} == plain | refused | set(PACKED)
    assert not set(NUMBERS) & set(ERRORS)
