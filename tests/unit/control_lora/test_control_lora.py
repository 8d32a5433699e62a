"""The Control-LoRA format, extraction, resizing, baking and comparing, with a U-Net of a few small tensors."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from delta.control.compare import compare_outputs, error_charts, error_report
from delta.control.weights import ControlBlock, ControlLayout
from delta.control_lora.bake import bake_control_lora, write_baked
from delta.control_lora.extract import BaseMatch, extract_control_lora
from delta.control_lora.format import (
    FIRST,
    MARKER,
    ControlLora,
    family,
    is_base_matrix,
    parse_control_lora,
    read_control_lora,
    stores_whole,
    to_tensors,
    write_factors,
)
from delta.control_lora.net_file import ControlNetFile
from delta.control_lora.resize import control_lora_report, ranks_charts, resize_control_lora
from delta.control_lora.save import cast, save_control_lora
from delta.extraction.extract import Settings
from delta.files.checkpoint import Checkpoint
from delta.linear_algebra.factors import LowRank
from delta.linear_algebra.rank import RankChoice

CONTEXT = 768
BLOCK = "input_blocks.1.1.transformer_blocks.0"
SHAPES = {
    "time_embed.0.weight": (64, 32),
    "time_embed.0.bias": (64,),
    FIRST: (32, 4, 3, 3),
    "input_blocks.0.0.bias": (32,),
    "input_blocks.1.0.in_layers.0.weight": (32,),
    "input_blocks.1.0.in_layers.0.bias": (32,),
    "input_blocks.1.0.in_layers.2.weight": (48, 32, 3, 3),
    "input_blocks.1.0.in_layers.2.bias": (48,),
    f"{BLOCK}.attn2.to_q.weight": (48, 48),
    f"{BLOCK}.attn2.to_k.weight": (48, CONTEXT),
    "middle_block.0.in_layers.0.weight": (48,),
    "middle_block.0.in_layers.2.weight": (48, 48, 3, 3),
    "middle_block.0.in_layers.2.bias": (48,),
}
OWN = {
    "input_hint_block.0.weight": (16, 3, 3, 3),
    "input_hint_block.0.bias": (16,),
    "zero_convs.0.0.weight": (32, 32, 1, 1),
    "zero_convs.0.0.bias": (32,),
    "zero_convs.1.0.weight": (48, 48, 1, 1),
    "zero_convs.1.0.bias": (48,),
    "middle_block_out.0.weight": (48, 48, 1, 1),
    "middle_block_out.0.bias": (48,),
}


def numbers(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return torch.randn(shape, generator=generator)


def base_tensors(shapes=SHAPES) -> dict[str, torch.Tensor]:
    extra = {"out.2.weight": (4, 32, 3, 3), "output_blocks.0.0.in_layers.2.weight": (48, 96, 3, 3)}
    return {name: numbers(name, shape) for name, shape in (shapes | extra).items()}


def net_tensors(rank: int = 3, base: dict | None = None) -> dict[str, torch.Tensor]:
    """The base's encoder with an update of this rank in every matrix, and the layers of its own."""
    tensors = {name: numbers(f"own.{name}", shape) for name, shape in OWN.items()}
    for name, value in (base or base_tensors()).items():
        if name not in SHAPES:
            continue
        if value.dim() == 1 or name == FIRST:
            tensors[name] = value + 0.1
            continue
        rows, columns = value.flatten(1).shape
        up, down = numbers(f"up.{name}", (rows, rank)), numbers(f"down.{name}", (rank, columns))
        tensors[name] = value + 0.05 * (up @ down).reshape(value.shape)
    return tensors


@pytest.fixture
def files(tmp_path):
    """A function that writes a net and a base and opens both."""

    def write(net=None, base=None, name="net.safetensors"):
        base = base_tensors() if base is None else base
        save_file({f"model.diffusion_model.{key}": t for key, t in base.items()}, tmp_path / "base.safetensors")
        net = net_tensors() if net is None else net
        if name.endswith(".safetensors"):
            save_file(net, tmp_path / name)
        else:
            torch.save(net, tmp_path / name)
        return ControlNetFile(tmp_path / name), Checkpoint(tmp_path / "base.safetensors")

    return write


