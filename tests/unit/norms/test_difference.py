import math

import pytest
import torch

from delta.blocks.rules import BlockWeights, parse_block_weights
from delta.charts.charts import draw
from delta.families.norm_sites import MODULATION, NORMS
from delta.files.stored_weight import StoredWeight
from delta.norms.difference import choose_norms, explained_share, extract_norms, mix, to_lora
from delta.norms.job import extract_norms_job, norm_charts, norm_report

P = "diffusion_model."
IN, EMB, OUT, CONV = "input_blocks.1.0.in_layers.0", "input_blocks.1.0.emb_layers.1", "out.0", "input_blocks.0.0"
BASE = {
    f"{P}{CONV}.weight": torch.ones(2, 3, 1, 1),
    f"{P}{IN}.weight": torch.tensor([1.0, 2.0]),
    f"{P}{IN}.bias": torch.tensor([0.0, 0.0]),
    f"{P}{EMB}.bias": torch.tensor([0.5]),
    f"{P}{OUT}.weight": torch.tensor([3.0, 4.0]),
}


class Model:
    """A model of these weights, that remembers which were read."""

    architecture = "a U-Net"

    def __init__(self, name, **changes):
        self.name, self.weights, self.was_read = name, {key: value.clone() for key, value in BASE.items()}, []
        for key, change in changes.items():
            self.weights[key] = self.weights[key] + torch.as_tensor(change)
        self.shapes = {key: tuple(value.shape) for key, value in self.weights.items()}

    def read(self, name):
        self.was_read.append(name)
        return StoredWeight(self.weights[name].clone(), 0.0)


def styled(**changes):
    return Model(
        "styled", **({f"{P}{IN}.weight": [0.5, 0.0], f"{P}{IN}.bias": [0.0, 1.0], f"{P}{EMB}.bias": [2.0]} | changes)
    )


def test_only_norms_are_read_and_only_what_differs_is_kept():
    tuned, base = styled(**{f"{P}{CONV}.weight": 7.0}), Model("base")
    found = extract_norms(tuned, base, [NORMS], BlockWeights())
    assert set(tuned.was_read) == set(base.was_read) == {f"{P}{IN}.weight", f"{P}{IN}.bias", f"{P}{OUT}.weight"}
    assert {key: delta.tolist() for key, delta in found.deltas.items()} == {
        f"{P}{IN}.weight": [0.5, 0.0],
        f"{P}{IN}.bias": [0.0, 1.0],
    }
    assert found.sizes == pytest.approx(
        {f"{P}{IN}.weight": math.sqrt(5), f"{P}{IN}.bias": 0.0, f"{P}{OUT}.weight": 5.0}
    )


def test_blocks_scale_what_is_taken():
    rules = parse_block_weights("*=0, input.1=0.5, emb_layers=2, nowhere=1")
    found = extract_norms(styled(), Model("base"), [NORMS, MODULATION], rules)
    assert found.deltas[f"{P}{IN}.weight"].tolist() == [0.25, 0.0] and found.deltas[f"{P}{EMB}.bias"].tolist() == [4.0]
    assert f"{P}{OUT}.weight" not in found.sizes and found.notes == ["the rule nowhere matches nothing"]
    with pytest.raises(ValueError, match="switch off all 3 norm parameters"):
        extract_norms(styled(), Model("base"), [NORMS], parse_block_weights("*=0"))


def test_nothing_to_take_is_an_error():
    with pytest.raises(ValueError, match="same values in all 3 norm parameters"):
        extract_norms(Model("one"), Model("two"), [NORMS], BlockWeights())
    with pytest.raises(ValueError, match="same values in all 1 norm parameters"):
        extract_norms(styled(**{f"{P}{EMB}.bias": [0.0]}), Model("base"), [MODULATION], BlockWeights())


