"""Our own AdaIN network: its file, and what trains its decoder."""

import adain_decoder
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor

from delta.feature_networks.own_networks import (
    BUNDLED,
    ENCODERS,
    PREDICTOR,
    load_bundled_network,
    save_adain_network,
)
from delta.feature_networks.transfer import measure_style, transfer_style
from delta.feature_networks.transfer_files import load_transfer_network
from delta.feature_networks.transfer_style import extend


@pytest.fixture(scope="module")
def encoder():
    return ENCODERS[PREDICTOR]()


def picture(name: str) -> Tensor:
    return torch.from_numpy(getattr(data, name)()[40:104, 190:264].copy()).float()[None] / 255


def saved(path, encoder=PREDICTOR, layer=adain_decoder.LAYER, channels: int = 144):
    decoder = adain_decoder.new_decoder(channels)
    detached = tuple((weight.detach(), bias.detach()) for weight, bias in decoder.convs)
    save_adain_network(type(decoder)(detached, decoder.doubled), encoder, layer, path)
    return path


def test_a_network_paints_and_its_file_is_small(tmp_path):
    path = saved(tmp_path / "own.safetensors")
    network = load_transfer_network(path)
    assert path.stat().st_size < 3_000_000 and network.name == "own" and network.min_side == 5
    style = extend(None, measure_style(network, picture("coffee"), "coffee"), network.fingerprint)
    seen = []
    painted = transfer_style(network, picture("astronaut"), style, on_step=lambda *step: seen.append(step))
    assert painted.shape == (1, 64, 74, 3) and painted.isfinite().all() and seen[-1] == (len(seen), len(seen))


def test_it_does_what_its_parts_do(tmp_path, encoder):
    network = load_transfer_network(saved(tmp_path / "own.safetensors"))
    content, style = (picture(name)[:, :64, :72].movedim(-1, 1) for name in ("astronaut", "coffee"))
    features, wanted = (encoder(each, [adain_decoder.LAYER])[adain_decoder.LAYER] for each in (content, style))
    (std, mean), (to_std, to_mean) = (torch.std_mean(f, (2, 3), keepdim=True, correction=0) for f in (features, wanted))
    std, to_std = (std.square() + 1e-5).sqrt(), (to_std.square() + 1e-5).sqrt()
    x = (features - mean) / std * to_std + to_mean
    tensors = load_file(tmp_path / "own.safetensors")
    for number in range(7):
        x = torch.nn.functional.interpolate(x, scale_factor=2) if number in (2, 4) else x
        x = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        weight, bias = (tensors[f"decoder.{number}.{part}"].float() for part in ("weight", "bias"))
        x = torch.nn.functional.conv2d(x, weight, bias)
        x = x.relu() if number < 6 else x
    measured = extend(None, measure_style(network, style.movedim(1, -1), "coffee"), network.fingerprint)
    painted = transfer_style(network, content.movedim(1, -1), measured)
    assert (painted.movedim(-1, 1) - x.clamp(0, 1)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "another"}, "is for the encoder another, and only bundled style predictor is known here. Update"),
        ({"layer": "block.99.expand"}, "makes pictures of block.99.expand, but the bundled style predictor ends at"),
        ({"layer": "block.5.expand"}, "reads 144 channels and enlarges 4 times, but block.5.expand .* has 192 and 8"),
        ({"doubled": "two"}, "is not a whole AdaIN network of StyleDelta"),
        ({"without": "decoder.3.bias"}, "is not a whole AdaIN network of StyleDelta"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    tensors = load_file(saved(tmp_path / "own.safetensors"))
    tensors.pop(change.get("without"), None)
    metadata = {"format": "styledelta.adain_network", "encoder": PREDICTOR, "layer": adain_decoder.LAYER}
    metadata |= {"doubled": "2,4"} | {key: value for key, value in change.items() if key != "without"}
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    with pytest.raises(ValueError, match=message) as caught:
        load_transfer_network(tmp_path / "other.safetensors")
    assert "other.safetensors" in str(caught.value)


def test_numbers_that_are_none_are_not_written(tmp_path):
    decoder = adain_decoder.new_decoder(144)
    broken = ((decoder.convs[0][0].detach() * torch.nan, decoder.convs[0][1].detach()),)
    with pytest.raises(ValueError, match="decoder.0.weight holds NaN"):
        save_adain_network(
            type(decoder)(broken, frozenset()), PREDICTOR, adain_decoder.LAYER, tmp_path / "x.safetensors"
        )
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def pictures():
    photos = [data.astronaut(), np.repeat(data.grass()[..., None], 3, 2)]
    drawn = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    return adain_decoder.Pictures(photos, [drawn])


def test_batches_are_pictures_and_the_same_again(pictures):
    first, again = (pictures.batch(torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.shape == (4, 3, 128, 128) and 0 <= first.min() and first.max() <= 1 and first.std() > 0.05
    assert torch.equal(first, again)


def test_the_losses_are_nothing_where_all_is_reached(encoder, pictures):
    batch = pictures.batch(torch.Generator().manual_seed(1))

    def perfect(features: Tensor) -> Tensor:
        return batch

    content, style, same = adain_decoder.losses(encoder, perfect, batch, batch)
    assert max(content, style, same) < 1e-6
    other = pictures.batch(torch.Generator().manual_seed(2))
    assert min(adain_decoder.losses(encoder, lambda features: other, batch, batch)) > 1e-3


def test_a_few_steps_learn_and_write_a_network(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(adain_decoder, "BATCH", 2)
    monkeypatch.setattr(adain_decoder, "SIDE", 64)
    adain_decoder.learn(pictures, tmp_path, tmp_path / "own.safetensors", 6)
    told = torch.load(tmp_path / "adain.card.pt", weights_only=True)["losses"]
    assert len(told) == 6 and min(told[3:]) < told[0]
    assert load_transfer_network(tmp_path / "own.safetensors").levels[0].decoder.channels == 144
    with pytest.raises(FileExistsError, match="exists already"):
        adain_decoder.learn(pictures, tmp_path, tmp_path / "own.safetensors", 6)


@pytest.mark.parametrize("name", BUNDLED)
def test_the_one_that_comes_with_the_pack_paints(encoder, name):
    """Colours move towards the style's, shapes stay; without a style it copies."""
    network = load_bundled_network(name)
    photo, painting = (
        torch.from_numpy(getattr(data, each)()[:256, :256].copy())[None].float() / 255 for each in ("coffee", "retina")
    )
    style = extend(None, measure_style(network, painting, name), network.fingerprint)
    painted = transfer_style(network, photo, style)
    apart = [float((each.mean((1, 2)) - painting.mean((1, 2))).norm()) for each in (photo, painted)]
    assert apart[1] < 0.3 * apart[0]
    copy = transfer_style(network, photo, style, 0.0)
    assert float((copy - photo).square().mean().sqrt()) < 0.06
    grey = [each.mean(-1).flatten() for each in (photo, painted)]
    assert float(torch.corrcoef(torch.stack(grey))[0, 1]) > 0.5
