"""AdaIN and WCT networks from files of their repositories' layout, against the repositories' arithmetic."""

from dataclasses import replace

import pytest
import torch
from skimage import data
from torch import Tensor, nn
from transfer_networks import (
    BLOCKS_19,
    SMALL,
    WIDTHS,
    Torchvision,
    adain_reference,
    decoder,
    normalised_vgg,
    outputs,
    seeded,
    spread_out,
    wct_reference,
)

from delta.feature_networks.feature_transfer import Region
from delta.feature_networks.transfer import measure_style, painting_bytes, transfer_style
from delta.feature_networks.transfer_files import load_transfer_network
from delta.feature_networks.transfer_style import TransferStyle, extend, load_style, save_style


def picture(name: str, height: int = 64, width: int = 64) -> Tensor:
    pixels = getattr(data, name)()[40 : 40 + height, 190 : 190 + width].copy()
    return torch.from_numpy(pixels).float()[None] / 255


def planes(image: Tensor) -> Tensor:
    return image.movedim(-1, 1)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return picture("astronaut")


@pytest.fixture(scope="module")
def painting() -> Tensor:
    return picture("coffee")


def random_vgg(modules: int, widths=SMALL) -> nn.Sequential:
    return spread_out(seeded(normalised_vgg(widths, modules)), planes(picture("astronaut", 200, 200)))


def random_decoder(vgg: nn.Sequential, level: int, widths=SMALL, seed: int = 1) -> nn.Sequential:
    """One whose pictures are mostly within 0..1, and not plain."""
    features = outputs(vgg, planes(picture("coffee", 200, 200)))[f"relu{level}_1"]
    network = spread_out(seeded(decoder(level, widths), seed), features)
    network[-1].weight.mul_(0.15)
    network[-1].bias.mul_(0.15).add_(0.5)
    return network


def assert_alike(painted: Tensor, expected: Tensor) -> None:
    inside = (expected > 0) & (expected < 1)
    assert inside.float().mean() > 0.8 and expected[inside].std() > 0.05
    assert (planes(painted) - expected.clamp(0, 1)).abs().max() < 1e-4


def write(network: nn.Module, path) -> nn.Module:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return network


def adain_files(folder, widths=SMALL, modules: int = 53) -> tuple[nn.Sequential, nn.Sequential]:
    vgg = write(random_vgg(modules, widths), folder / "vgg_normalised.pth")
    return vgg, write(random_decoder(vgg, 4, widths), folder / "decoder.pth")


def wct_files(folder, name: str, levels=(1, 2, 3, 4, 5)) -> tuple[nn.Sequential, dict[int, nn.Sequential]]:
    vgg = write(random_vgg(44), folder / "vgg_normalised_conv5_1.pth")
    decoders = {n: random_decoder(vgg, n, seed=n) for n in levels}
    return vgg, {n: write(each, folder / name.format(n)) for n, each in decoders.items()}


def load(folder, name: str = "decoder.pth", encoder: str = "vgg_normalised.pth"):
    return load_transfer_network(folder / name, folder / encoder)


def style_of(network, *images: Tensor, weights=(1.0, 1.0)) -> TransferStyle:
    mix = None
    for number, (image, weight) in enumerate(zip(images, weights)):
        mix = extend(mix, measure_style(network, image, f"style {number}", weight), network.fingerprint)
    return mix


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_adain_paints_as_its_repository_does(tmp_path, photo, painting, alpha):
    vgg, decode = adain_files(tmp_path)
    network = load(tmp_path)
    expected = adain_reference(vgg, decode, planes(photo), planes(painting), alpha)
    painted = transfer_style(network, photo, style_of(network, painting), alpha)
    assert_alike(painted, expected)
    assert "AdaIN" in network.name