def test_what_one_model_lacks_is_reported():
    tuned = styled()
    del tuned.weights[f"{P}{OUT}.weight"], tuned.shapes[f"{P}{OUT}.weight"]
    assert extract_norms(tuned, Model("base"), [NORMS], BlockWeights()).notes == [f"in base only: {P}{OUT}.weight"]
    del tuned.shapes[f"{P}{EMB}.bias"]
    with pytest.raises(ValueError, match="styled has none of the 1 norm parameters of base"):
        extract_norms(tuned, Model("base"), [MODULATION], BlockWeights())
    tuned.shapes[f"{P}{IN}.weight"] = (3,)
    with pytest.raises(ValueError, match=r"in_layers.0.weight has the shape \[3\] in styled and \[2\] in base"):
        extract_norms(tuned, Model("base"), [NORMS], BlockWeights())


def test_changes_of_a_lora_are_chosen_by_kind():
    changes = {
        f"{P}{IN}.weight": torch.tensor([0.5, 0.0]),
        f"{P}{EMB}.bias": torch.ones(1),
        f"{P}{CONV}.weight": torch.ones(2, 3, 1, 1),
    }
    found = choose_norms(changes, "lora", Model("base"), [NORMS], BlockWeights(), ["a note"])
    assert list(found.deltas) == [f"{P}{IN}.weight"]
    assert found.notes == ["skipped, switched off or not norm parameters: 2 plain changes", "a note"]
    del changes[f"{P}{IN}.weight"]
    with pytest.raises(
        ValueError, match="lora changes no norm parameter that is switched on. It has: modulation. Switch"
    ):
        choose_norms(changes, "lora", Model("base"), [NORMS], BlockWeights())


def test_a_mix_is_the_weighted_sum():
    one, two = {"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, -2.0]), "b": torch.tensor([8.0])}
    mixed = mix([one, two], [1.0, 3.0], normalise=True)
    assert mixed["a"].tolist() == [2.5, -1.0] and mixed["b"].tolist() == [6.0]
    assert mix([one, two], [2.0, -1.0], normalise=False)["a"].tolist() == [-1.0, 6.0]
    with pytest.raises(ValueError, match="add up to zero"):
        mix([one, two], [1.0, -1.0], normalise=True)
    assert mix([one, one], [1.0, -1.0], normalise=False)["a"].tolist() == [0.0, 0.0]


def test_a_lora_names_gain_bias_and_tables():
    deltas = {
        f"{P}blocks.0.norm3.weight": torch.ones(4),
        f"{P}blocks.0.norm3.bias": torch.ones(4),
        f"{P}time_projection.1.bias": torch.ones(6),
        f"{P}blocks.0.modulation": torch.ones(1, 6, 4),
    }
    lora = to_lora(deltas, {key: tuple(value.shape) for key, value in deltas.items()}, {"x": "y"}, "name")
    assert sorted(lora) == sorted(
        [
            f"{P}blocks.0.norm3.w_norm",
            f"{P}blocks.0.norm3.b_norm",
            f"{P}time_projection.1.diff_b",
            f"{P}blocks.0.modulation.diff",
        ]
    )
    assert all(value.dtype == torch.float32 for value in lora.values()) and lora.metadata == {"x": "y"}


def test_the_report_counts_by_kind_and_names_what_moved_most():
    found = extract_norms(styled(), Model("base"), [NORMS, MODULATION], BlockWeights())
    text = norm_report(found)
    # ||(0.5, 0, 0, 1)|| / ||(1, 2)||, and 2 / 0.5
    assert "norms: 2 of 3 parameters change, moved by 50.00% of their size" in text
    assert "modulation: 1 of 1 parameters change, moved by 400.00% of their size" in text
    assert text.index("most: input.1.0.emb_layers.1 400.0%") < text.index("most: input.1.0.in_layers.0 50.0%")
    assert draw(norm_charts(found)).shape[0] == 1
    job = extract_norms_job(styled(), Model("base"), [NORMS, MODULATION], BlockWeights())
    assert "5 numbers" in job.report and len(job.model) == 3


def test_the_explained_share_by_hand():
    base, tuned = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0])
    assert explained_share(base, tuned, tuned) == 1.0
    assert explained_share(base, base, tuned) == 0.0
    assert explained_share(base, torch.tensor([3.0, 0.0]), tuned) == pytest.approx(1 - 4 / 5)
    assert explained_share(base, -tuned, tuned) == -1.0
    with pytest.raises(ValueError, match="same output"):
        explained_share(base, tuned, base)
