"""What names and tensors of a file mean: PEFT's adapters, OFT, parts of a fused LoKr, values that are no numbers."""

import pytest
import torch

from delta.lora.file import LoraModel, read_layers


def lora(name: str) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_up.weight": torch.ones(4, 2), f"{name}.lora_down.weight": torch.ones(2, 6),
            f"{name}.alpha": torch.tensor(1.0)}  # fmt: skip


@pytest.mark.parametrize("adapter", ["default", "style", "default_0.default"])
def test_the_name_of_a_peft_adapter_does_not_matter(adapter):
    up, down = torch.ones(4, 2), torch.full((2, 6), 3.0)
    read = read_layers({f"a.lora_B.{adapter}.weight": up, f"a.lora_A.{adapter}.weight": down})
    assert read.foreign == [] and torch.equal(read.layers["a"].dense(), torch.full((4, 6), 6.0))


def test_two_peft_adapters_in_one_file_are_refused_by_name():
    tensors = {
        f"{layer}.lora_{half}.{adapter}.weight": torch.ones(2, 2)
        for layer, adapter in (("a", "style"), ("b", "subject"))
        for half in "AB"
    }
    with pytest.raises(ValueError, match="brush holds 2 adapters: style, subject. Use a file with only one"):
        read_layers(LoraModel(tensors, name="brush"))


@pytest.mark.parametrize("others", [("a.lora_A.weight", "a.lora_A.style.weight"), ("a.bias.diff", "a.diff_b")])
def test_two_tensors_of_one_meaning_are_refused(others):
    with pytest.raises(ValueError, match=f"both {others[0]} and {others[1]}; only one can be used"):
        read_layers(dict.fromkeys(others, torch.ones(2, 2)))


def test_oft_of_the_second_version_is_named_as_what_nobody_applies():
    oft = {"b.oft_R.weight": torch.ones(2, 6)}
    sentence = "b is OFTv2 (oft_R.weight), which ComfyUI cannot apply either. Convert it to a LoRA with PEFT first."
    read = read_layers(lora("a") | oft, bake=lambda name, tensors: pytest.fail("baked"))
    assert read.layers.keys() == {"a"} and read.needs_base == {"b": sentence}
    with pytest.raises(ValueError, match="b is OFTv2"):
        read_layers(oft)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("ending", ["alpha", "lora_up.weight", "dora_scale"])
def test_values_of_other_nodes_are_checked_as_those_of_files(ending, value):
    tensors = lora("a") | {f"a.{ending}": torch.tensor(value)}
    with pytest.raises(ValueError, match=f"brush: the tensor a.{ending} holds NaN or infinite values"):
        read_layers(LoraModel(tensors, name="brush"))


def test_numbers_of_one_byte_are_read():
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in lora("a").items()}
    assert read_layers(tensors).layers["a"].low_rank.rank == 2


def fused_lokr() -> dict[str, torch.Tensor]:
    """16 x 8: a query of 8 rows, key and value of 4, which no factor of 16 / 3 rows could hold apart."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"lokr_w1": (2, 2), "lokr_w2_a": (8, 3), "lokr_w2_b": (3, 4)}
    factors = {f"a.{name}": torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    return factors | {"a.alpha": torch.tensor(1.5)}


@pytest.mark.parametrize(("offset", "rows"), [(0, 8), (8, 4), (12, 4)])
def test_a_part_of_a_fused_lokr_is_its_rows(offset, rows):
    tensors = fused_lokr() | {"a.row_offset": torch.tensor(offset)}
    whole = torch.kron(tensors["a.lokr_w1"], tensors["a.lokr_w2_a"] @ tensors["a.lokr_w2_b"]) * 1.5 / 3
    read = read_layers(tensors)
    assert read.foreign == [] and read.needs_base == {}
    assert torch.allclose(read.layers["a"].dense(), whole[offset : offset + rows], atol=1e-6)


def test_rows_that_only_the_weight_tells_need_it():
    tensors = fused_lokr() | {"a.row_offset": torch.tensor(5)}
    assert (
        read_layers(tensors | lora("b"))
        .needs_base["a"]
        .startswith("a is some rows of a fused LoKr, and only the weight")
    )
    baked = read_layers(tensors, bake=lambda name, given: torch.ones(3, 8))
    assert torch.equal(baked.layers["a"].full, torch.ones(3, 8))


def test_a_bias_beside_a_baked_adapter_is_kept_and_a_second_update_refused():
    def bake(name, tensors):
        assert tensors.keys() == {"lora_up.weight", "lora_down.weight", "alpha", "dora_scale"}
        return torch.ones(4, 6)

    dora = lora("a") | {"a.dora_scale": torch.ones(4)}
    layer = read_layers(dora | {"a.diff_b": torch.full((4,), 2.0)}, bake).layers["a"]
    assert torch.equal(layer.full, torch.ones(4, 6)) and torch.equal(layer.bias, torch.full((4,), 2.0))
    with pytest.raises(ValueError, match="a has both diff and"):
        read_layers(dora | {"a.diff": torch.ones(4, 6)}, lambda name, tensors: torch.ones(4, 6))
