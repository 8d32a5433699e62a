"""Sizes and errors of a LoRA at lower ranks, computed by hand."""

import math

import pytest
import torch

from delta.linear_algebra.rank import RankChoice
from delta.lora.file import LoraModel
from delta.lora.merge_job import resize_job
from delta.lora.size_preview import ranks_up_to, size_preview


def diagonal(name: str, *values: float) -> dict[str, torch.Tensor]:
    """A layer of a 2 x 2 weight with these singular values, of 4 numbers a rank."""
    rank = len(values)
    return {
        f"{name}.lora_up.weight": torch.eye(2)[:, :rank] * torch.tensor(values),
        f"{name}.lora_down.weight": torch.eye(2)[:rank],
    }


# Energies 16, 9 and 1; a rank takes 8 bytes.
MODEL = LoraModel(diagonal("a", 4.0, 3.0) | diagonal("b", 1.0), name="LoRA")


@pytest.mark.parametrize(
    ("highest", "ranks"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [1, 2, 4]),
        (64, [1, 2, 4, 8, 16, 32, 64]),
        (65, [1, 2, 4, 8, 16, 32, 64, 65]),
    ],
)
def test_ranks_double_up_to_the_highest(highest, ranks):
    assert ranks_up_to(highest) == ranks


def test_errors_by_hand():
    one, two = size_preview(MODEL).rows
    assert (one.rank, one.bytes) == (1, 16)
    assert one.uniform == pytest.approx(3 / math.sqrt(26))
    # The same 16 bytes keep both directions of a.
    assert one.spread == pytest.approx(1 / math.sqrt(26))
    assert (two.rank, two.bytes, two.uniform, two.spread) == (2, 24, 0, 0)


def test_it_says_what_resizing_then_does():
    row = size_preview(MODEL).rows[0]
    for choice, error in ((RankChoice("fixed", 1), row.uniform), (RankChoice("size", row.bytes / 1e6), row.spread)):
        assert f"overall relative error: {error:.3g}\n" in resize_job(MODEL, choice).report


def test_the_report_is_a_table_of_sizes():
    report = size_preview(MODEL).report
    assert "LoRA: 2 low-rank layers of rank up to 2" in report
    assert "| 1    | 0.588 (65.4%)  | 0.196 (96.2%) " in report
    assert "| 2    | 0.000 (100.0%) | 0.000 (100.0%)" in report
    assert "cannot shrink: nothing" in report


def test_what_cannot_shrink_is_counted():
    fixed = {
        "b.diff_b": torch.ones(5000),
        "c.diff": torch.ones(100, 100),
        "d.w_norm": torch.ones(5000),
        "e.set_weight": torch.ones(5000),
    }
    report = size_preview(LoraModel(MODEL | fixed)).report
    assert "cannot shrink: 0.05 MB (bias 0.01 MB, dense and norm 0.04 MB); in Rank Policy, give" in report
    assert report.count("| 0.05 |") == 2


def test_a_low_rank_update_beside_a_dense_one_counts_as_dense():
    with pytest.raises(ValueError, match="has no low-rank layer"):
        size_preview(LoraModel(diagonal("a", 4.0, 3.0) | {"a.diff": torch.ones(2, 2)}))


@pytest.mark.parametrize("tensors", [{"c.diff": torch.ones(2, 2)}, diagonal("a", 0.0)])
def test_a_lora_without_low_rank_layers_is_refused(tensors):
    with pytest.raises(ValueError, match="LoRA has no low-rank layer"):
        size_preview(LoraModel(tensors))


def test_each_layer_is_one_step():
    steps = []
    size_preview(MODEL, lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]


def test_layers_that_need_their_weight_are_named_and_count_in_no_size():
    dora = diagonal("c", 9.0) | {"c.dora_scale": torch.ones(2, 1)}
    preview = size_preview(LoraModel(MODEL | dora, name="LoRA"))
    assert preview.rows == size_preview(MODEL).rows
    assert preview.report.endswith("\nleft out: c is DoRA: its update depends on the weight it is applied to. "
                                   "Merge LoRAs bakes it in when the model is connected.")  # fmt: skip
