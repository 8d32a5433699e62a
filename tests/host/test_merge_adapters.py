"""A linear merge of every kind of adapter against what core makes of the same files, one after the other."""

import importlib
import json

import pytest
import torch

SHAPES = {"linear": (12, 8), "conv": (12, 8, 3, 3), "pixel": (12, 8, 1, 1), "norm": (12,)}


def rand(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lora(shape, seed, rank, alpha):
    ones = tuple(1 for _ in shape[2:])
    parts = {"lora_up.weight": rand(seed, shape[0], rank, *ones), "lora_down.weight": rand(seed + 1, rank, *shape[1:])}
    return parts | ({} if alpha is None else {"alpha": torch.tensor(alpha)})


def tucker(shape, seed, rank, alpha):
    ones = tuple(1 for _ in shape[2:])
    parts = lora(shape, seed, rank, alpha) | {"lora_down.weight": rand(seed + 1, rank, shape[1], *ones)}
    return parts | {"lora_mid.weight": rand(seed + 2, rank, rank, *shape[2:])}


def loha(shape, seed, rank, alpha):
    columns = torch.Size(shape[1:]).numel()
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    parts = {
        n: rand(seed + i, shape[0], rank) if n.endswith("a") else rand(seed + i, rank, columns)
        for i, n in enumerate(names)
    }
    return parts | ({} if alpha is None else {"alpha": torch.tensor(alpha)})


def lokr(shape, seed, rank, alpha):
    return {"lokr_w1": rand(seed, 3, 2), "lokr_w2": rand(seed + 1, shape[0] // 3, shape[1] // 2, *shape[2:])}


def named(layer, tensors):
    return {f"{layer}.{ending}": tensor for ending, tensor in tensors.items()}


def files() -> list[dict[str, torch.Tensor]]:
    """Two files that meet in every layer with different adapters, ranks and alphas, and have layers of their own."""
    linear, conv, pixel, norm = SHAPES.values()
    one = (
        named("linear", lora(linear, 1, 4, 2.0))
        | named("conv", tucker(conv, 5, 3, 1.0))
        | named("own", loha(linear, 9, 2, None))
    )
    one |= (
        named("pixel", lora(pixel, 12, 2, None))
        | named("mixed", loha(conv, 15, 2, 1.0))
        | named("kron", lokr(linear, 20, 0, None))
    )
    one |= {
        "linear.diff_b": rand(30, 12),
        "norm.w_norm": rand(31, 12),
        "norm.b_norm": rand(32, 12),
        "dense.diff": rand(33, 12, 8),
    }
    two = (
        named("linear", lokr(linear, 40, 0, None))
        | named("conv", lora(conv, 45, 6, 3.0))
        | named("kron", lora(linear, 50, 5, 5.0))
    )
    two |= (
        named("pixel", lora((12, 8), 55, 3, 1.5))
        | named("mixed", lokr(conv, 60, 0, None))
        | named("other", lora(linear, 65, 2, 8.0))
    )
    two |= {
        "linear.diff_b": rand(70, 12),
        "norm.w_norm": rand(71, 12),
        "norm.b_norm": rand(72, 12),
        "dense.diff": rand(73, 12, 8),
    }
    return [one, two]


LAYERS = {
    "linear": "linear", "conv": "conv", "own": "linear", "pixel": "pixel", "mixed": "conv", "kron": "linear",
    "norm": "norm", "dense": "linear", "other": "linear",
}  # fmt: skip


def applied(tensors, strength):
    """What core adds to every weight and bias of the layers for one file."""
    import comfy.lora

    patches = comfy.lora.load_lora(tensors, {layer: f"{layer}.weight" for layer in LAYERS})
    result = {}
    for key, patch in patches.items():
        layer = key.split(".")[0]
        zero = torch.zeros(SHAPES[LAYERS[layer]] if key.endswith("weight") else (12,))
        result[key] = comfy.lora.calculate_weight([(strength, patch, 1.0, None, None)], zero, key)
    return result


@pytest.fixture(scope="module")
def delta(host):
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return lambda name: importlib.import_module(f"{pack}.delta.{name}")


@pytest.mark.parametrize("strengths", [(1.0, 1.0), (0.7, -0.4)])
def test_a_linear_merge_equals_stacking_for_every_adapter(host, strengths):
    one, two = files()
    inputs = {"lora_1": one, "strength_1": strengths[0], "lora_2": two, "strength_2": strengths[1]}
    merged = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, **inputs)[0]
    first, second, ours = applied(one, strengths[0]), applied(two, strengths[1]), applied(merged, 1.0)
    assert ours.keys() == first.keys() | second.keys()
    for key, value in ours.items():
        expected = sum(part[key] for part in (first, second) if key in part)
        assert (value - expected).norm() <= 1e-6 * expected.norm(), key


STACKS = {
    "set": [({"norm.set_weight": rand(90, 12)}, 0.3)],
    "set, then changed": [({"norm.set_weight": rand(90, 12)}, 0.3), ({"norm.w_norm": rand(91, 12)}, -0.6)],
    "changed, then set": [({"norm.w_norm": rand(91, 12)}, -0.6), ({"norm.set_weight": rand(90, 12)}, 2.0)],
    "set twice": [({"norm.set_weight": rand(90, 12)}, 0.3), ({"norm.set_weight": rand(92, 12)}, -1.0)],
    "padded": [(named("linear", lora((14, 11), 93, 2, 1.0)) | {"linear.reshape_weight": torch.tensor([14, 11])}, 0.3)],
    "changed, then padded": [
        (named("linear", lora((12, 8), 95, 2, None)), -0.6),
        (named("linear", lora((14, 11), 93, 2, 1.0)) | {"linear.reshape_weight": torch.tensor([14, 11])}, 0.3),
    ],
}


@pytest.mark.parametrize("stack", STACKS)
def test_weights_that_are_replaced_or_padded_are_merged_as_they_are_stacked(host, stack):
    import comfy.lora

    inputs = {}
    for number, (tensors, strength) in enumerate(STACKS[stack], start=1):
        inputs |= {f"lora_{number}": tensors, f"strength_{number}": strength}
    merged = host.node("StyleDeltaMergeLoras").execute("linear", "", 0, 0, **inputs)[0]
    results = []
    for files in (STACKS[stack], [(merged, 1.0)]):
        layer = next(iter(files[0][0])).split(".")[0]
        weight = rand(96, *SHAPES[layer])
        for tensors, strength in files:
            patch = comfy.lora.load_lora(tensors, {layer: f"{layer}.weight"})[f"{layer}.weight"]
            weight = comfy.lora.calculate_weight([(strength, patch, 1.0, None, None)], weight, f"{layer}.weight")
        results.append(weight)
    assert (results[1] - results[0]).norm() <= 1e-6 * results[0].norm()


@pytest.mark.parametrize("choice", [("fixed", 3.0, 0.0), ("energy", 0.87654321, 0.0), ("size", 0.003, 0.0)])
def test_the_recipe_rebuilds_the_file(host, choice):
    one, two = files()
    merge = host.node("StyleDeltaMergeLoras").execute
    policy = host.node("StyleDeltaRankPolicy").execute
    inputs = {"lora_1": one, "strength_1": 0.7, "lora_2": two, "strength_2": -0.4}
    merged = merge("dare", "drop=0.4", 0, 11, rank_policy=policy(*choice)[0], **inputs)[0]
    recipe = json.loads(merged.metadata["styledelta.recipe"])
    parameters = ", ".join(f"{name}={value}" for name, value in recipe["parameters"].items())
    strengths = {f"strength_{i}": source["strength_model"] for i, source in enumerate(recipe["sources"], start=1)}
    inputs = {"lora_1": one, "lora_2": two, "rank_policy": policy(**recipe["rank"])[0]} | strengths
    again = merge(recipe["method"], parameters, 0, recipe["seed"], **inputs)[0]
    assert again.keys() == merged.keys() and all(torch.equal(again[name], merged[name]) for name in merged)


NAMINGS = {
    "kohya": "lora_unet_down_blocks_1_attentions_0_proj_in",
    "ComfyUI": "diffusion_model.input_blocks.4.1.proj_in",
    "diffusers": "unet.down_blocks.1.attentions.0.proj_in",
    "SimpleTuner": "lycoris_down_blocks_1_attentions_0_proj_in",
    "OneTrainer": "lora_transformer_single_transformer_blocks_0_attn_to_q",
}
KINDS = {
    "lora": (lora, "linear"),
    "lora conv": (lora, "conv"),
    "tucker": (tucker, "conv"),
    "loha": (loha, "linear"),
    "loha conv": (loha, "conv"),
    "lokr": (lokr, "linear"),
    "lokr conv": (lokr, "conv"),
    "plain": (lambda shape, seed, rank, alpha: {"diff": rand(seed, *shape), "diff_b": rand(seed, shape[0])}, "linear"),
}


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_every_kind_and_naming_is_accounted_for(delta, kind, naming):
    make, shape = KINDS[kind]
    tensors = named(NAMINGS[naming], make(SHAPES[shape], 3, 2, 1.0))
    read = delta("lora.file").read_layers(tensors | {"foreign.tensor": torch.zeros(1)})
    assert read.foreign == ["foreign.tensor"]
    ((name, layer),) = read.layers.items()
    assert {f"{name}.{ending}" for ending in layer.used} == tensors.keys()
