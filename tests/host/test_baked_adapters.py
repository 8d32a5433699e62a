"""Adapters that need their weight, on parts of fused weights too, and adapters that do not fit, against the host's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from .tiny_models import normal, tiny_model

# Query and value of a fused weight, query and MLP of a wider one, halves in the other order, and a whole weight.
QUERY = "transformer.transformer_blocks.0.attn.to_q"
LAYERS = (
    QUERY,
    "transformer.transformer_blocks.0.attn.to_v",
    "transformer.single_transformer_blocks.0.attn.to_k",
    "transformer.single_transformer_blocks.0.proj_mlp",
    "transformer.norm_out.linear",
    "diffusion_model.double_blocks.0.img_attn.proj",
)


def dora(m: int, n: int) -> dict[str, torch.Tensor]:
    rows = {"dora_scale": 1 + 0.1 * normal("scale", (m, 1), 0)}
    return lora(m, n) | rows | {"alpha": torch.tensor(2.0)}


def dora_of_columns(m: int, n: int) -> dict[str, torch.Tensor]:
    return lora(m, n) | {"dora_scale": 1 + 0.1 * normal("scale", (1, n), 0)}


def lora(m: int, n: int) -> dict[str, torch.Tensor]:
    return {"lora_up.weight": normal("up", (m, 4), 0), "lora_down.weight": 0.1 * normal("down", (4, n), 0)}


def dora_of_loha(m: int, n: int) -> dict[str, torch.Tensor]:
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    factors = {name: 0.5 * normal(name, (m, 2) if name.endswith("a") else (2, n), 0) for name in names}
    return factors | {"dora_scale": 1 + 0.1 * normal("scale", (m, 1), 0)}


def glora(m: int, n: int) -> dict[str, torch.Tensor]:
    shapes = {"a1.weight": (n, 3), "a2.weight": (3, n), "b1.weight": (m, 3), "b2.weight": (3, n)}
    return {name: 0.2 * normal(name, shape, 0) for name, shape in shapes.items()}


def oft(m: int, n: int) -> dict[str, torch.Tensor]:
    return {"oft_blocks": 0.1 * normal("blocks", (m // 8, 8, 8), 0)}


def boft(m: int, n: int) -> dict[str, torch.Tensor]:
    return {"oft_blocks": 0.1 * normal("blocks", (2, m // 4, 4, 4), 0), "alpha": torch.tensor(0.0)}


KINDS = (dora, dora_of_columns, dora_of_loha, glora, oft, boft)


@pytest.fixture(scope="module")
def pack(host) -> Callable[[str], Any]:
    name = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return lambda module: importlib.import_module(f"{name}.{module}")


@pytest.fixture(scope="module")
def flux(host) -> Any:
    return tiny_model("flux")


def weight_of(model: Any, layer: str) -> tuple[Any, torch.Tensor]:
    """What the layer's name means to the host, and the weight, or part of one, that it is for."""
    import comfy.lora

    key = comfy.lora.model_lora_keys_unet(model.model, {})[layer]
    weight = model.model.state_dict()[key if isinstance(key, str) else key[0]]
    return key, weight if isinstance(key, str) or key[1] is None else weight.narrow(*key[1])


def named(layer: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{layer}.{ending}": tensor for ending, tensor in tensors.items()}


def stacked(model: Any, tensors: dict[str, torch.Tensor], key: Any) -> torch.Tensor:
    """The weight after core has loaded the tensors."""
    import comfy.lora
    import comfy.sd

    patcher, _ = comfy.sd.load_lora_for_models(model, None, tensors, 1.0, 0.0)
    name = key if isinstance(key, str) else key[0]
    weight = model.model.state_dict()[name].detach().clone()
    return comfy.lora.calculate_weight(patcher.patches[name], weight, name)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_baked_is_what_core_adds(host, flux, kind, layer):
    key, part = weight_of(flux, layer)
    tensors = named(layer, kind(*part.shape))
    expected = stacked(flux, tensors, key)
    base = flux.model.state_dict()[key if isinstance(key, str) else key[0]]
    merged = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, lora_1=tensors, strength_1=1.0, model=flux)[
        0
    ]
    assert merged.keys() == {f"{layer}.diff"} and merged[f"{layer}.diff"].shape == part.shape
    assert (expected - base).norm() > 1e-2 * base.norm()
    assert (stacked(flux, merged, key) - expected).norm() <= 1e-6 * expected.norm()


