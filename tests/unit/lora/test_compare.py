"""How LoRAs get along, in figures computed by hand."""

import math
import re

import pytest
import torch

from delta.charts.charts import draw
from delta.linear_algebra.factors import LowRank, zeros
from delta.lora.addresses import ModelNames
from delta.lora.compare import (
    Meeting,
    Overlap,
    Pair,
    Relation,
    compare_loras,
    leading_directions,
    meet,
    overlap,
    relate,
    verdict,
)
from delta.lora.file import LoraModel

OUTPUT_1 = "lora_unet_up_blocks_0_attentions_1_proj_in"
OUTPUT_1_TOO = "lora_unet_up_blocks_0_attentions_1_proj_out"
MIDDLE = "lora_unet_mid_block_attentions_0_proj_in"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
E1, E2, E3 = torch.eye(4)[:3]


def layer(name: str, up: torch.Tensor, down: torch.Tensor) -> dict[str, torch.Tensor]:
    """A rank-1 layer up down^T of a 4 x 4 weight."""
    return {f"{name}.lora_up.weight": up[:, None].clone(), f"{name}.lora_down.weight": down[None].clone()}


def lora(name: str, *layers: dict[str, torch.Tensor]) -> LoraModel:
    return LoraModel({key: tensor for part in layers for key, tensor in part.items()}, name=name)


# Their updates of one layer are 3 e1 e1^T and 4 (0.6 e1 + 0.8 e2) e1^T, of the other e1 e1^T and -e1 e1^T.
A = lora("A", layer(OUTPUT_1, 3 * E1, E1), layer(OUTPUT_1_TOO, E1, E1), layer(TEXT, E1, E1))
B = lora("B", layer(OUTPUT_1, 2.4 * E1 + 3.2 * E2, E1), layer(OUTPUT_1_TOO, -E1, E1), layer(MIDDLE, E1, E1))


@pytest.mark.parametrize(
    ("one", "two", "shared", "chance"),
    [
        ([E1], [E1], 1.0, 0.25),
        ([E1], [E2], 0.0, 0.25),
        ([E1], [0.6 * E1 + 0.8 * E2], 0.36, 0.25),
        ([E1, E2], [E1], 1.0, 0.5),
        ([E1, E2], [E2, E3], 0.5, 0.5),
    ],
)
def test_overlap_is_the_mean_squared_cosine(one, two, shared, chance):
    bases = [torch.stack(columns, 1).double() for columns in (one, two)]
    assert overlap(*bases) == pytest.approx((shared, chance))
    assert overlap(*reversed(bases)) == pytest.approx((shared, chance))


def test_random_spans_overlap_as_chance_says():
    generator = torch.Generator().manual_seed(0)
    bases = [
        torch.linalg.qr(torch.randn(64, rank, generator=generator, dtype=torch.float64))[0]
        for rank in (4, 8)
        for _ in range(40)
    ]
    found = [overlap(one, two) for one, two in zip(bases[:40], bases[40:])]
    assert sum(row.shared for row in found) / len(found) == pytest.approx(found[0].chance, rel=0.05) == 8 / 64


@pytest.mark.parametrize(("values", "kept"), [((3.0, 1.0), 1), ((2.0, 1.0), 2), ((1.0, 0.0), 1), ((0.0, 0.0), 0)])
def test_directions_hold_nine_tenths_of_the_energy(values, kept):
    found = leading_directions(LowRank(torch.diag(torch.tensor(values)), torch.eye(2), (2, 2)))
    assert found.outputs.shape == found.inputs.shape == (2, kept)
    assert found.norm == pytest.approx(math.hypot(*values))


def test_directions_of_nothing_are_none():
    assert leading_directions(zeros((3, 2))).outputs.shape == (3, 0)


def test_outputs_and_inputs_are_told_apart():
    one = LowRank(E1[:, None], E2[None], (4, 4))
    two = LowRank(E1[:, None], E3[None], (4, 4))
    found = meet(leading_directions(one), leading_directions(two))
    assert (found.outputs.shared, found.inputs.shared, found.inner) == pytest.approx((1, 0, 0))