def test_adain_of_true_widths(tmp_path, photo, painting):
    vgg, decode = adain_files(tmp_path, WIDTHS, 31)
    assert sum(p.numel() for p in decode.parameters()) == 3_505_219
    network = load(tmp_path)
    expected = adain_reference(vgg, decode, planes(photo), planes(painting), 1.0)
    assert_alike(transfer_style(network, photo, style_of(network, painting)), expected)
    assert network.style_shapes == {"relu4_1.mean": (512,), "relu4_1.spread": (512,)}


@pytest.mark.parametrize("name", ["decoder_relu{}_1.pth", "vgg19_{0}/feature_invertor_conv{0}_1.pth"])
@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_wct_paints_as_its_repository_does(tmp_path, name, alpha):
    photo, painting = picture("astronaut", 128, 160), picture("coffee", 128, 160)
    vgg, decoders = wct_files(tmp_path, name)
    # Any of its decoders stands for all of them.
    network = load(tmp_path, name.format(3), "vgg_normalised_conv5_1.pth")
    assert [level.layer for level in network.levels] == [f"relu{n}_1" for n in (5, 4, 3, 2, 1)]
    style = style_of(network, painting)
    # Random layers make small differences ten times larger, so each level gets the repository's picture of the one before.
    picture_of_level = planes(photo)
    for level, each in zip((5, 4, 3, 2, 1), network.levels):
        expected = wct_reference(vgg, {level: decoders[level]}, picture_of_level, planes(painting), alpha)
        alone = replace(network, levels=(each,))
        found = alone.paint(picture_of_level, [Region(style.tensors())], alpha)
        assert expected.std() > 0.05 and (found - expected).abs().max() < 1e-4
        picture_of_level = expected
    chained = planes(photo)
    for each in network.levels:
        chained = replace(network, levels=(each,)).paint(chained, [Region(style.tensors())], alpha)
    painted = transfer_style(network, photo, style, alpha)
    assert torch.equal(planes(painted), chained.clamp(0, 1)) and 0.05 < painted.std()


def test_wct_uses_the_levels_that_are_there(tmp_path, photo, painting):
    vgg, decoders = wct_files(tmp_path, "decoder_relu{}_1.pth", (1, 3))
    network = load(tmp_path, "decoder_relu1_1.pth", "vgg_normalised_conv5_1.pth")
    assert [level.layer for level in network.levels] == ["relu3_1", "relu1_1"] and "relu3_1, relu1_1" in network.name
    expected = wct_reference(vgg, decoders, planes(photo), planes(painting), 1.0)
    assert_alike(transfer_style(network, photo, style_of(network, painting)), expected)


