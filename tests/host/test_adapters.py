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


def kernel_of(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """LyCORIS's product of Kronecker of a matrix and a kernel."""
    return torch.kron(one.reshape(*one.shape, *(1 for _ in two.shape[2:])), two.contiguous())


def core_of(tensors, core, one, two):
    """A kernel in the decomposition of Tucker, as LyCORIS rebuilds it."""
    return torch.einsum("ij...,jr,ip->pr...", *(tensors[name] for name in (core, two, one)))


def expected_lokr(tensors):
    return kernel_of(tensors["lokr_w1"], tensors["lokr_w2"])


def expected_lokr_tucker(tensors):
    return kernel_of(tensors["lokr_w1"], core_of(tensors, "lokr_t2", "lokr_w2_a", "lokr_w2_b"))


def expected_loha_tucker(tensors):
    one, two = (core_of(tensors, f"hada_t{i}", f"hada_w{i}_a", f"hada_w{i}_b") for i in (1, 2))
    return one * two


def expected_tucker(tensors):
    up, down = (tensors[f"lora_{half}.weight"].flatten(1) for half in ("up", "down"))
    return torch.einsum("or,rs...,si->oi...", up, tensors["lora_mid.weight"], down)


# Adapters that the host drops, with an error in its log or aloud, or multiplies wrongly.
MISREAD = [
    (lokr, expected_lokr, CONV1D),
    (lokr, expected_lokr, CONV3D),
    (lokr_tucker, expected_lokr_tucker, CONV2D),
    (lokr_tucker, expected_lokr_tucker, CONV3D),
    (loha_tucker, expected_loha_tucker, CONV1D),
    (loha_tucker, expected_loha_tucker, CONV3D),
    (tucker, expected_tucker, CONV1D),
    (tucker, expected_tucker, CONV3D),
]


@pytest.mark.parametrize(
    ("make", "formula", "shape"), MISREAD, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_what_the_host_misreads_is_read_by_its_formula_and_written_as_the_host_reads_it(delta, make, formula, shape):
    tensors = make(shape)
    expected = formula(tensors)
    assert not same_as_host(tensors, expected)
    layer = delta("lora.adapters").read_layer("layer", tensors)
    assert (layer.dense() - expected).abs().max() <= 2e-6 * expected.abs().max()
    written = delta("lora.file").write_layers({"layer": layer}, torch.float32)
    assert same_as_host({name.removeprefix("layer."): tensor for name, tensor in written.items()}, expected)


def same_as_host(tensors, expected) -> bool:
    """Whether the host's loader makes this update of the tensors of a layer."""
    import comfy.lora

    patch = comfy.lora.load_lora(
        {f"layer.{ending}": tensor for ending, tensor in tensors.items()}, {"layer": "layer.weight"}
    )
    zero = torch.zeros(expected.shape)
    try:
        applied = comfy.lora.calculate_weight([(1.0, patch["layer.weight"], 1.0, None, None)], zero, "layer.weight")
    except (IndexError, RuntimeError):
        return False
    return bool((applied - expected).abs().max() <= 2e-6 * expected.abs().max())


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