def settings(mode: str = "fixed", value: float = 3, **others) -> Settings:
    return Settings(RankChoice(mode, value), **others)


def extracted(files, *given, mode="fixed", value=3.0, **others) -> ControlLora:
    return extract_control_lora(*files(*given), settings(mode, value, **others)).lora


def effective(lora: ControlLora, base: dict, name: str) -> torch.Tensor:
    """The weight that ComfyUI makes of a file and a base."""
    if name in lora.whole:
        return lora.whole[name]
    part = lora.factors.get(name.removesuffix(".weight"))
    return base[name] if part is None else base[name] + part.to_dense().reshape(base[name].shape)


def test_which_tensors_are_what():
    assert is_base_matrix("input_blocks.1.0.in_layers.2.weight", (2, 2, 3, 3))
    assert not is_base_matrix(FIRST, (2, 2, 3, 3))
    assert not is_base_matrix("time_embed.0.bias", (2,))
    assert not is_base_matrix("zero_convs.0.0.weight", (2, 2, 1, 1))
    assert not is_base_matrix("output_blocks.0.0.in_layers.2.weight", (2, 2, 3, 3))


@pytest.mark.parametrize("width, name", [(768, "SD 1.x"), (1024, "SD 2.x"), (2048, "SDXL"), (1280, "SDXL refiner")])
def test_the_family_is_told_by_the_width_of_the_text(width, name):
    assert family(width) == name
    assert family(7) == "U-Net with text 7 wide" and "unknown" in family(None)


def test_a_difference_of_low_rank_is_kept_whole_in_the_shapes_of_the_format(files):
    lora, net, base = extracted(files), net_tensors(), base_tensors()
    for name, expected in net.items():
        assert torch.allclose(effective(lora, base, name), expected, atol=1e-5), name
    tensors = to_tensors(lora)
    conv, linear = "input_blocks.1.0.in_layers.2", f"{BLOCK}.attn2.to_k"
    assert tensors[f"{conv}.up"].shape == (48, 3, 1, 1) and tensors[f"{conv}.down"].shape == (3, 32, 3, 3)
    assert tensors[f"{linear}.up"].shape == (48, 3) and tensors[f"{linear}.down"].shape == (3, CONTEXT)
    assert MARKER in tensors and FIRST in lora.whole
    assert all(name in lora.whole for name in OWN)


def test_both_factors_carry_the_root_of_the_singular_values(files):
    for part in extracted(files).factors.values():
        up, down = part.up.T @ part.up, part.down @ part.down.T
        assert torch.allclose(up.diagonal(), down.diagonal(), rtol=1e-3)


def test_nothing_is_clamped(files):
    net, base = net_tensors(), base_tensors()
    name = f"{BLOCK}.attn2.to_q.weight"
    net[name] = base[name].clone()
    net[name][3, 5] += 100
    lora = extracted(files, net, value=1)
    assert effective(lora, base, name)[3, 5] == pytest.approx(float(net[name][3, 5]), rel=1e-5)


def test_a_rank_may_exceed_the_smaller_number_of_channels(files):
    """A kernel [48, 32, 3, 3] has rank up to 48, and not 32."""
    lora = extracted(files, net_tensors(40), value=40)
    name = "input_blocks.1.0.in_layers.2"
    assert lora.factors[name].rank == 40
    assert torch.allclose(
        effective(lora, base_tensors(), f"{name}.weight"), net_tensors(40)[f"{name}.weight"], atol=1e-4
    )


def test_a_weight_is_whole_where_its_factors_would_be_no_smaller(files):
    lora = extracted(files, net_tensors(24), value=24)
    assert f"{BLOCK}.attn2.to_q.weight" in lora.whole and f"{BLOCK}.attn2.to_k" in lora.factors
    assert stores_whole(LowRank(torch.ones(4, 2), torch.ones(2, 4), (4, 4)))
    assert not stores_whole(LowRank(torch.ones(4, 1), torch.ones(1, 4), (4, 4)))


def test_what_did_not_change_is_left_out(files):
    net, name = net_tensors(), f"{BLOCK}.attn2.to_q.weight"
    net[name] = base_tensors()[name]
    lora = extracted(files, net)
    assert name not in lora.whole and name.removesuffix(".weight") not in lora.factors


