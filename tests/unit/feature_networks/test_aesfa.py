"""AesFA from a checkpoint of its authors' layout, against their modules written plainly in PyTorch."""

import pytest
import torch
from aesfa_network import AesFA
from skimage import data
from torch import Tensor
from transfer_networks import seeded

from delta.feature_networks.transfer import measure_style, transfer_style
from delta.feature_networks.transfer_files import load_transfer_network
from delta.feature_networks.transfer_style import TransferStyle, extend, load_style, save_style


def picture(name: str, height: int = 64, width: int = 80) -> Tensor:
    pixels = getattr(data, name)()[40 : 40 + height, 190 : 190 + width].copy()
    return torch.from_numpy(pixels).float()[None] / 255


def random(nf: int) -> AesFA:
    """One whose pictures are mostly within 0..1, and not plain."""
    network = seeded(AesFA(nf))
    photo = picture("astronaut").movedim(-1, 1)
    drawn, last = network(photo, photo), network.netG.conv4
    mean, std = drawn.mean((0, 2, 3)), drawn.std((0, 2, 3))
    last.bias.copy_((last.bias * 0.224 + 0.45 - mean) / std)
    last.weight.mul_(0.224 / std[:, None, None, None])
    return network


def load(tmp_path, checkpoint, name: str = "main.pth"):
    torch.save(checkpoint, tmp_path / name)
    return load_transfer_network(tmp_path / name)


def style_of(network, image: Tensor) -> TransferStyle:
    return extend(None, measure_style(network, image, "style"), network.fingerprint)


@pytest.mark.parametrize("nf", [8, 64])
def test_it_paints_as_its_authors_do(tmp_path, nf):
    reference, photo, painting = random(nf), picture("astronaut"), picture("coffee", 64, 64)
    expected = reference(photo.movedim(-1, 1), painting.movedim(-1, 1))
    inside = (expected > 0) & (expected < 1)
    network = load(tmp_path, reference.checkpoint())
    painted = transfer_style(network, photo, style_of(network, painting)).movedim(-1, 1)
    assert inside.float().mean() > 0.5 and expected[inside].std() > 0.05
    assert (painted - expected.clamp(0, 1)).abs().max() < 1e-4
    assert network.name == "AesFA (main.pth)" and network.style_shapes == {"h": (2 * nf, 3, 3), "l": (2 * nf, 3, 3)}


def test_its_tensors_are_those_of_the_published_width():
    state = AesFA().checkpoint()
    assert state["netG"]["AdaOctConv2_1.kernelPredictor_h.spatial.weight"].shape == (128, 128, 3, 3)
    assert state["netG"]["AdaOctConv3_1.OctConv.L2L.weight"].shape == (32, 1, 3, 3)
    assert state["netE"]["OctConv2_1.H2H.weight"].shape == (64, 1, 3, 3)


def test_styles_masks_amounts_and_sizes(tmp_path):
    network = load(tmp_path, random(8).checkpoint())
    photo, first = picture("astronaut", 53, 70), style_of(network, picture("coffee", 50, 61))
    second = style_of(network, picture("chelsea"))
    save_style(first, tmp_path / "style.safetensors")
    loaded = load_style(tmp_path / "style.safetensors", network.fingerprint, network.style_shapes)
    painted = transfer_style(network, photo, first)
    assert painted.shape == photo.shape
    assert torch.equal(transfer_style(network, photo, TransferStyle(network.fingerprint, (loaded,))), painted)
    mask = torch.zeros(1, 53, 70)
    mask[:, :, :35] = 1
    both = transfer_style(network, photo, first, mask=mask, second=second)
    swapped = transfer_style(network, photo, second, mask=1 - mask, second=first)
    assert (both - swapped).abs().max() < 1e-4 and (both - painted).abs().max() > 1e-3
    own = transfer_style(network, photo, style_of(network, photo))
    assert (transfer_style(network, photo, first, 0.0) - own).abs().max() < 1e-3
    least = photo[:, : network.min_side, : network.min_side]
    assert transfer_style(network, least, style_of(network, least)).isfinite().all()


def test_progress_ends_at_its_total(tmp_path):
    network, seen = load(tmp_path, random(8).checkpoint()), []
    measured = measure_style(network, picture("coffee"), "style", on_step=lambda *step: seen.append(step))
    assert seen[-1] == (len(seen), len(seen)) and len(seen) == network.measuring_steps
    seen.clear()
    style = extend(None, measured, network.fingerprint)
    transfer_style(network, picture("astronaut"), style, on_step=lambda *step: seen.append(step))
    assert seen[-1] == (len(seen), len(seen)) and len(seen) == network.painting_steps


@pytest.mark.parametrize(
    ("part", "name", "tensor", "message"),
    [
        ("netG", "conv4.bias", None, r"tensor conv4.bias of netG is missing; it should have \(3,\)"),
        ("netE", "OctConv1_2.L2L.weight", torch.zeros(2, 2, 1, 1), r"OctConv1_2.L2L.weight of netE has the shape \(2, 2, 1, 1\)"),
        ("netS", "extra", torch.zeros(1), r"extra of netS has the shape \(1,\); it should not be there"),
        ("netG", "conv4.bias", torch.full((3,), torch.nan), "conv4.bias of netG holds NaN"),
        ("netE", "conv.weight", None, "conv.weight of netE is missing"),
    ],
)  # fmt: skip
def test_damaged_checkpoints_are_refused(tmp_path, part, name, tensor, message):
    checkpoint = random(8).checkpoint()
    state = {**checkpoint[part], name: tensor}
    checkpoint[part] = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load(tmp_path, checkpoint)
