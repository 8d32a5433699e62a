import pytest
import torch

from delta.linear_algebra.factors import LowRank
from delta.lora.adapters import Layer
from delta.lora.fused import add, fuse, split, swap_halves

SHARES = (1, 1, 1, 4)


def layer(rows: int, rank: int, seed: int, columns: int = 6) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    up, down = torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)
    return Layer(low_rank=LowRank(up, down, (rows, columns)), bias=torch.randn(rows, generator=generator))


def test_parts_are_the_rows_of_the_whole_and_keep_its_rank():
    whole = layer(28, 2, 1)
    parts = split(whole, SHARES)
    assert [len(part.bias) for part in parts] == [4, 4, 4, 16]
    assert all(part.low_rank.rank == 2 for part in parts)
    assert torch.equal(torch.cat([part.dense() for part in parts]), whole.dense())
    assert torch.equal(torch.cat([part.bias for part in parts]), whole.bias)


def test_what_was_split_is_fused_to_the_same_rank():
    whole = layer(28, 2, 2)
    again = fuse(split(whole, SHARES), SHARES)
    assert again.low_rank.rank == 2
    assert torch.allclose(again.dense(), whole.dense(), atol=1e-6)
    assert torch.equal(again.bias, whole.bias)


def test_parts_of_their_own_stand_block_diagonally():
    query, value = layer(4, 1, 3), layer(4, 2, 4)
    fused = fuse([query, None, value], (1, 1, 1))
    assert fused.low_rank.rank == 3
    assert torch.equal(fused.dense(), torch.cat([query.dense(), torch.zeros(4, 6), value.dense()]))
    assert torch.equal(fused.bias, torch.cat([query.bias, torch.zeros(4), value.bias]))


def test_a_missing_wide_part_gets_its_rows():
    assert fuse([layer(4, 1, 5), None, None, None], SHARES).low_rank.shape == (28, 6)


def test_dense_and_kernel_updates_are_divided_too():
    kernel = torch.arange(6 * 2 * 3 * 3.0).reshape(6, 2, 3, 3)
    parts = split(Layer(full=kernel), (1, 1, 1))
    assert torch.equal(parts[1].full, kernel[2:4])
    assert torch.equal(fuse(parts, (1, 1, 1)).full, kernel)


def test_halves_are_swapped():
    whole = layer(4, 1, 6)
    assert torch.equal(swap_halves(whole).dense(), whole.dense()[[2, 3, 0, 1]])
    assert torch.equal(swap_halves(swap_halves(whole)).dense(), whole.dense())


def test_updates_of_one_weight_are_added_at_the_least_rank():
    one = layer(8, 2, 7)
    total = add([one, one, Layer(full=torch.ones(8, 6))])
    assert total.low_rank.rank == 2
    assert torch.allclose(total.dense(), 2 * one.dense() + 1, atol=1e-5)
    assert torch.equal(total.bias, 2 * one.bias)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: split(layer(7, 1, 8), (1, 1, 1)), "7 rows cannot be divided"),
        (lambda: fuse([None, layer(6, 1, 9)], (1, 4)), "6 rows cannot be divided"),
        (lambda: swap_halves(layer(3, 1, 10)), "3 rows cannot be divided"),
        (lambda: split(Layer(new_shape=(4, 4)), (1, 1)), "padded"),
        (lambda: fuse([Layer(new_weight=torch.ones(2, 2)), None], (1, 1)), "replaced"),
        (lambda: add([Layer(new_weight=torch.ones(2, 2)), layer(2, 1, 11, 2)]), "replaced"),
    ],
)
def test_what_cannot_be_divided_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()
