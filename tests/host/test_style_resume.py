"""Train Style goes on from a LoRA: exactly, or not at all."""

import pytest
import torch

from .norm_training import BOTH, LORA, evaluate, losses, model_of, train


@pytest.mark.parametrize(("layout", "changes"), [("flux", LORA), ("sd15", BOTH), ("lumina", {})])
def test_training_goes_on_from_its_own_result(host, layout, changes):
    model = model_of(layout)
    first, report, _ = train(host, layout, model, steps=4, **changes)
    again, second, _ = train(host, layout, model, steps=4, seed=1, resume_from=first, **changes)
    assert losses(second)[0] == pytest.approx(losses(report)[1], rel=1e-5)
    assert "resumed from the connected LoRA" in second and losses(second)[1] < losses(second)[0]
    assert again.keys() == first.keys() and '"name": "trained style"' in again.metadata["styledelta.recipe"]


def test_a_higher_rank_goes_on_from_a_lower_one(host):
    model = model_of("flux")
    first, report, _ = train(host, "flux", model, steps=4, **LORA)
    again, second, _ = train(host, "flux", model, steps=4, resume_from=first, **{**LORA, "rank": 6})
    assert losses(second)[0] == pytest.approx(losses(report)[1], rel=1e-5)
    assert again["diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight"].shape == (192, 6)


def qkv_parts() -> dict[str, torch.Tensor]:
    """A LoRA of rank 1 for the query of a weight of Flux in which query, key and value are one, by diffusers' name."""
    name = "transformer.transformer_blocks.0.attn.to_q"
    return {f"{name}.lora_B.weight": torch.ones(64, 1), f"{name}.lora_A.weight": torch.ones(1, 64)}


def test_a_lora_of_parts_of_a_weight_is_gone_on_from(host):
    model = model_of("flux")
    applied = host.node("LoraModelLoader").execute(model, qkv_parts(), 1.0)[0]
    _, report, _ = train(host, "flux", model, steps=2, resume_from=qkv_parts(), **LORA)
    assert losses(report)[0] == pytest.approx(evaluate(host, "flux", applied), rel=1e-4)


QKV = "diffusion_model.double_blocks.0.img_attn.qkv"
MISFITS = {
    "rank": (
        {f"{QKV}.lora_B.weight": torch.ones(192, 5), f"{QKV}.lora_A.weight": torch.ones(5, 64)},
        "is of rank 5, but rank 4 is being trained. Choose rank 5, or make it smaller with Resize LoRA",
    ),
    "shape": (
        {f"{QKV}.lora_B.weight": torch.ones(96, 2), f"{QKV}.lora_A.weight": torch.ones(2, 64)},
        r"img_attn.qkv.weight is \[192, 64\] in the model, but \[96, 64\] in",
    ),
    "bias": ({f"{QKV}.diff_b": torch.ones(192)}, "changes 1 parameters that are not trained here, such as .*qkv.bias. Train"),
    "dense": ({f"{QKV}.diff": torch.ones(192, 64)}, "changes 1 parameters that are not trained here, such as .*qkv.weight"),
    "other layer": (
        {"diffusion_model.img_in.lora_B.weight": torch.ones(64, 1), "diffusion_model.img_in.lora_A.weight": torch.ones(1, 64)},
        "1 parameters that are not trained here, such as img_in.weight",
    ),
    "other model": (
        {"lora_unet_mid_block.lora_up.weight": torch.ones(4, 1), "lora_unet_mid_block.lora_down.weight": torch.ones(1, 4)},
        "lora_unet_mid_block of LoRA is not a layer of the model. Connect a LoRA that was made for it",
    ),
    "new weight": ({f"{QKV}.set_weight": torch.ones(192, 64)}, "replaces or pads its weight, from which training cannot resume"),
    "foreign": ({f"{QKV}.diff_b": torch.ones(192), "step": torch.ones(1)}, "holds step, which are not tensors of a LoRA"),
    "DoRA": (
        {
            f"{QKV}.lora_B.weight": torch.ones(192, 1), f"{QKV}.lora_A.weight": torch.ones(1, 64),
            f"{QKV}.dora_scale": torch.ones(192, 1), "diffusion_model.img_in.diff_b": torch.ones(64),
        },
        "Training cannot resume from LoRA: .*qkv is DoRA",
    ),
    "empty": ({}, "holds no LoRA tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_lora_that_does_not_fit_is_an_error(host, name):
    lora, message = MISFITS[name]
    with pytest.raises(ValueError, match=message):
        train(host, "flux", model_of("flux"), resume_from=lora, **LORA)
