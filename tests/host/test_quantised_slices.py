"""Adapters of slices of fused weights that are stored in few bits, beside those of whole ones."""

from __future__ import annotations

import pytest
import torch
from quantised import cosine, outputs

from .test_baked_adapters import LAYERS, dora, glora, lora, named, oft, weight_of
from .tiny_models import normal, tiny_model


@pytest.fixture(scope="module")
def models(host):
    """A Flux in eight bits, and the same in float32."""
    return in_eight_bits(stored=True), in_eight_bits(stored=False)


def in_eight_bits(stored: bool):
    """A Flux with the values of float8, stored so or in float32, which casts its weights as the host's loader has it."""
    model = tiny_model("flux")
    for parameter in model.model.parameters():
        rounded = parameter.data.to(torch.float8_e4m3fn)
        parameter.requires_grad_(False).data = rounded if stored else rounded.float()
    for module in model.model.modules():
        if hasattr(module, "comfy_cast_weights"):
            module.comfy_cast_weights = True
    return model


@pytest.fixture(autouse=True)
def as_in_the_host(host):
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", [lora, dora, oft, glora], ids=lambda kind: kind.__name__)
def test_the_change_of_a_slice_is_made_in_full(host, models, kind, layer):
    quantised, wide = models
    key, part = weight_of(wide, layer)
    module = (key if isinstance(key, str) else key[0]).removeprefix("diffusion_model.").removesuffix(".weight")
    tensors, apply = named(layer, kind(*part.shape)), host.node("StyleDeltaApplyLora").execute
    changed = apply(quantised, tensors, 0.3, 1.0, None, "automatic").result[0]
    expected = apply(wide, tensors, 0.3, 1.0, None, "bake").result[0]
    given = normal("inputs", (1, 7, wide.model.diffusion_model.get_submodule(module).in_features), 0)
    found, meant = (
        outputs(after, module, given) - outputs(before, module, given)
        for after, before in ((changed, quantised), (expected, wide))
    )
    assert changed.patches == {} and float(meant.norm()) > 0
    assert cosine(found, meant) > 0.999
    assert float(found.norm()) == pytest.approx(float(meant.norm()), rel=0.01)