def test_a_base_for_inpainting_may_have_more_channels_in_front(files):
    base = base_tensors(SHAPES | {FIRST: (32, 9, 3, 3)})
    lora = extracted(files, net_tensors(3, base_tensors()), base)
    assert torch.equal(lora.whole[FIRST], net_tensors()[FIRST])


@pytest.mark.parametrize("bytes_per_number", [2, 4])
def test_a_size_counts_the_whole_file(files, tmp_path, bytes_per_number):
    net, base = files(net_tensors(40))
    asked = 0.06 * bytes_per_number
    lora = extract_control_lora(net, base, settings("size", asked), bytes_per_number).lora
    precision = {2: "float16", 4: "float32"}[bytes_per_number]
    save_control_lora(lora, tmp_path / "sized.safetensors", precision, dict)
    assert 0.6 * asked <= (tmp_path / "sized.safetensors").stat().st_size / 1e6 <= asked
    with pytest.raises(ValueError, match="leaves no room for factors"):
        extract_control_lora(net, base, settings("size", 0.01), bytes_per_number)


def test_a_size_leaves_room_for_convolutions_with_a_rank_of_their_own(files, tmp_path):
    net, base = files(net_tensors(40))
    lora = extract_control_lora(net, base, settings("size", 0.12, conv=RankChoice("fixed", 5))).lora
    assert lora.factors["input_blocks.1.0.in_layers.2"].rank == 5
    save_control_lora(lora, tmp_path / "sized.safetensors", "float16", dict)
    assert (tmp_path / "sized.safetensors").stat().st_size <= 120_000


def test_layers_that_a_size_leaves_out_count_as_lost(files):
    net, base = files(net_tensors(40))
    job = extract_control_lora(net, base, settings("size", 0.05))
    kept = {f"{name}.weight" for name in job.lora.factors} | set(job.lora.whole)
    matrices = [name for name in SHAPES if is_base_matrix(name, SHAPES[name])]
    assert len(kept & set(matrices)) < len(matrices) and "given no rank" in job.report
    lost, norm = 0.0, 0.0
    for name in matrices:
        change = net_tensors(40)[name] - base_tensors()[name]
        got = effective(job.lora, base_tensors(), name) - base_tensors()[name]
        lost, norm = math.hypot(lost, float((change - got).norm())), math.hypot(norm, float(change.norm()))
    summary = json.loads(job.lora.metadata["styledelta.control_lora"])
    assert summary["relative_residual"] == pytest.approx(lost / norm, rel=1e-3)


def test_a_pickle_and_a_prefix_give_the_same(files):
    expected = to_tensors(extracted(files))
    prefixed = {f"control_model.{name}": tensor for name, tensor in net_tensors().items()}
    for given in ((prefixed,), (net_tensors(), None, "net.pth")):
        found = to_tensors(extracted(files, *given))
        assert found.keys() == expected.keys() and all(torch.equal(found[n], expected[n]) for n in expected)


def test_a_stored_difference_is_added_to_the_base(files):
    net, base = net_tensors(), base_tensors()
    stored = {f"control_model.{n}": t - base[n] if n in base else t for n, t in net.items()}
    lora = extracted(files, stored | {"difference": torch.zeros(1)})
    assert all(torch.allclose(effective(lora, base, name), net[name], atol=1e-5) for name in net)


def test_float8_weights_with_a_scale_are_read(files):
    net, name = net_tensors(), f"{BLOCK}.attn2.to_q.weight"
    scale = net[name].abs().max() / 448
    stored = net | {name: (net[name] / scale).to(torch.float8_e4m3fn), f"{BLOCK}.attn2.to_q.scale_weight": scale}
    found = files(stored)[0].read(f"diffusion_model.{name}").value
    assert (found - net[name]).norm() < 0.05 * net[name].norm()


def test_the_file_says_where_it_comes_from(files):
    net, base = files()
    sources = [{"name": "net"}, {"name": "base", "sha256": "abc"}]
    lora = extract_control_lora(net, base, settings(value=2), provenance=sources).lora
    summary = json.loads(lora.metadata["styledelta.control_lora"])
    assert (
        summary["base"]["sha256"] == "abc" and summary["layers_by_rank"] == {"2": 5} and summary["family"] == "SD 1.x"
    )
    assert 0 < summary["relative_residual"] < 1
    assert json.loads(lora.metadata["styledelta.recipe"])["rank"]["value"] == 2