def test_a_layer_that_the_model_lacks_is_named_beside_the_others(pack, flux):
    files, loras = pack("delta.lora.file"), pack("nodes.host.loras")
    bake = loras.baker(flux, None, loras.lora_key_map(flux, None))
    _, part = weight_of(flux, QUERY)
    read = files.read_layers(named(QUERY, oft(*part.shape)) | named("transformer.none", oft(*part.shape)), bake)
    assert read.layers.keys() == {QUERY}
    assert read.needs_base["transformer.none"].startswith("transformer.none is not a layer of the connected model")


def test_what_the_host_fails_to_bake_is_an_error(pack, flux):
    files, loras = pack("delta.lora.file"), pack("nodes.host.loras")
    bake = loras.baker(flux, None, loras.lora_key_map(flux, None))
    with pytest.raises(ValueError, match=f"{QUERY} cannot be applied by ComfyUI: ERROR oft"):
        files.read_layers({f"{QUERY}.oft_blocks": torch.ones(3, 5, 5)}, bake)
    with pytest.raises(ValueError, match=f"{QUERY} has dora_scale, from which ComfyUI makes no update"):
        files.read_layers({f"{QUERY}.dora_scale": torch.ones(5, 1)}, bake)


def apply(host, model: Any, tensors: dict[str, torch.Tensor]) -> str:
    return host.node("StyleDeltaApplyLora").execute(model, tensors, 1.0, 1.0)[2]


def plain(kind: str, m: int, n: int) -> dict[str, torch.Tensor]:
    """Adapters of every kind that are for an m x n weight."""
    if kind == "lora":
        return lora(m, n)
    if kind == "loha":
        return {name: tensor for name, tensor in dora_of_loha(m, n).items() if name != "dora_scale"}
    if kind == "lokr":
        return {"lokr_w1": normal("w1", (4, 4), 0), "lokr_w2": normal("w2", (m // 4, n // 4), 0)}
    if kind == "diff":
        return {"diff": normal("diff", (m, n), 0)}
    return next(make for make in KINDS if make.__name__ == kind)(m, n)


@pytest.mark.parametrize("layer", (QUERY, "diffusion_model.double_blocks.0.img_attn.proj"))
@pytest.mark.parametrize("kind", ("lora", "loha", "lokr", "diff", *(kind.__name__ for kind in KINDS)))
def test_an_adapter_of_another_shape_is_not_counted_as_applied(host, flux, kind, layer):
    _, part = weight_of(flux, layer)
    m, n = part.shape
    assert "model: 1 weights" in apply(host, flux, named(layer, plain(kind, m, n)))
    with pytest.raises(ValueError, match=rf"does not fit this model: .* is \({m}, {n}\) in the model, but the LoRA"):
        apply(host, flux, named(layer, plain(kind, 2 * m, n)))


def test_what_the_host_fails_to_compute_is_not_counted_as_applied(host, flux):
    _, part = weight_of(flux, QUERY)
    without_alpha = {name: tensor for name, tensor in boft(*part.shape).items() if name != "alpha"}
    with pytest.raises(ValueError, match="ComfyUI cannot apply the LoRA's boft to it"):
        apply(host, flux, named(QUERY, without_alpha))


def test_a_lokr_for_a_part_of_a_fused_weight_fits_where_the_host_takes_its_rows(pack, flux, monkeypatch):
    """ComfyUI 0.38 keeps where the rows begin, or tells it by the name; earlier ones apply no such LoKr."""
    import comfy.lora
    import comfy.weight_adapter.lokr as host_lokr

    loras = pack("nodes.host.loras")
    factors = {"lokr_w1": normal("w1", (4, 2), 0), "lokr_w2": normal("w2", (4, 4), 0)}
    (patch,) = comfy.lora.load_lora(named("layer", factors), {"layer": "layer.weight"}).values()
    weights = {"layer.weight": torch.zeros(4, 8)}
    monkeypatch.delattr(host_lokr, "fused_qkv_row_offset", raising=False)
    patch.row_offset = None
    assert "but the LoRA's change is 16 x 8" in loras.first_misfit({"layer.weight": patch}, weights)
    patch.row_offset = 12
    assert loras.first_misfit({"layer.weight": patch}, weights) is None
    patch.row_offset = 13
    assert "but the LoRA's change is 16 x 8" in loras.first_misfit({"layer.weight": patch}, weights)
    patch.row_offset, patch.key = None, "layer"
    monkeypatch.setattr(
        host_lokr, "fused_qkv_row_offset", lambda *given: 8 if "weight" in given[2] else None, raising=False
    )
    assert loras.first_misfit({"layer.weight": patch}, weights) is None
