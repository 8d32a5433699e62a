"""LoRAs that Train Style can train, of every family: each layer that is trained has a name by which core applies it."""

import pytest
import torch

from .family_matrix import NARROW
from .layouts import CHANNELS, TABLE, build, describe, has
from .norm_training import module

SMALL = [layout for layout in TABLE if layout.only_meta is None]


def small(layout):
    model = build(layout, description=describe(layout, channels=NARROW))
    whole = all(weight.numel() for weight in model.model.diffusion_model.parameters())
    return model if whole else build(layout, description=describe(layout, channels=CHANNELS))


@pytest.mark.parametrize("layout", SMALL, ids=lambda layout: layout.name)
def test_core_applies_the_factors_of_every_layer(host, layout):
    import comfy.lora

    if not has(layout):
        pytest.skip(layout.since)
    model = small(layout)
    inputs, weights = module(host, "nodes.host.training_inputs"), module(host, "nodes.host.weights")
    plans, styles = module(host, "delta.training.plan"), module(host, "delta.training.style")
    shapes = inputs.parameter_shapes(model)
    choice = plans.Choice("LoRA", (), 2, "attention and convolutions")
    plan = plans.plan(choice, shapes, weights.module_classes(model), inputs.lora_layers(model))
    style = styles.first_style(plan, 0, torch.device("cpu")).copy()
    for part in style.factors.values():
        part.up.normal_()
    lora = styles.as_lora(style, shapes, {}, "style")
    proof = module(host, "nodes.host.names").prover(model, None)(lora)
    assert not proof.unread and "never apply" not in proof.line
    applied = host.node("LoraModelLoader").execute(model, dict(lora), 1.0)[0]
    assert applied.patches.keys() == style.factors.keys()
    for name in list(style.factors)[:: max(1, len(style.factors) // 8)]:
        before = model.model.state_dict()[name].float()
        after = comfy.lora.calculate_weight(applied.patches[name], before.clone(), name)
        wanted = before + style.factors[name].to_dense().reshape(before.shape)
        assert torch.allclose(after, wanted, atol=1e-4 * float(wanted.abs().max()))