def test_a_wrong_base_is_told_by_distance_and_spectrum():
    assert len(BaseMatch(0.2, 8.0).lines()) == 1
    assert "probably not trained from this base" in BaseMatch(1.4, 8.0).lines()[1]
    assert "spectrum is flat" in BaseMatch(0.2, 1.0).lines()[1]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"task_embedding": (3, 3)}, "union ControlNet"),
        ({"control_model.control_add_embedding.linear_1.bias": (3,)}, "union ControlNet"),
        ({MARKER: (1,)}, "is already a Control-LoRA"),
        ({"zero_convs.0.0.weight": None}, "not a ControlNet for a U-Net"),
        ({f"{BLOCK}.attn2.to_k.weight": (48, 2048)}, "is for SDXL, but base.safetensors is SD 1.x"),
        ({f"{BLOCK}.attn2.to_q.weight": (50, 48)}, "is .50, 48. in net.safetensors, but .48, 48. in base"),
        ({"input_blocks.2.0.op.weight": (4, 4, 3, 3)}, "but not there in base.safetensors"),
    ],
)
def test_nets_that_do_not_fit_are_refused(files, change, words):
    net = net_tensors() | {name: numbers(name, shape) for name, shape in change.items() if shape}
    net = {name: tensor for name, tensor in net.items() if change.get(name, 1) is not None}
    with pytest.raises(ValueError, match=words):
        extracted(files, net)


def test_packed_nan_and_damaged_nets_are_refused(files, tmp_path):
    name = f"{BLOCK}.attn2.to_q.weight"
    with pytest.raises(ValueError, match="packed.*Use a version of the ControlNet in float32"):
        extracted(files, net_tensors() | {name: torch.ones(48, 48, dtype=torch.uint8)})
    with pytest.raises(ValueError, match="attn2.to_q.weight holds NaN"):
        extracted(files, net_tensors() | {name: torch.full((48, 48), math.nan)})
    (tmp_path / "cut.safetensors").write_bytes(b"0123456789")
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        ControlNetFile(tmp_path / "cut.safetensors")
    with pytest.raises(FileNotFoundError):
        ControlNetFile(tmp_path / "absent.safetensors")


def test_strays_are_named_and_left_out(files):
    lora = extract_control_lora(*files(net_tensors() | {"ema.step": torch.ones(2)}), settings())
    assert "ema.step" in lora.report and not any("ema" in name for name in to_tensors(lora.lora))


def test_saving_compares_what_the_host_loads_and_leaves_nothing_of_a_bad_file(files, tmp_path):
    lora, path = extracted(files), tmp_path / "lora.safetensors"
    assert "largest relative difference" in save_control_lora(lora, path, "float16", dict)
    assert all(t.dtype == torch.float16 for t in load_file(path).values())
    read = read_control_lora(path)
    assert set(read.factors) == set(lora.factors) and set(read.whole) == set(lora.whole)

    def damaging(tensors):
        return tensors | {f"{BLOCK}.attn2.to_k.up": 2 * tensors[f"{BLOCK}.attn2.to_k.up"]}

    def forgetting(tensors):
        return {name: t for name, t in tensors.items() if "attn2.to_k" not in name}

    for load, words in (
        (damaging, "would not read what was saved"),
        (forgetting, "different values than were written"),
    ):
        with pytest.raises(ValueError, match=words):
            save_control_lora(lora, tmp_path / "bad.safetensors", "float32", load)
    assert not list(tmp_path.glob("*bad*"))
    with pytest.raises(FileExistsError):
        save_control_lora(lora, path, "float16", dict)


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a.weight holds values too large for float16"):
        cast({"a.weight": torch.tensor([1e6])}, "float16")
    with pytest.raises(ValueError, match="no precision bfloat16"):
        cast({}, "bfloat16")


def whole_file(files) -> dict[str, torch.Tensor]:
    return to_tensors(extracted(files))