@pytest.mark.parametrize("kind", ["adain", "wct"])
class TestBoth:
    @pytest.fixture
    def network(self, tmp_path, kind):
        if kind == "adain":
            adain_files(tmp_path)
            return load(tmp_path)
        wct_files(tmp_path, "decoder_relu{}_1.pth")
        return load(tmp_path, "decoder_relu5_1.pth", "vgg_normalised_conv5_1.pth")

    def test_a_mix_is_the_mix_of_the_features(self, network, photo, painting):
        third = picture("chelsea")
        mix = style_of(network, painting, third, weights=(3.0, 1.0))
        assert mix.describe() == "0.75 style 0 + 0.25 style 1"
        level = network.levels[0]
        features = network.encoder(planes(photo), [level.layer])[level.layer]
        apart = []
        for image in (painting, third):
            found = network.transform.measure(network.encoder(planes(image), [level.layer])[level.layer])
            apart.append(network.transform.apply(features, None, found))
        mixed = type(found)(*(mix.tensors()[f"{level.layer}.{part}"] for part in ("mean", "spread")))
        together = network.transform.apply(features, None, mixed)
        assert (0.75 * apart[0] + 0.25 * apart[1] - together).abs().max() < 1e-4

    def test_a_saved_style_paints_the_same(self, network, photo, painting, tmp_path):
        style = style_of(network, painting, picture("chelsea"))
        save_style(style, tmp_path / "wave.safetensors")
        loaded = load_style(tmp_path / "wave.safetensors", network.fingerprint, network.style_shapes)
        again = transfer_style(network, photo, TransferStyle(network.fingerprint, (loaded,)))
        assert torch.equal(again, transfer_style(network, photo, style)) and loaded.label == "wave"

    def test_regions_have_their_own_styles(self, network, painting):
        photo, other = picture("astronaut", 128, 128), picture("chelsea")
        mask = torch.zeros(1, 128, 128)
        mask[:, :, :64] = 1
        first, second = style_of(network, painting), style_of(network, other)
        both = transfer_style(network, photo, first, mask=mask, second=second)
        swapped = transfer_style(network, photo, second, mask=1 - mask, second=first)
        assert (both - swapped).abs().max() < 1e-4
        alone = transfer_style(network, photo, first, mask=mask)
        assert torch.equal(alone[:, :, 64:], photo[:, :, 64:]) and not torch.equal(alone, photo)
        everywhere = transfer_style(network, photo, first, mask=torch.ones(1, 8, 8), second=second)
        assert (everywhere - transfer_style(network, photo, first)).abs().max() < 1e-4
        assert torch.equal(transfer_style(network, photo, first, mask=torch.zeros(1, 8, 8)), photo)

    def test_any_size_batch_and_channels(self, network, painting):
        batch = torch.cat([picture("astronaut", 53, 70), picture("coffee", 53, 70)])
        style = style_of(network, painting)
        painted = transfer_style(
            network, torch.cat([batch, batch[..., :1]], -1), style, keep_colours=0.5, paint_size=48
        )
        assert painted.shape == (2, 53, 70, 3) and painted.isfinite().all()
        assert 0 <= painted.min() and painted.max() <= 1
        single = transfer_style(network, batch[1:], style)
        assert (transfer_style(network, batch, style)[1:] - single).abs().max() < 1e-5

    def test_the_least_side_works_and_a_smaller_one_is_an_error(self, network, painting):
        side, style = network.min_side, style_of(network, painting)
        assert side == (9 if network.transform.title == "AdaIN" else 17)
        least = picture("astronaut", side, side)
        assert transfer_style(network, least, style).isfinite().all() and style_of(network, least)
        for paint in (lambda: transfer_style(network, least[:, 1:], style), lambda: style_of(network, least[:, 1:])):
            with pytest.raises(ValueError, match=f"needs at least {side} on each side"):
                paint()

    def test_plain_pictures_stay_finite(self, network, painting, photo):
        plain = torch.full((1, 64, 64, 3), 0.5)
        assert transfer_style(network, plain, style_of(network, painting)).isfinite().all()
        assert transfer_style(network, photo, style_of(network, plain)).isfinite().all()

    def test_progress_ends_at_its_total_and_cancel_stops(self, network, painting):
        seen = []
        image = torch.cat([painting, painting])
        style = extend(
            None, measure_style(network, image, "two", on_step=lambda *step: seen.append(step)), network.fingerprint
        )
        assert seen[-1] == (len(seen), len(seen)) == (2 * network.measuring_steps,) * 2
        seen.clear()
        transfer_style(network, image, style, on_step=lambda *step: seen.append(step))
        assert seen[-1] == (len(seen), len(seen)) and len(seen) > 2 * len(network.levels)

        def cancel(done: int, total: int) -> None:
            if done == 3:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            transfer_style(network, image, style, on_step=cancel)

    def test_styles_of_another_network_are_refused(self, network, painting, photo, tmp_path):
        style = style_of(network, painting)
        save_style(style, tmp_path / "style.safetensors")
        with pytest.raises(ValueError, match="was measured with another transfer network. Connect"):
            transfer_style(network, photo, TransferStyle("other", style.components))
        with pytest.raises(ValueError, match="style.safetensors was measured with another"):
            load_style(tmp_path / "style.safetensors", "other", network.style_shapes)
        with pytest.raises(ValueError, match="is incomplete: it should hold"):
            load_style(tmp_path / "style.safetensors", network.fingerprint, {"relu1_1.mean": (4,)})
        with pytest.raises(ValueError, match="second style needs a mask"):
            transfer_style(network, photo, style, second=style)
        with pytest.raises(ValueError, match="The picture holds NaN"):
            transfer_style(network, photo * torch.nan, style)