def test_strong_layers_count_more():
    strong = Meeting(Overlap(0.36, 0.2), Overlap(1.0, 0.2), 7.2, (3.0, 4.0))
    weak = Meeting(Overlap(1.0, 0.6), Overlap(0.0, 0.6), -1.0, (1.0, 1.0))
    outputs, inputs, cosine, layers = relate([strong, weak])
    assert outputs == pytest.approx(((12 * 0.36 + 1) / 13, (12 * 0.2 + 0.6) / 13))
    assert inputs == pytest.approx((12 / 13, (12 * 0.2 + 0.6) / 13))
    assert (cosine, layers) == (pytest.approx(6.2 / math.sqrt(10 * 17)), 2)


def test_two_loras_by_hand():
    (pair,) = compare_loras([(A, 1.0, 1.0), (B, 1.0, 1.0)]).pairs
    assert pair.names == ("A", "B") and list(pair.blocks) == ["output.1"]
    relation = pair.blocks["output.1"]
    assert relation.outputs == pytest.approx(((12 * 0.36 + 1) / 13, 0.25))
    assert relation.inputs == pytest.approx((1.0, 0.25))
    assert relation.cosine == pytest.approx(6.2 / math.sqrt(170))
    assert [[path[0] for path in paths] for paths in pair.alone] == [["text"], ["middle"]]


@pytest.mark.parametrize(("strengths", "sign"), [((1.0, -1.0), -1), ((-0.5, -2.0), 1), ((0.3, 7.0), 1)])
def test_strengths_turn_the_cosine_and_nothing_else(strengths, sign):
    plain, turned = (
        compare_loras([(A, one, 1.0), (B, two, 1.0)]).pairs[0].blocks["output.1"]
        for one, two in ((1.0, 1.0), strengths)
    )
    assert turned.cosine == pytest.approx(sign * plain.cosine)
    assert turned.outputs == pytest.approx(plain.outputs) and turned.inputs == pytest.approx(plain.inputs)


def test_block_weights_count_as_strengths():
    (pair,) = compare_loras([(A, 1.0, 1.0, "proj_out=0, text=0"), (B, 1.0, 1.0)]).pairs
    assert pair.blocks["output.1"].cosine == pytest.approx(0.6)
    assert [len(paths) for paths in pair.alone] == [0, 2]


def test_a_lora_is_one_with_itself_and_its_opposite_whatever_the_scale():
    same, opposite = (compare_loras([(A, 1.0, 1.0), (A, strength, strength)]).pairs[0] for strength in (0.01, -3.0))
    for pair, cosine in ((same, 1), (opposite, -1)):
        for relation in pair.blocks.values():
            assert (relation.outputs.shared, relation.inputs.shared) == pytest.approx((1, 1))
            assert relation.cosine == pytest.approx(cosine)


def test_names_of_two_conventions_meet():
    renamed = lora("C", layer("unet.up_blocks.0.attentions.1.proj_in", E1, E1))
    assert compare_loras([(A, 1.0, 1.0), (renamed, 1.0, 1.0)]).pairs[0].blocks["output.1"].layers == 1


def test_every_two_of_three_are_compared():
    comparison = compare_loras([(model, 1.0, 1.0) for model in (A, B, A)])
    assert [pair.names for pair in comparison.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    picture = draw(comparison.charts)
    assert picture.dim() == 4 and picture.shape[-1] == 3


def test_a_model_that_knows_both_lets_loras_without_a_common_layer_pass():
    only_text, only_middle = lora("text", layer(TEXT, E1, E1)), lora("middle", layer(MIDDLE, E1, E1))
    model = ModelNames({MIDDLE: "diffusion_model.middle_block.1.proj_in.weight"})
    comparison = compare_loras([(only_text, 1.0, 1.0), (only_middle, 1.0, 1.0)], model)
    assert "A and B have no layer in common: they can be stacked at full strength." in comparison.report


def test_the_report_names_what_is_not_compared_and_what_one_has_alone():
    dense = LoraModel(A | {"lora_unet_conv_in.diff": torch.ones(4, 4)}, name="A")
    report = compare_loras([(dense, 0.8, 0.5, "text=0.5"), (B, 1.0, 1.0)]).report
    assert "A: A, model 0.8, clip 0.5, blocks text=0.5\n   1 layers not compared" in report
    assert "| 41% (chance 25%) | 100% (chance 25%) | 0.48   | 2      |" in report
    assert "only A has 1 layers: text.clip_l 1" in report and "only B has 1 layers: middle 1" in report


def pair(**blocks: tuple[float, float, float]) -> Pair:
    """Two LoRAs with shares of outputs and inputs, at a chance of 0.02, and cosines by block."""
    relations = {
        block: Relation(Overlap(outputs, 0.02), Overlap(inputs, 0.02), cosine, 9)
        for block, (outputs, inputs, cosine) in blocks.items()
    }
    return Pair(("A", "B"), relations, ([], []))


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ((0.03, 0.02, 0.01), "A and B barely overlap: they can be stacked at full strength."),
        (
            (0.62, 0.58, 0.5),
            "A and B pull the same way in x: .* they share 62% \\(chance 2.0%\\) of their output .*svc",
        ),
        ((0.62, 0.58, -0.5), "A and B pull against each other in x: .*the cosine is -0.50. .*`x=0`.*ties"),
        ((0.62, 0.58, 0.0), "A and B share directions in x, but neither add up nor cancel"),
        ((0.03, 0.58, 0.0), "A and B react to the same inputs in x, but write to different outputs"),
        ((0.62, 0.03, 0.0), "A and B write to the same outputs in x, but react to different inputs"),
    ],
)
def test_verdicts(figures, sentence):
    (found,) = verdict(pair(x=figures))
    assert re.fullmatch(f"{sentence}.*", found)


