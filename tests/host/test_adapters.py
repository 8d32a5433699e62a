"""Every adapter as a low-rank update, against the host's own adapters."""

import importlib

import pytest
import torch

LINEAR, CONV2D, CONV1D, CONV3D = (12, 8), (12, 8, 3, 3), (12, 8, 3), (12, 8, 1, 3, 3)


@pytest.fixture(scope="module")
def delta(host):
    """The pack's own delta package inside the host."""
    pack = host.node("StyleDeltaAddLora").__module__.rsplit(".", 2)[0]
    return lambda name: importlib.import_module(f"{pack}.delta.{name}")


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def lora(shape, rank=4):
    kernel = shape[2:]
    return {"lora_up.weight": rand(shape[0], rank, *(1 for _ in kernel)), "lora_down.weight": rand(rank, *shape[1:])}


def tucker(shape, rank=4):
    ones = tuple(1 for _ in shape[2:])
    up, down = rand(shape[0], rank, *ones), rand(rank, shape[1], *ones)
    return {"lora_up.weight": up, "lora_mid.weight": rand(rank, rank, *shape[2:]), "lora_down.weight": down}


def loha(shape, rank=3):
    columns = torch.Size(shape[1:]).numel()
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    return {n: rand(shape[0], rank) + i if n.endswith("a") else rand(rank, columns) - i for i, n in enumerate(names)}


def loha_tucker(shape, rank=3):
    out = {f"hada_t{i}": rand(rank, rank, *shape[2:]) * i for i in (1, 2)}
    for i in (1, 2):
        out |= {f"hada_w{i}_a": rand(rank, shape[0]) + i, f"hada_w{i}_b": rand(rank, shape[1]) - i}
    return out


def lokr(shape):
    return {"lokr_w1": rand(3, 2), "lokr_w2": rand(shape[0] // 3, shape[1] // 2, *shape[2:])}


def lokr_factored(shape):
    second = {"lokr_w2_a": rand(shape[0] // 3, 2), "lokr_w2_b": rand(2, shape[1] // 2 * torch.Size(shape[2:]).numel())}
    return {"lokr_w1_a": rand(3, 2), "lokr_w1_b": rand(2, 2)} | second


def lokr_tucker(shape):
    t2 = rand(2, 2, *shape[2:])
    return {
        "lokr_w1": rand(3, 2),
        "lokr_t2": t2,
        "lokr_w2_a": rand(2, shape[0] // 3),
        "lokr_w2_b": rand(2, shape[1] // 2),
    }


CASES = [
    *((lora, shape) for shape in (LINEAR, CONV1D, CONV2D, CONV3D)),
    *((tucker, shape) for shape in (CONV2D,)),
    *((loha, shape) for shape in (LINEAR, CONV2D)),
    (loha_tucker, CONV2D),
    *((lokr, shape) for shape in (LINEAR, CONV2D)),
    (lokr_factored, LINEAR),
]


@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize(("make", "shape"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_update_is_what_the_host_applies(delta, make, shape, alpha):
    import comfy.lora

    tensors = make(shape) | ({} if alpha is None else {"alpha": torch.tensor(alpha)})
    named = {f"layer.{ending}": tensor for ending, tensor in tensors.items()}
    patches = comfy.lora.load_lora(named, {"layer": "layer.weight"})
    zero = torch.zeros(shape)
    expected = comfy.lora.calculate_weight(
        [(1.0, patches["layer.weight"], 1.0, None, None)], zero.clone(), "layer.weight"
    )
    assert expected.abs().max() > 0
    layer = delta("lora.adapters").read_layer("layer", tensors)
    ours = layer.low_rank.to_dense().reshape(shape)
    assert (ours - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert layer.used == tensors.keys()


def test_a_lokr_with_a_tucker_core(delta):
    """The host drops this layer with an error in its log (its kron gets a non-contiguous kernel); ours is the formula."""
    tensors = lokr_tucker(CONV2D) | {"alpha": torch.tensor(1.0)}
    kernel = torch.einsum("ijkl,jr,ip->prkl", *(tensors[f"lokr_{name}"] for name in ("t2", "w2_b", "w2_a")))
    expected = torch.kron(tensors["lokr_w1"][:, :, None, None], kernel.contiguous()) / 2
    ours = delta("lora.adapters").read_layer("layer", tensors).low_rank.to_dense()
    assert (ours - expected).abs().max() <= 2e-6 * expected.abs().max()


@pytest.mark.parametrize(("make", "shape"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_written_layer_is_read_alike_by_the_host(delta, make, shape):
    import comfy.lora

    files, adapters = delta("lora.file"), delta("lora.adapters")
    layer = adapters.read_layer("layer", make(shape))
    layer.bias = rand(shape[0])
    written = files.write_layers({"layer": layer}, torch.float32)
    patches = comfy.lora.load_lora(written, {"layer": "layer.weight"})
    zero = torch.zeros(shape)
    applied = comfy.lora.calculate_weight([(1.0, patches["layer.weight"], 1.0, None, None)], zero, "layer.weight")
    expected = layer.low_rank.to_dense().reshape(shape)
    assert (applied - expected).abs().max() <= 2e-6 * expected.abs().max()
    assert torch.equal(patches["layer.bias"][1][0], layer.bias)