@pytest.mark.parametrize(
    "change, words",
    [
        ({MARKER: None}, "lacks the tensor lora_controlnet"),
        ({f"{BLOCK}.attn2.to_k.up": None}, "to_k.down is present without .*to_k.up"),
        ({f"{BLOCK}.attn2.to_k.down": None}, "to_k.up is present without .*to_k.down"),
        ({f"{BLOCK}.attn2.to_k.up": (48, 9)}, "do not match"),
        ({"zero_convs.1.0.weight": None}, "must store whole: 1 .zero_convs.1.0.weight"),
        ({"middle_block_out.0.bias": None}, "must store whole"),
        ({"input_hint_block.0.weight": None}, "must store whole"),
        ({"zero_convs.0.0.up": (32, 1), "zero_convs.0.0.down": (1, 32)}, "ComfyUI needs it whole"),
        ({"task_embedding": (3, 3)}, "union"),
    ],
)
def test_files_that_cannot_work_are_refused(files, change, words):
    tensors = whole_file(files) | {name: numbers(name, shape) for name, shape in change.items() if shape}
    tensors = {name: tensor for name, tensor in tensors.items() if change.get(name, 1) is not None}
    with pytest.raises(ValueError, match=words):
        parse_control_lora("x", tensors)


@pytest.mark.parametrize(
    "missing, words",
    [
        (FIRST, "fails on inpainting bases"),
        ("time_embed.0.bias", "biases missing.*time_embed.0"),
        ("input_blocks.1.0.in_layers.0.weight", "norms missing.*in_layers.0"),
    ],
)
def test_what_comfyui_would_take_from_the_base_is_noted(files, missing, words):
    whole = parse_control_lora("x", whole_file(files))
    # This small net has no norms beside its attention.
    assert not [note for note in whole.notes if "biases" in note or "in_layers" in note]
    lora = parse_control_lora("x", {n: t for n, t in whole_file(files).items() if n != missing})
    assert any(re.search(words, note) for note in lora.notes)


def test_prefixes_strays_and_bfloat16_are_noted_and_mended(files):
    tensors = {n if n == MARKER else f"control_model.{n}": t.bfloat16() for n, t in whole_file(files).items()}
    lora = parse_control_lora("x", tensors | {"odd.alpha": torch.ones(1)})
    notes = " ".join(lora.notes)
    assert "ComfyUI cannot load" in notes and "odd.alpha" in notes and "bfloat16" in notes
    assert to_tensors(lora).keys() == whole_file(files).keys()


def test_factors_may_be_flat_or_four_dimensional():
    part = LowRank(torch.randn(6, 2), torch.randn(2, 36), (6, 4, 3, 3))
    tensors = write_factors("x", part)
    assert tensors["x.up"].shape == (6, 2, 1, 1) and tensors["x.down"].shape == (2, 4, 3, 3)
    assert torch.equal(tensors["x.up"].flatten(1) @ tensors["x.down"].flatten(1), part.to_dense().flatten(1))


def test_resizing_truncates_exactly_and_keeps_the_rest(files):
    lora = extracted(files, net_tensors(8), value=8)
    small = resize_control_lora(lora, RankChoice("fixed", 3))
    for name, part in small.lora.factors.items():
        u, s, v = torch.linalg.svd(lora.factors[name].to_dense().flatten(1), full_matrices=False)
        best = (u[:, :3] * s[:3]) @ v[:3]
        assert part.rank == 3 and torch.allclose(part.to_dense().flatten(1), best, atol=1e-5)
    assert small.lora.whole.keys() == lora.whole.keys()
    same = resize_control_lora(lora, RankChoice("full")).lora
    assert all(same.factors[name] is part for name, part in lora.factors.items())
    with pytest.raises(ValueError, match="has no factors"):
        resize_control_lora(ControlLora("x", {}, {}), RankChoice("full"))


def test_resizing_meets_a_size_and_can_be_cancelled(files, tmp_path):
    lora = extracted(files, net_tensors(20), value=20)
    small = resize_control_lora(lora, RankChoice("size", 0.08)).lora
    save_control_lora(small, tmp_path / "small.safetensors", "float16", dict)
    assert 50_000 < (tmp_path / "small.safetensors").stat().st_size <= 80_000

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        resize_control_lora(lora, RankChoice("fixed", 2), on_step=stop)