def test_the_strongest_blocks_are_named_first_and_the_rest_counted():
    rows = {name: (0.5, 0.5, cosine) for name, cosine in zip("abcde", (0.2, 0.6, -0.4, 0.3, 0.5))}
    same, against = verdict(pair(**rows))
    assert "the same way in b, e, d and 1 more block: " in same and "In b they share" in same
    assert "each other in c: " in against


def test_chance_alone_is_not_notable():
    assert not Overlap(0.42, 0.4).notable and Overlap(0.5, 0.4).notable
    assert not Overlap(1.0, 1.0).notable


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "needs 2 to 26 LoRAs, not 0"),
        ([(A, 1.0, 1.0)], "needs 2 to 26 LoRAs, not 1"),
        ([(A, 1.0, 1.0)] * 27, "needs 2 to 26 LoRAs, not 27"),
        ([(A, 1.0, 1.0), (LoraModel({}, name="empty"), 1.0, 1.0)], "empty holds no LoRA tensors"),
        ([(A, 1.0, 1.0), (B, 0.0, 0.0)], "B has no low-rank layer at a strength other than 0"),
        ([(A, 1.0, 1.0), (lora("C", {f"{OUTPUT_1}.diff": torch.ones(4, 4)}), 1.0, 1.0)], "C has no low-rank layer"),
        (
            [(A, 1.0, 1.0), (lora("C", layer("lora_unet_double_blocks_0_img_mlp_0", E1, E1)), 1.0, 1.0)],
            "no layer in co",
        ),
        ([(A, 1.0, 1.0), (lora("C", layer(OUTPUT_1, torch.ones(8), E1)), 1.0, 1.0)], "for different models"),
    ],
)
def test_what_cannot_be_compared_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        compare_loras(inputs)


def test_a_lora_that_does_not_fit_the_model_is_refused():
    with pytest.raises(ValueError, match="does not fit the connected model: none of its 2 layers"):
        model = ModelNames({"lora_unet_double_blocks_0": "diffusion_model.x.weight"})
        compare_loras([(A, 1.0, 1.0), (B, 1.0, 1.0)], model)


def test_progress_covers_the_layers_in_common():
    steps = []
    compare_loras([(A, 1.0, 1.0), (B, 1.0, 1.0)], on_step=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]


def test_an_update_of_nothing_meets_none():
    silent = lora("C", layer(OUTPUT_1, 0 * E1, E1), layer(MIDDLE, E1, E1))
    (found,) = compare_loras([(B, 1.0, 1.0), (silent, 1.0, 1.0)]).pairs
    assert list(found.blocks) == ["middle"]


def test_layers_that_need_their_weight_are_named_and_the_others_compared():
    dora = {f"{MIDDLE}.lora_up.weight": E1[:, None], f"{MIDDLE}.lora_down.weight": E1[None], f"{MIDDLE}.dora_scale": E1}
    mixed = LoraModel(lora("D", layer(OUTPUT_1, E1, E1)) | dora, name="D")
    found = compare_loras([(A, 1.0, 1.0), (mixed, 1.0, 1.0)])
    assert list(found.pairs[0].blocks) == ["output.1"]
    assert f"\n   left out: {MIDDLE} is DoRA: its update depends on the weight" in found.report
