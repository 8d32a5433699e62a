"""VGG-16 and VGG-19 from files, each against its own modules written plainly in PyTorch."""

import re

import pytest
import torch
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn
from transfer_networks import BLOCKS_16, BLOCKS_19, WIDTHS, Torchvision, normalised_vgg, outputs, seeded

from delta.feature_networks.vgg import read_vgg


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """[1, 3, 53, 70]: sides that do not halve evenly."""
    return torch.from_numpy(data.astronaut()[40:93, 190:260].copy()).movedim(-1, 0).float()[None] / 255


def saved(state: dict[str, Tensor], tmp_path, name: str = "vgg.pth"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, features in found.items():
        assert features.shape == expected[name].shape and expected[name].std() > 0.01
        assert (features - expected[name]).abs().max() < 1e-4, name


@pytest.mark.parametrize(("blocks", "last"), [(BLOCKS_16, "relu5_3"), (BLOCKS_19, "relu5_4")])
def test_torchvision(tmp_path, photo, blocks, last):
    network = seeded(Torchvision(blocks))
    vgg = read_vgg(saved(network.state_dict(), tmp_path))
    names = [layer.name for layer in vgg.layers]
    assert names[0] == "relu1_1" and names[-1] == last and len(names) == sum(blocks)
    assert_same(vgg(photo, names), network.named(photo))
    assert vgg.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert vgg.content_layers == ("relu4_2",) and f"VGG-{sum(blocks) + 3} " in vgg.name


@pytest.mark.parametrize(("name", "blocks"), [("vgg19-d01eb7cb.pth", BLOCKS_19), ("vgg16-00b39a1b.pth", BLOCKS_16)])
def test_the_weights_from_caffe_are_told_by_the_name_of_their_file(tmp_path, photo, name, blocks):
    network = seeded(Torchvision(blocks))
    # As the readme of pytorch-vgg says; smaller, so that rounding is as small as elsewhere.
    network.features[0].weight.div_(255)
    wanted = photo[:, [2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    vgg = read_vgg(saved(network.state_dict(), tmp_path, name))
    assert_same(
        vgg(photo, ["relu1_2", "relu5_1"]), {n: outputs(network.features, wanted)[n] for n in ("relu1_2", "relu5_1")}
    )
    assert vgg.name.startswith("Caffe's VGG")


@pytest.mark.parametrize("modules", [53, 44, 31, 4])
def test_normalised(tmp_path, photo, modules):
    network = seeded(normalised_vgg(modules=modules))
    vgg = read_vgg(saved(network.state_dict(), tmp_path))
    assert_same(vgg(photo, [layer.name for layer in vgg.layers]), outputs(network, photo))


def test_true_widths(tmp_path, photo):
    network = seeded(normalised_vgg(WIDTHS, 44))
    vgg = read_vgg(saved(network.state_dict(), tmp_path))
    wanted = [*vgg.style_layers, *vgg.content_layers]
    expected = outputs(network, photo)
    assert_same(vgg(photo, wanted), {name: expected[name] for name in wanted})
    assert [(layer.channels, layer.stride) for layer in vgg.layers if layer.name in vgg.style_layers] == [
        (64, 1),
        (128, 2),
        (256, 4),
        (512, 8),
        (512, 16),
    ]


def test_a_file_that_stops_early_offers_what_it_has(tmp_path):
    vgg = read_vgg(saved(seeded(normalised_vgg(modules=31)).state_dict(), tmp_path))
    assert vgg.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1") and vgg.content_layers == ("relu4_1",)
    with pytest.raises(KeyError, match="has no layer relu5_1"):
        vgg(torch.rand(1, 3, 32, 32), ["relu5_1"])


@pytest.mark.parametrize("make", [lambda: Torchvision(BLOCKS_19), normalised_vgg])
def test_the_least_side_is_the_least_that_works(tmp_path, make):
    vgg = read_vgg(saved(seeded(make()).state_dict(), tmp_path))
    last = vgg.layers[-1].name
    assert min(vgg(torch.rand(1, 3, vgg.min_side, vgg.min_side), [last])[last].shape[-2:]) > 0
    with pytest.raises(RuntimeError):
        vgg(torch.rand(1, 3, vgg.min_side - 1, vgg.min_side - 1), [last])


def test_gradients_reach_the_picture_and_not_the_weights(tmp_path, photo):
    state = {name: tensor.requires_grad_() for name, tensor in normalised_vgg(modules=18).state_dict().items()}
    vgg = read_vgg(saved(state, tmp_path)).to("cpu")
    picture = photo.clone().requires_grad_()
    vgg(picture, ["relu3_1"])["relu3_1"].square().sum().backward()
    assert picture.grad.abs().sum() > 0 and not vgg.entry[0].requires_grad


@pytest.mark.parametrize("make", [lambda: Torchvision(BLOCKS_19), normalised_vgg])
def test_gradients_pass_what_was_loaded_in_a_node(tmp_path, photo, make):
    with torch.inference_mode():
        vgg = read_vgg(saved(seeded(make()).state_dict(), tmp_path)).to("cpu")
    picture = photo.clone().requires_grad_()
    vgg(picture, ["relu2_1"])["relu2_1"].sum().backward()
    assert picture.grad.abs().sum() > 0


@pytest.mark.parametrize("wrap", ["half", "module", "timm"])
def test_other_forms_of_a_file(tmp_path, photo, wrap):
    network = seeded(Torchvision(BLOCKS_16))
    state = network.state_dict()
    if wrap == "half":
        save_file({name: tensor.half() for name, tensor in state.items()}, tmp_path / "vgg.safetensors")
        vgg, tolerance = read_vgg(tmp_path / "vgg.safetensors"), 0.05
    elif wrap == "module":
        vgg, tolerance = read_vgg(saved({f"module.{n}": t for n, t in state.items()}, tmp_path)), 1e-4
    else:
        renamed = {
            n.replace("classifier.0", "pre_logits.fc1").replace("classifier", "head"): t for n, t in state.items()
        }
        vgg, tolerance = read_vgg(saved(renamed, tmp_path)), 1e-4
    assert (vgg(photo, ["relu5_1"])["relu5_1"] - network.named(photo)["relu5_1"]).abs().max() < tolerance


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features.5.weight": None}, "lacks features.5.weight. Use another copy"),
        ({"features.99.weight": torch.zeros(1)}, "nothing uses features.99.weight"),
        ({"features.2.weight": torch.zeros(4, 5, 3, 3)}, r"tensor features.2.weight has the shape \(4, 5, 3, 3\); relu1_2 reads 4 channels"),
        ({"features.2.bias": torch.zeros(7)}, "tensor features.2.bias has the shape"),
        ({"features.2.bias": torch.full((4,), torch.nan)}, "features.2.bias holds NaN"),
        ({"features.1.running_mean": torch.zeros(4)}, "batch normalisation .* vgg19 in place"),
    ],
)  # fmt: skip
def test_files_that_are_no_plain_vgg_are_refused(tmp_path, changes, message):
    state = {**seeded(Torchvision(BLOCKS_19)).state_dict(), **changes}
    path = saved({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_vgg(path)
    assert "vgg.pth" in str(caught.value)


def test_another_network_and_a_whole_pickle_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=re.escape("vgg.pth is not a VGG: none of its 2 tensors, such as bias, weight")
    ):
        read_vgg(saved(nn.Conv2d(3, 4, 3).state_dict(), tmp_path))
    torch.save(nn.Conv2d(3, 4, 3), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="network.state_dict"):
        read_vgg(tmp_path / "whole.pth")