def test_the_report_of_a_file(files):
    lora = extracted(files)
    text, charts = control_lora_report(lora, 1_000_000)
    assert "for SD 1.x, 1.00 MB" in text and "5 layers as factors of rank 3" in text and "| input.1    | 3    |" in text
    assert charts[0][0].values == {"rank 3": 5, "whole": 1}
    many = {str(n): LowRank(torch.ones(60, n), torch.ones(n, 60), (60, 60)) for n in range(1, 41)}
    assert ranks_charts(ControlLora("x", many, {}))[0][0].values["rank 3 to 5"] == 3


def test_baking_gives_the_net_again(files, tmp_path):
    net, base = files()
    lora = extract_control_lora(net, base, settings()).lora
    tensors = bake_control_lora(lora, base, "float32")
    assert tensors.keys() == net_tensors().keys()
    assert all(torch.allclose(tensors[name], expected, atol=1e-5) for name, expected in net_tensors().items())
    report = write_baked(tmp_path / "full.safetensors", tensors, lora, [], dict)
    assert "bit for bit" in report and load_file(tmp_path / "full.safetensors").keys() == tensors.keys()


def test_baking_onto_another_kind_of_base_is_refused(files):
    lora = extracted(files)
    other = SHAPES | {f"{BLOCK}.attn2.to_k.weight": (48, 2048)}
    base = files(None, base_tensors(other))[1]
    with pytest.raises(ValueError, match="is for SD 1.x, but base.safetensors is SDXL"):
        bake_control_lora(lora, base, "float16")
    base = files(None, base_tensors(SHAPES | {f"{BLOCK}.attn2.to_q.weight": (50, 48)}))[1]
    with pytest.raises(ValueError, match="is .48, 48. in .*, but .50, 48. in base.safetensors"):
        bake_control_lora(lora, base, "float16")
    base = files(None, base_tensors({n: shape for n, shape in SHAPES.items() if n != "time_embed.0.bias"}))[1]
    with pytest.raises(ValueError, match="time_embed.0.bias is .64,. in .*, but not there in base"):
        bake_control_lora(lora, base, "float16")


def test_a_first_convolution_in_factors_cannot_be_baked_into_a_base_for_inpainting(files):
    lora = extracted(files)
    lora.factors["input_blocks.0.0"] = LowRank(torch.ones(32, 1), torch.ones(1, 36), (32, 4, 3, 3))
    del lora.whole[FIRST]
    base = files(None, base_tensors(SHAPES | {FIRST: (32, 9, 3, 3)}))[1]
    with pytest.raises(ValueError, match="An inpainting base does not fit; choose the normal one"):
        bake_control_lora(lora, base, "float16")


LAYOUT = ControlLayout(
    "net", tuple(ControlBlock(n, n, "") for n in ("input.0", "middle")), {"output": ("input.0",), "middle": ("middle",)}
)


def sent(first: float, second: float) -> dict:
    return {"output": [torch.full((4,), first)], "middle": [None, torch.full((4,), second)]}


def test_errors_of_outputs_by_block_and_step():
    error = compare_outputs([sent(1.1, 2.0), sent(1.0, 2.0)], [sent(1.0, 2.0), sent(1.0, 2.0)], LAYOUT)
    assert error.blocks == pytest.approx({"input.0": 0.1 / math.sqrt(2), "middle": 0.0}, rel=1e-4)
    assert error.steps == pytest.approx([0.1 / math.sqrt(5), 0.0], rel=1e-4)
    assert error.total == pytest.approx(0.1 / math.sqrt(10), rel=1e-4)
    text = error_report(error, "a", "b", [0.25, 0.75])
    assert (
        text.startswith("a against b")
        and "| 0.75     | 0 " in text
        and error_charts(error, "a", "b")[0][0].values
        == {**{n: 100 * v for n, v in error.blocks.items()}, "all": 100 * error.total}
    )


def test_outputs_of_other_nets_cannot_be_compared():
    other = {"output": [torch.ones(5)], "middle": [torch.ones(4)]}
    with pytest.raises(ValueError, match="different outputs"):
        compare_outputs([other], [sent(1, 1)], LAYOUT)
    with pytest.raises(ValueError, match="only zeros"):
        compare_outputs([sent(1, 1)], [sent(0, 0)], LAYOUT)
