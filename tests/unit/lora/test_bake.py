"""Strengths and block weights multiplied into a LoRA."""

import json

import pytest
import torch

from delta.charts.charts import draw
from delta.lora.bake import bake_job
from delta.lora.file import LoraModel, read_layers
from delta.lora.sources import MergeInput

OUTPUT_1 = "lora_unet_up_blocks_0_attentions_1_proj_in"
MIDDLE = "lora_unet_mid_block_attentions_0_proj_in"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
GENERATOR = torch.Generator().manual_seed(0)


def layer(name: str) -> dict[str, torch.Tensor]:
    return {
        f"{name}.lora_up.weight": torch.randn(6, 2, generator=GENERATOR),
        f"{name}.lora_down.weight": torch.randn(2, 5, generator=GENERATOR),
        f"{name}.alpha": torch.tensor(1.0),
        f"{name}.diff_b": torch.randn(6, generator=GENERATOR),
    }


MODEL = LoraModel(layer(OUTPUT_1) | layer(MIDDLE) | layer(TEXT), {"ss_tag_frequency": "{}"}, "brush")


def baked(rules: str = "", strength_model: float = 1.0, strength_clip: float = 1.0, model: LoraModel = MODEL):
    return bake_job(MergeInput(model, strength_model, strength_clip, rules))


def test_factors_are_multiplied_into_updates_and_biases():
    job = baked("middle=-0.5", 0.8, 0.3)
    before, after = read_layers(MODEL).layers, read_layers(job.model).layers
    for name, factor in ((OUTPUT_1, 0.8), (MIDDLE, -0.4), (TEXT, 0.3)):
        assert torch.allclose(after[name].dense(), factor * before[name].dense(), atol=1e-6)
        assert torch.equal(after[name].bias, factor * before[name].bias)
        assert after[name].low_rank.rank == 2


def test_layers_at_nothing_are_left_out_whole():
    job = baked("*=0, output=1")
    assert {name.split(".")[0] for name in job.model} == {OUTPUT_1}
    assert "1 of 3 layers kept" in job.report
    assert "switched off and left out: text.clip_l 1, middle 1" in job.report


def test_the_report_names_factors_and_rules_without_effect():
    model = LoraModel(MODEL | {"optimizer.state": torch.zeros(2)}, name="brush")
    report = baked("proj_in=0.5, double=1", -0.8, model=model).report
    assert report.startswith("brush baked: model -0.8, clip 1, blocks proj_in=0.5, double=1\n")
    assert "the rule double matches nothing" in report
    assert "not a LoRA tensor, left out: optimizer.state" in report
    assert "  text.clip_l: 1, 1 layers\n  middle: -0.4, 1 layers\n  output.1: -0.4, 1 layers" in report


def test_a_block_with_several_factors_has_their_range():
    model = LoraModel(MODEL | layer("lora_unet_mid_block_attentions_0_proj_out"), name="brush")
    assert "  middle: -0.4 to 0, 2 layers" in baked("proj_out=0", -0.4, model=model).report


def test_the_recipe_and_the_metadata_are_kept():
    job = baked("middle=0.5", 0.8, 0.3)
    assert job.model.name == "brush baked" and job.model.metadata["ss_tag_frequency"] == "{}"
    recipe = json.loads(job.model.metadata["styledelta.recipe"])
    (source,) = recipe["sources"]
    assert recipe["method"] == "bake" and source["name"] == "brush"
    assert (source["strength_model"], source["strength_clip"], source["block_weights"]) == (0.8, 0.3, "middle=0.5")


def test_a_replaced_weight_can_be_switched_off_and_is_else_as_it_is():
    model = LoraModel(MODEL | {"lora_unet_conv_in.set_weight": torch.ones(2, 2)}, name="brush")
    assert "lora_unet_conv_in.set_weight" in baked(model=model).model
    assert "lora_unet_conv_in.set_weight" not in baked("input.0=0", model=model).model
    # Hosts set a weight whatever the strength is.
    assert torch.equal(baked("input.0=0.5", model=model).model["lora_unet_conv_in.set_weight"], torch.ones(2, 2))


def test_a_lora_without_low_rank_layers_is_baked_too():
    model = LoraModel({"lora_unet_conv_in.diff": torch.ones(2, 2)})
    job = baked("", 0.5, model=model)
    assert torch.equal(job.model["lora_unet_conv_in.diff"], torch.full((2, 2), 0.5)) and draw(job.charts).dim() == 4


@pytest.mark.parametrize(
    ("model", "rules", "message"),
    [
        (MODEL, "*=0", "switch off all 3 layers of brush. Its blocks are text.clip_l 1, middle 1, output.1 1"),
        (MODEL, "*=0, double=1", "switch off everything except double.*The blocks are: middle, output"),
        (MODEL, "middle", "`middle` cannot be read"),
        (LoraModel({}), "", "holds no LoRA tensors"),
        (
            LoraModel(
                {"x.dora_scale": torch.ones(2, 1)}
                | {f"x.{k}": torch.ones(2, 2) for k in ("lora_up.weight", "lora_down.weight")}
            ),
            "",
            "is DoRA",
        ),
    ],
)
def test_what_cannot_be_baked_is_refused(model, rules, message):
    with pytest.raises(ValueError, match=message):
        baked(rules, model=model)


def test_blocks_of_flux_under_names_of_diffusers_are_those_of_the_model():
    """All names together fit Flux.1 alone, as those of a whole file do; without a model connected."""
    single = "transformer.single_transformer_blocks.4"
    names = (
        "transformer.transformer_blocks.3.attn.to_q",
        "transformer.transformer_blocks.3.ff_context.net.2",
        f"{single}.norm.linear",
        f"{single}.proj_out",
    )
    model = LoraModel({f"{name}.diff": torch.ones(6, 6) for name in names}, name="flux")
    job = baked("double.*=0", model=model)
    assert {name.removesuffix(".diff") for name in job.model} == set(names[2:])
    assert "matches nothing" not in job.report and "switched off and left out: double.3 2" in job.report
