"""Networks of one style as other repositories save them, each against its own modules written plainly in PyTorch."""

import pytest
import torch
from one_style_networks import Example, example, forward, made, normalised, transposed
from skimage import data
from torch import Tensor, nn

from delta.style_network.files import load_network, save_network
from delta.style_network.network import StyleNetwork, stylize
from delta.style_network.params import StyleParams


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(data.astronaut()[40:120, 190:290].copy()).float()[None] / 255


def painted(network: StyleNetwork, image: Tensor, **options) -> Tensor:
    return stylize(network, image, StyleParams(network.fingerprint, (network.style(0),)), **options)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(example, "pth"), (example, "model"), (example, "safetensors"), (normalised, "pth"), (transposed, "pt")],
)
def test_a_network_paints_as_its_repository_does(tmp_path, photo, make, suffix):
    from safetensors.torch import save_file

    network, path = make(), tmp_path / f"mosaic.{suffix}"
    save_file(network.state_dict(), path) if suffix == "safetensors" else torch.save(network.state_dict(), path)
    loaded, expected = load_network(path), forward(network, photo)
    assert loaded.style_names == ("mosaic",) and 0.02 < float(expected.std()) and 0.1 < float(expected.mean()) < 0.9
    assert (painted(loaded, photo) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("make", [example, transposed])
def test_strips_of_rows_give_the_picture_of_the_whole(tmp_path, photo, make, monkeypatch):
    network = make()
    torch.save(network.state_dict(), tmp_path / "style.pth")
    # Strips of 32 rows, the fewest there are.
    monkeypatch.setattr("delta.style_network.strips.STRIP_PIXELS", 1)
    in_strips = painted(load_network(tmp_path / "style.pth"), photo, pixel_budget=1_000)
    assert (in_strips - forward(network, photo)).abs().max() < 1e-4
    assert painted(load_network(tmp_path / "style.pth"), photo[:, :61, :77]).shape == (1, 61, 77, 3)


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_inside_a_training_state(tmp_path, photo, wrap):
    network = normalised()
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    extras = {"commit_hash": "c0ffee", "content_weight": 1.0, "optimizer_state": {"state": {}}}
    torch.save({**extras, wrap: state}, tmp_path / "style.pth")
    assert (painted(load_network(tmp_path / "style.pth"), photo) - forward(network, photo)).abs().max() < 1e-4


def test_old_files_with_averages_that_were_never_used(tmp_path, photo):
    network = example()
    state = network.state_dict()
    for name in [name for name in state if name.endswith("weight") and state[name].dim() == 1]:
        channels = len(state[name])
        state[name.replace("weight", "running_mean")] = torch.randn(channels)
        state[name.replace("weight", "running_var")] = torch.rand(channels)
    torch.save(state, tmp_path / "old.model")
    assert (painted(load_network(tmp_path / "old.model"), photo) - forward(network, photo)).abs().max() < 1e-4


@pytest.mark.parametrize("blocks", [1, 3])
def test_networks_with_fewer_blocks(tmp_path, photo, blocks):
    network = made(lambda: Example(blocks), "deconv3.conv2d", 128, 60)
    torch.save(network.state_dict(), tmp_path / "short.pth")
    assert (painted(load_network(tmp_path / "short.pth"), photo) - forward(network, photo)).abs().max() < 1e-4


@pytest.mark.parametrize("make", [example, normalised, transposed])
def test_a_network_in_our_own_layout_paints_the_same(tmp_path, photo, make):
    network = make()
    torch.save(network.state_dict(), tmp_path / "style.pth")
    loaded = load_network(tmp_path / "style.pth")
    save_network(loaded, tmp_path / "saved.safetensors")
    again = load_network(tmp_path / "saved.safetensors")
    assert again.fingerprint == loaded.fingerprint
    assert (painted(again, photo) - forward(network, photo)).abs().max() < 1e-4


def test_a_transposed_network_is_another_one_than_its_twin(tmp_path):
    torch.save(transposed().state_dict(), tmp_path / "style.pth")
    save_network(load_network(tmp_path / "style.pth"), tmp_path / "saved.safetensors")
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(tmp_path / "saved.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata.pop("transposed_layers") == "expand.0,expand.1"
    save_file(load_file(tmp_path / "saved.safetensors"), tmp_path / "twin.safetensors", metadata)
    twin = load_network(tmp_path / "twin.safetensors")
    assert twin.fingerprint != load_network(tmp_path / "saved.safetensors").fingerprint


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            {"in2.weight": torch.ones(9)},
            ["the tensor in2.weight has the shape (9,)", "conv2.conv2d.weight has 12 channels"],
        ),
        ({"in2.bias": torch.ones(12, 1)}, ["the tensor in2.bias has the shape (12, 1)"]),
        ({"conv2.conv2d.bias": torch.ones(5)}, ["the tensor conv2.conv2d.bias has the shape (5,)"]),
        (
            {"conv2.conv2d.weight": torch.ones(12, 7, 3, 3)},
            [
                "the tensor conv2.conv2d.weight has the shape (12, 7, 3, 3)",
                "reads 7 channels, but conv1.conv2d.weight has 8",
            ],
        ),
        (
            {"conv1.conv2d.weight": torch.ones(8, 4, 9, 9)},
            ["the tensor conv1.conv2d.weight has the shape (8, 4, 9, 9)", "reads 4 channels, but the picture has 3"],
        ),
        ({"conv3.conv2d.weight": torch.ones(16, 12, 4, 4)}, ["the tensor conv3.conv2d.weight has", "odd side"]),
        ({"conv3.conv2d.weight": torch.ones(16)}, ["the tensor conv3.conv2d.weight has the shape (16,)"]),
        (
            {"deconv3.conv2d.weight": torch.ones(4, 8, 9, 9), "deconv3.conv2d.bias": torch.ones(4)},
            ["the tensor deconv3.conv2d.weight has the shape (4, 8, 9, 9)", "a picture has 3 channels"],
        ),
        ({"in1.weight": None, "in3.bias": None}, ["it lacks in1.weight, in3.bias", "Export the whole state dict"]),
        (
            {"tanh.scale": torch.ones(1), "extra": torch.ones(1)},
            ["nothing uses tanh.scale, extra", "repository defines"],
        ),
        ({"in1.weight": None, "in1.scale": torch.ones(8)}, ["it lacks in1.weight and nothing uses in1.scale"]),
        ({"deconv3.conv2d.weight": None}, ["it lacks deconv3.conv2d.weight"]),
        ({"in1.num_batches_tracked": torch.tensor(3)}, ["in1.num_batches_tracked", "batch normalisation"]),
    ],
)
def test_a_network_that_does_not_fit_is_refused_at_the_door(tmp_path, change, messages):
    state = example().state_dict()
    for name, tensor in change.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    torch.save(state, tmp_path / "candy.pth")
    with pytest.raises(ValueError) as caught:
        load_network(tmp_path / "candy.pth")
    assert all(message in str(caught.value) for message in ["candy.pth", *messages]), caught.value


def test_another_state_dict_is_told_what_was_expected(tmp_path):
    torch.save({"features.0.weight": torch.ones(2, 2)}, tmp_path / "vgg.pth")
    with pytest.raises(
        ValueError, match="vgg.pth is not a style network: none of its 1 tensors, such as features.0.weight"
    ):
        load_network(tmp_path / "vgg.pth")


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 3, 3)), tmp_path / "whole.pth")
    with pytest.raises(ValueError) as caught:
        load_network(tmp_path / "whole.pth")
    lines = str(caught.value).splitlines()
    assert "whole.pth cannot be read safely" in lines[0] and "torch.nn.modules.container.Sequential" in lines[0]
    # The three lines do what they say.
    program = "\n".join(line.strip() for line in lines[-3:]).replace('"whole', f'"{tmp_path}/whole')
    exec(program, {})  # noqa: S102
    assert set(torch.load(tmp_path / "whole_weights.pth", weights_only=True)) == {"0.weight", "0.bias"}