def test_a_style_belongs_to_the_encoder_and_the_layer(tmp_path, painting):
    adain_files(tmp_path)
    (tmp_path / "short").mkdir()
    write(random_vgg(31), tmp_path / "short/vgg_normalised.pth")
    write(seeded(decoder(4), 7), tmp_path / "short/decoder.pth")
    write(seeded(decoder(3), 7), tmp_path / "short/third.pth")
    assert load(tmp_path / "short").fingerprint == load(tmp_path).fingerprint
    assert load(tmp_path / "short", "third.pth").fingerprint != load(tmp_path).fingerprint


def test_memory_is_told(tmp_path):
    adain_files(tmp_path, WIDTHS, 31)
    network = load(tmp_path)
    image = torch.rand(1, 100, 200, 3)
    assert painting_bytes(network, image, 0) == 100 * 200 * 64 * 20
    assert painting_bytes(network, image, 100) == 50 * 100 * 64 * 20


@pytest.mark.parametrize(
    ("network", "encoder", "message"),
    [
        ("decoder.pth", None, "decoder.pth is a decoder, which makes pictures of the features of relu4_1. Choose its encoder"),
        ("vgg_normalised.pth", None, "vgg_normalised.pth is a VGG, which only reads pictures. Choose it as the encoder"),
        ("decoder.pth", "decoder.pth", "decoder.pth is not a VGG"),
        ("decoder.pth", "other.pth", "relu4_1 of .*other.pth.* has 12 and 8. Choose the encoder and the decoder of one"),
        ("decoder.pth", "vgg19.pth", "vgg19.pth is torchvision's VGG-19, but decoder.pth was trained with the normalised VGG-19"),
        ("decoder.pth", "short.pth", "makes pictures of relu4_1, but .* ends at relu3_1. Choose an encoder that reaches"),
        ("other.pth", None, "is a VGG"),
        ("strange.pth", None, "strange.pth is not a decoder of AdaIN or WCT: its 2 tensors, such as bias, weight"),
        ("gap.pth", "vgg_normalised.pth", "lacks 28.weight, 28.bias"),
        ("wide.pth", "vgg_normalised.pth", r"tensor 5.weight has the shape \(8, 9, 3, 3\), not \(8, 8, 3, 3\)"),
        ("nan.pth", "vgg_normalised.pth", "tensor 5.bias holds NaN"),
        ("decoder_relu4_1.pth", "vgg_normalised.pth", "decoder_relu3_1.pth is a decoder from relu2_1"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_by_name(tmp_path, network, encoder, message):
    _, decode = adain_files(tmp_path)
    write(seeded(normalised_vgg((4, 6, 8, 12, 12))), tmp_path / "other.pth")
    write(seeded(normalised_vgg(modules=18)), tmp_path / "short.pth")
    write(seeded(Torchvision(BLOCKS_19)), tmp_path / "vgg19.pth")
    write(nn.Conv2d(3, 3, 3), tmp_path / "strange.pth")
    state = decode.state_dict()
    torch.save({name.replace("28", "29"): tensor for name, tensor in state.items()}, tmp_path / "gap.pth")
    torch.save({**state, "5.weight": torch.zeros(8, 9, 3, 3)}, tmp_path / "wide.pth")
    torch.save({**state, "5.bias": state["5.bias"] * torch.nan}, tmp_path / "nan.pth")
    write(seeded(decoder(4)), tmp_path / "decoder_relu4_1.pth")
    write(seeded(decoder(2)), tmp_path / "decoder_relu3_1.pth")
    with pytest.raises(ValueError, match=message):
        load_transfer_network(tmp_path / network, encoder and tmp_path / encoder)
